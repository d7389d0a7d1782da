"""Shares of a run: processes that do not talk to each other, each with replicates of its own.

Share I of N has the replicates r with r % N == I - 1. Processes whose replicates differ work on one
run at the same time; each locks its replicates, so that no two write the same record, whatever
their N are. The name of each artifact ends with its replicate, "level_03/ticket/replicate_0".
"""

import dataclasses
import re

from jaxlth.settings import require

REPLICATE = re.compile(r"(?:.*/)?replicate_(\d+)(?:/.*)?")


@dataclasses.dataclass(frozen=True)
class Share:
    """Which of the replicates a process does: the `index`-th of `count` shares, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        """Return the share as it is given."""
        return f"{self.index}/{self.count}"

    def replicates(self, total: int) -> tuple[int, ...]:
        """Return the replicates of the share.

        Raises:
          ValueError: it has none.

        Example:
          >>> Share(2, 3).replicates(7)
          (1, 4)
        """
        own = tuple(range(self.index - 1, total, self.count))
        require(
            bool(own),
            f"`share` must have a replicate; got {self}, and `replicates` is {total}: there are no"
            f" more shares than that.",
        )
        return own


def parse(text: str) -> Share:
    """Return a share from its text.

    Raises:
      ValueError: it is none.

    Example:
      >>> parse("2/5")
      Share(index=2, count=5)
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    require(
        1 <= index <= count,
        f"`share` must be I/N, the I-th of N shares, I from 1 to N, such as 2/5; got {text!r}.",
    )
    return Share(index, count)


def replicate_of(artifact: str) -> int | None:
    """Return the replicate that an artifact, or a checkpoint of it, is of; None for none.

    Example:
      >>> replicate_of("level_03/ticket/replicate_12/checkpoint_000001"), replicate_of("summary")
      (12, None)
    """
    match = REPLICATE.fullmatch(artifact)
    return int(match[1]) if match else None


def is_own(replicates: tuple[int, ...] | None, artifact: str) -> bool:
    """Return whether an artifact is of these replicates; None has all of them."""
    return replicates is None or replicate_of(artifact) in replicates
