"""Claims of the pages on papers, and how they are compared with the tables of experiments.

A claim is a text of a page with `{}` for each number that is recomputed, and a function that
computes these numbers, or true and false for what the text compares.
"""

import collections.abc
import dataclasses
import functools
import pathlib
import re

import pandas

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXPERIMENTS, PAPERS = ROOT / "experiments", ROOT / "docs" / "papers"
NUMBER = (
    r"(?:< )?(-?\d[\d,]*(?:\.\d+)?)(?: \[[^\]]*\])?"  # what the paper has, in brackets, is skipped
)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A text of a page and what the tables say of it.

    Attributes:
      text: the text, `{}` for each number.
      numbers: computes these numbers.
      true: computes whether what the text compares is so.
      after: the text stands behind these words; it may stand in two places.
    """

    text: str
    numbers: collections.abc.Callable[[], list[float]] = list
    true: collections.abc.Callable[[], bool] = lambda: True
    after: str = ""


@functools.cache
def text_of(*pages: str) -> str:
    """Return the text of pages, one after the other, with single spaces."""
    return " ".join(" ".join((PAPERS / f"{page}.md").read_text() for page in pages).split())


@functools.cache
def table(path: str) -> pandas.DataFrame:
    return pandas.read_csv(EXPERIMENTS / "results" / path)


def written(claim: Claim, pages: tuple[str, ...]) -> list[str]:
    """Return the numbers that the pages write where the claim has `{}`."""
    text = text_of(*pages)
    assert claim.after in text, f"not in {pages}: {claim.after}"
    pattern = re.escape(" ".join(claim.text.split())).replace(r"\{\}", NUMBER)
    match = re.search(pattern, text[text.index(claim.after) :])
    assert match, f"not in {pages}: {claim.text}"
    return [number.replace(",", "") for number in match.groups()]


def agree(number: str, value: float) -> bool:
    """Return whether a value is what is written, to the digits written."""
    digits = len(number.partition(".")[2])
    return abs(float(number) - value) <= 0.5 * 10**-digits + 1e-7


def differing(claim: Claim, pages: tuple[str, ...]) -> list[str]:
    """Return what is wrong with the numbers of a claim, as the pages write them."""
    numbers, values = written(claim, pages), claim.numbers()
    assert len(numbers) == len(values), (numbers, values)
    return [
        f"{number} is {value:.6g}"
        for number, value in zip(numbers, values, strict=True)
        if not agree(number, value)
    ]
