"""What experiments/README.md says is what its tables have."""

import claims_of_lenet
import claims_of_masks
import claims_of_scores
import claims_of_sparse
import claims_of_twins
import pytest
from claims import Claim, differing

SECTIONS = {
    "LeNet on MNIST": claims_of_lenet.CLAIMS,
    "Pruning early": claims_of_scores.CLAIMS,
    "Linear mode connectivity and transformers": claims_of_twins.CLAIMS,
    "Network separation": claims_of_masks.SEPARATING,
    "Supermasks by threshold": claims_of_masks.THRESHOLDS,
    "Trained supermasks": claims_of_masks.TRAINED,
    "SET and RigL": claims_of_sparse.CLAIMS,
}


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, id=f"{section}, {number}")
        for section, claims in SECTIONS.items()
        for number, claim in enumerate(claims)
    ],
)
def test_a_claim_of_the_readme_is_what_its_tables_have(claim: Claim):
    assert not differing(claim), claim.text
    assert claim.true(), claim.text
