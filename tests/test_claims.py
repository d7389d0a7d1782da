"""What the pages on papers and on speed say is what the tables of experiments have."""

import claims_of_lenet
import claims_of_masks
import claims_of_scores
import claims_of_sparse
import claims_of_speed
import claims_of_twins
import pytest
from claims import Claim, differing

SECTIONS = {  # name: (pages of docs/papers, claims)
    "LeNet on MNIST": (("frankle",), claims_of_lenet.CLAIMS),
    "Pruning early": (("lutz", "frankle"), claims_of_scores.CLAIMS),
    "Linear mode connectivity and transformers": (
        ("frankle", "bolwerk", "others"),
        claims_of_twins.CLAIMS,
    ),
    "Network separation": (("burger",), claims_of_masks.SEPARATING),
    "Supermasks by threshold": (("rolfs",), claims_of_masks.THRESHOLDS),
    "Trained supermasks": (("others",), claims_of_masks.TRAINED),
    "SET and RigL": (("others",), claims_of_sparse.CLAIMS),
    "Speed": (("../speed",), claims_of_speed.CLAIMS),
}


@pytest.mark.parametrize(
    ("pages", "claim"),
    [
        pytest.param(pages, claim, id=f"{section}, {number}")
        for section, (pages, claims) in SECTIONS.items()
        for number, claim in enumerate(claims)
    ],
)
def test_a_claim_of_a_page_is_what_the_tables_have(pages: tuple[str, ...], claim: Claim):
    assert not differing(claim, pages), claim.text
    assert claim.true(), claim.text
