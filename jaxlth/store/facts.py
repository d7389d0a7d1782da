"""What a run says of its data: their shape, and which data they are.

A run belongs to the data that it began with, in whatever directory they are now. Other data under
the same settings are refused: a table of both would be wrong, and look right. A run of a version of
jaxlth that stored no digest takes the digest of the next command's data.
"""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxlth.store.atomic import StoreError

if TYPE_CHECKING:
    from jaxlth.data import Identity

DATA = "data"  # the fact that tells the data from others


def of_data(data: "Identity | None") -> dict[str, Any]:
    """Return the fact that tells data from others; none where it is not known."""
    return {DATA: data._asdict()} if data is not None and data.digest else {}


def same_data(facts: Mapping[str, Any], data: "Identity") -> bool:
    """Return whether a run with these facts is known to be of the data."""
    return bool(data.digest) and _digest(facts) == data.digest


def joined(
    path: str | os.PathLike[str], facts: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the facts of a run with more of them, which replace those of the same name.

    Args:
      path: of the run, for the message.
      facts: what it says now.
      more: what is added, of what JSON can hold.

    Raises:
      StoreError: the run is of other data.
    """
    more = json.loads(json.dumps(dict(more)))
    old_digest, new_digest = _digest(facts), _digest(more)
    if old_digest is not None and new_digest is not None and old_digest != new_digest:
        raise StoreError(
            f"{path} was made with the data {_named(facts[DATA])}, but the data"
            f" {_named(more[DATA])} are given now. Use another `--out`, or give the data of the"
            " run."
        )
    return {**facts, **more}


def _digest(facts: Mapping[str, Any]) -> str | None:
    data = facts.get(DATA)
    return data.get("digest") if isinstance(data, Mapping) else None


def _named(data: Mapping[str, Any]) -> str:
    directory = data.get("directory")
    return (
        f"in {directory} (digest {data['digest']})" if directory else f"of digest {data['digest']}"
    )
