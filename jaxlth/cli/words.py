"""Checks of the words of a command line before they are parsed, and the options they name."""

import collections
from collections.abc import Iterable, Sequence

from jaxlth.process import paths
from jaxlth.settings import require

VERSION = ("--version", "-V")
# Options of the first edition, which are answered with the new ones.
RENAMED_OPTIONS = {
    "--ablation": "--controls",
    "--ahead": "--prefetch",
    "--batch-devices": "--data-parallel",
    "--examples": "--num-train-examples",
    "--keep": "--checkpoint",
    "--leave-out": "--exclude",
    "--prune-steps": "--rewind-steps",
    "--side-by-side": "--networks-per-device",
    "--steps-k": "--rewind-steps",
}


def asks_version(words: Iterable[str]) -> bool:
    """Return whether a command line asks for the version, whatever else it says."""
    return any(word in VERSION for word in words)


def check(words: Sequence[str], options: Iterable[str]) -> None:
    """Refuse words that are no text, and options that are given more than once.

    If an option were given twice, its last value would count and no other be checked.

    Args:
      words: of a command line.
      options: those that it may have, as they are typed; also those that are flags, with --no-.

    Raises:
      ValueError: the words are wrong; the message names the option.
    """
    for word in words:
        is_text = word.encode(errors="replace").decode() == word
        require(is_text, f"{word!r} is not text in UTF-8.{paths.locale_hint(word)}")
    require("--" not in words, "Leave out `--`: no word after it would be an option.")
    given = collections.Counter(names(words, options))
    for option, times in given.items():
        require(times == 1, f"`{option}` is given {times} times; give it once.")


def names(words: Iterable[str], options: Iterable[str]) -> Iterable[str]:
    """Yield the name of each option that is given; of --flag and --no-flag the former.

    Example:
      >>> list(names(["--batch_size", "5", "--no-wait"], ["--batch-size", "--wait", "--no-wait"]))
      ['--batch-size', '--wait']
    """
    all_options = set(options)
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        positive = name.replace("--no-", "--", 1)
        if name in all_options:
            yield positive if positive in all_options else name


def value(option: str, words: Sequence[str]) -> str | None:
    """Return the word that follows an option, "" if none does; None if it is not given."""
    for position, word in enumerate(words):
        name, equals, text = word.partition("=")
        if name == option:
            return text if equals else next(iter(words[position + 1 :]), "")
    return None
