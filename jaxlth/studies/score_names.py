"""Names of scores: which there are, what they need, and stacks of them."""

import re
from collections.abc import Iterable

from jaxlth import settings
from jaxlth.scores.criteria import CRITERIA
from jaxlth.studies import own_scores

FLOWS = ("synflow", "synflow-image", "synflow-mean")  # by what flows in: ones, an image, the mean
AS_PUBLISHED = tuple(f"{name}-published" for name in FLOWS)  # with running means of magnitudes too
SYNFLOW = (*FLOWS, *AS_PUBLISHED)
IN_FLOAT64 = (*SYNFLOW, "snip-float64")
# Of gradients at examples.
OF_EXAMPLES = ("snip", "snip-float64", "grasp", "grasp-lowest", "grasp-magnitude")
SEES_DATA = (*OF_EXAMPLES, *FLOWS[1:], *AS_PUBLISHED[1:])
BEFORE_AND_AFTER = tuple(CRITERIA)
AT_RANDOM = ("erdos-renyi", "erdos-renyi-kernel", "smart-ratio")  # counts by layer, else random
AT_A_STEP = (
    *("magnitude", "magnitude-unit-variance", "random"),
    *("synflow", "synflow-published", *SEES_DATA),
)
SCORES = (*AT_A_STEP, *AT_RANDOM, *BEFORE_AND_AFTER)
STACKED = ("magnitude", *OF_EXAMPLES, *FLOWS)


def parts(score: str, *, single: Iterable[str] = SCORES) -> tuple[str, ...]:
    """Return the one or two scores that a name stands for.

    Args:
      score: a name, or two of a stack joined by "+"; also FILE.py:NAME, see `own_scores`.
      single: names of scores that are no stack.

    Raises:
      ValueError: there is no such score.

    Example:
      >>> parts("snip"), parts("grasp+magnitude"), parts("snip+nets/a+b.py:mine")
      (('snip',), ('grasp', 'magnitude'), ('snip', 'nets/a+b.py:mine'))
    """
    names = split(score)
    if len(names) > 1 or own_scores.is_own(score):
        return names
    first, plus, second = score.partition("+")
    if not plus:
        return (settings.check_choice("score", score, single),)
    return settings.check_choice("score", first, STACKED), settings.check_choice(
        "score", second, STACKED
    )


def split(score: str) -> tuple[str, ...]:
    """Return the two scores of a stack; of what is none, the name alone.

    Names of files may have a "+" in them.
    """
    for plus in re.finditer(r"\+", score):
        pair = score[: plus.start()], score[plus.end() :]
        if all(part in STACKED or own_scores.is_own(part) for part in pair):
            return pair
    return (score,)


def label(score: str) -> str:
    """Return what a score is called in folders and tables.

    Example:
      >>> label("snip"), label("snip+nets/mine.py:score")
      ('snip', 'snip+mine-score')
    """
    return "+".join(own_scores.label(part) for part in split(score))


def batch_readers(names: Iterable[str]) -> list[str]:
    """Return those of some scores, no stacks, that may look at training examples."""
    return [name for name in names if name in OF_EXAMPLES or own_scores.is_own(name)]


def published_rounds(name: str) -> int:
    """Return the number of rounds that a score was published with: 100 of SynFlow, else 1."""
    return 100 if name in SYNFLOW else 1
