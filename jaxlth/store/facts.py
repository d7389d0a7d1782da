"""What a run says of its data and of the parts that no setting says: which ones they are.

A run belongs to the data that it began with, in whatever directory they are now. Other data under
the same settings are refused: a table of both would be wrong, and look right. A run of a version of
jaxlth that stored no digest takes the digest of the next command's data. The same holds for a
user's own network, loss or optimizer. Their code cannot be compared; their fingerprint can, a few
numbers that they give.
"""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlth.store.atomic import StoreError

if TYPE_CHECKING:
    from jaxlth.data import Identity

DATA = "data"  # the fact that tells the data from others
PARTS = "fingerprint"  # the fact by which a user's own parts are compared
SCORE = "score "  # begins the name of a user's own score in a fingerprint
OUTPUTS_IN_TRAINING = "model outputs in training"  # of a fingerprint
OVER_TRAINING = "optimizer over the training"  # of a fingerprint
BY_LOSS = "optimizer by the loss"  # of a fingerprint
SIZES = (1, 10, 1000)  # of other outputs, for which a loss and an error are looked at
AT_OUTPUTS = {  # of a fingerprint
    (part, size): f"{part} at outputs of size {size}"
    for part in ("loss", "error")
    for size in SIZES
}
# Which runs of earlier versions do not have.
ADDED = (OUTPUTS_IN_TRAINING, OVER_TRAINING, BY_LOSS, *AT_OUTPUTS.values())
CLOSE = 1e-3  # relative difference of numbers that other machines may cause


def of_data(data: "Identity | None") -> dict[str, Any]:
    """Return the fact that tells data from others; none where it is not known."""
    return {DATA: data._asdict()} if data is not None and data.digest else {}


def of_parts(fingerprint: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fact that tells parts from others; none where the settings say all."""
    return {PARTS: dict(fingerprint)} if fingerprint else {}


def same_data(facts: Mapping[str, Any], data: "Identity") -> bool:
    """Return whether a run with these facts is known to be of the data."""
    return bool(data.digest) and _digest(facts) == data.digest


def same_parts(facts: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Return whether runs with these facts have the same parts of a user's own, or none."""
    return _differing_part(facts.get(PARTS) or {}, others.get(PARTS) or {}) is None


def joined(
    path: str | os.PathLike[str], facts: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the facts of a run with more of them, which replace those of the same name.

    Args:
      path: of the run, for the message.
      facts: what it says now.
      more: what is added, of what JSON can hold.

    Raises:
      StoreError: the run is of other data, or of other parts.
    """
    more = json.loads(json.dumps(dict(more)))
    old_digest, new_digest = _digest(facts), _digest(more)
    if old_digest is not None and new_digest is not None and old_digest != new_digest:
        raise StoreError(
            f"{path} was made with the data {_named(facts[DATA])}, but the data"
            f" {_named(more[DATA])} are given now. Use another `--out`, or give the data of the"
            " run."
        )
    old_parts, new_parts = facts.get(PARTS), more.get(PARTS)
    if old_parts and new_parts:
        _check_parts(path, old_parts, new_parts)
        # Numbers of the machine that began the run, and of scores that are new to it.
        more = {**more, PARTS: {**new_parts, **old_parts}}
    return {**facts, **more}


def _check_parts(
    path: str | os.PathLike[str], old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Raise StoreError where a part differs."""
    name = _differing_part(old, new)
    if name is not None:
        part = name.partition(" ")[0]
        raise StoreError(
            f"{path} was made with another `{part}` than is given now (its {name} "
            f"{'differ' if name.startswith('model ') else 'differs'}). "
            "Give the experiment another `name`, or go on with the code that began the run."
        )


def _differing_part(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Return the first part whose fingerprints differ: a later one may depend on those before."""
    for name in dict.fromkeys([*new, *old]):
        if name.startswith(SCORE) and not (name in old and name in new):
            continue  # a run may have more scores than a call asks for, and the other way round
        if name in ADDED and name not in old:
            continue
        if not _close(old.get(name), new.get(name)):
            return name
    return None


def _close(old: Any, new: Any) -> bool:
    """Return whether two fingerprints of a part are the same up to rounding."""
    if not (isinstance(old, list) and isinstance(new, list)):
        return old == new
    if len(old) != len(new):
        return False
    numbers = np.array([old, new], float)
    size = np.max(np.abs(numbers[0]), initial=0.0, where=np.isfinite(numbers[0]))
    return np.allclose(*numbers, rtol=CLOSE, atol=CLOSE * size, equal_nan=True)


def _digest(facts: Mapping[str, Any]) -> str | None:
    data = facts.get(DATA)
    return data.get("digest") if isinstance(data, Mapping) else None


def _named(data: Mapping[str, Any]) -> str:
    directory = data.get("directory")
    return (
        f"in {directory} (digest {data['digest']})" if directory else f"of digest {data['digest']}"
    )
