"""Random settings and command lines: each ends in one line or a result, never in a traceback.

Cases are made of the fields of the settings themselves, from a seed: new options are tried without
being named here. Most of them ask, beside all else, for a weight that no network has (NOWHERE), so
that they end before training.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import random
import shutil
import signal
import threading
import time
import typing

import pytest

from jaxlth import cli, models, settings, training
from jaxlth import data as data_lib
from jaxlth import supermasks as supermasks_lib
from jaxlth.cli.commands import Training, by_name
from jaxlth.settings import ranges
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.studies.separation.config import SeparationConfig
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig
from jaxlth.studies.train_supermasks.config import TrainSupermasksConfig

COMMANDS = by_name()
SHORT, LONG = 60, 2000  # cases
SECONDS = 30  # of all cores that a case may take; most take hundredths of one
NOWHERE = ["--exclude", "no-such-weight"]
SMALL = [
    "--model",
    "mlp",
    "--hidden",
    "2",
    "--steps",
    "1",
    "--batch-size",
    "50",
    "--replicates",
    "1",
]
MASK = ["train-supermasks", *SMALL, "--data", "moons"]
EARLY = ["prune-early", *SMALL, "--data", "moons", "--score", "random", "--density", "0.5"]
BASES = [  # tiny runs of each command that trains
    ["imp", *SMALL, "--data", "moons", "--levels", "0", "--controls"],
    ["imp", *SMALL, "--data", "moons", "--levels", "1", "--dilations", "2"],
    EARLY,
    [*EARLY, "--schedule", "iterative-once"],
    [
        *EARLY[:-4],
        "--score",
        "synflow",
        "--schedule",
        "before-rounds",
        "--rounds",
        "2",
        "--density",
        "0.5",
    ],
    ["instability", *SMALL, "--data", "digits", "--twins", "2", "--points", "2"],
    [
        "instability",
        *SMALL,
        "--data",
        "digits",
        "--networks",
        "ticket",
        "--levels",
        "1",
        "--twins",
        "2",
        "--points",
        "2",
    ],
    ["separation", *SMALL, "--data", "moons+circles", "--levels", "0"],
    ["threshold-masks", *SMALL, "--data", "moons", "--thresholds", "0", "--sizes", "3"],
    MASK,
    [*MASK, "--method", "edge-popup", "--density", "0.5", "--finetune", "1"],
    [*MASK, "--method", "gem-miner", "--density", "0.5", "--prunings", "1"],
    ["imp", *SMALL, "--data", "folder:nowhere", "--levels", "0"],
]
NOT_TRIED = {"--distributed"}  # waits for other processes
FOLDERS = {"--out", "--data-dir", "--tensorboard", "--settings", "--file"}
LARGE = "1" + "0" * 400
NUMBERS = ["0", "-1", "1", "2", "+3", "0.4", "1.5", "1e-300", "1e39", "1e308", "inf", "-inf", "nan"]
NUMBERS += ["2147483647", "2147483648", "9223372036854775808", LARGE, "-" + LARGE, "1_0", "1,2"]
NUMBERS += ["9" * 5000]
WORDS = [
    "",
    " ",
    "none",
    "-",
    "--",
    "...",
    "..",
    "a/b",
    "ü",
    "💥",
    "x" * 300,
    "'",
    "%s",
    "{}",
    "$HOME",
]
WORDS += ["~", "\\", "a\nb", "+", "tfds:", "folder:", "stream:", "mnist+", "snip+", "a:b:c", "\x7f"]
LITERALS = [
    "inf",
    "-inf",
    "nan",
    "true",
    "[]",
    "[[1]]",
    "{}",
    "{a = 1}",
    "''",
    "1979-05-27",
    "0x7f",
]
LITERALS += ["9" * 30, "1e400", "-1", "0", "0.4", '"\\u0000"', "[1, 'a']", "2147483648", "9" * 5000]
LITERALS += ["[" * 400 + "]" * 400, '"x"', "[inf]", "[true]", "1_000"]
ODD = [
    None,
    True,
    -1,
    0,
    1,
    2,
    0.4,
    1e39,
    float("inf"),
    float("nan"),
    2**31,
    2**63,
    10**400,
    "",
    "x",
]
ODD += [(), [], {}, (1,), (1.5, "a"), (float("inf"),), b"x", object(), (None,), ((1,),), 1j, {1}]
CONFIGS = (
    *(data_lib.DataConfig, data_lib.StreamConfig, models.ModelConfig),
    *(training.TrainingConfig, training.OptimizerConfig),
    *(ImpConfig, PruneEarlyConfig, InstabilityConfig),
    *(SeparationConfig, ThresholdMasksConfig),
    *(TrainSupermasksConfig, supermasks_lib.SupermaskRule),
    supermasks_lib.SupermaskConfig,
)


class Case(typing.NamedTuple):
    """A command line, and the settings file that it may name."""

    words: list[str]
    file: bytes | None = None


def options(cls):
    """Yield the options of a class of settings, with their kinds."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        if dataclasses.is_dataclass(kind):
            yield from options(kind)
            continue
        extras = getattr(hint, "__metadata__", ())
        named = [extra.name for extra in extras if getattr(extra, "name", None)]
        name = "--" + next(iter(named), field.name).replace("_", "-")
        if name not in NOT_TRIED:
            yield name, kind


def pool_of(kind, name):
    """Return words for an option, odd ones mostly."""
    if name in FOLDERS:
        return [word for word in WORDS if ".." not in word and word != "~"]
    if {int, float} & flat(kind):
        return NUMBERS
    literals = [each for each in typing.get_args(kind) if isinstance(each, str)]
    return [*literals, *WORDS]


def value_of(draw, kind, name):
    """Return the words that follow an option."""
    if kind is bool:
        return []
    several = typing.get_origin(kind) is tuple
    pool = pool_of(kind, name)
    return [draw.choice(pool) for _ in range(draw.choice((0, 1, 1, 2, 3)) if several else 1)]


def flat(kind):
    """Return the kinds that a kind is made of."""
    inner = typing.get_args(kind)
    return {kind, *(each for one in inner if not isinstance(one, str) for each in flat(one))}


def odd_options(draw, cls):
    """Return the words of one to three options of a command with odd values."""
    known = dict(options(cls))
    words = []
    for name in draw.sample(sorted(known), min(len(known), draw.choice((1, 1, 2, 3)))):
        value = value_of(draw, known[name], name)
        typed = (
            name.replace("--", "--no-", 1) if known[name] is bool and draw.random() < 0.5 else name
        )
        joined = len(value) == 1 and (draw.random() < 0.3 or value[0].startswith("-"))
        words += [f"{typed}={value[0]}"] if joined else [typed, *value]
    return words


def disturbed(draw, words):
    """Return words with one of them repeated, left out, misspelt or unknown."""
    words, at = list(words), draw.randrange(max(1, len(words)))
    how = draw.choice(("repeat", "drop", "misspell", "unknown", "positional", "swap"))
    if how == "repeat":
        return [*words, *words[at : at + 2]]
    if how == "drop":
        return words[:at] + words[at + 1 :]
    if how == "misspell" and words:
        words[at] = words[at][:-1] + draw.choice(("", "x", "xx", "-"))
        return words
    if how == "unknown":
        return [*words, draw.choice(("--no-such-option", "-x", "--", "--=", "---", "--steps-x=1"))]
    if how == "positional":
        return [*words, draw.choice(WORDS)]
    draw.shuffle(words)
    return words


def mutated(draw, text):
    """Return the content of a settings file, damaged in one or two places."""
    lines = text.splitlines()
    for _ in range(draw.choice((1, 1, 2))):
        at = draw.randrange(len(lines))
        key, _, value = lines[at].partition(" = ")
        how = draw.choice(("value", "value", "value", "key", "twice", "nest", "drop", "deep"))
        lines[at] = {
            "value": f"{key} = {draw.choice(LITERALS)}",
            "key": f"{draw.choice(('x', key + 's', key[:-1], '', 'a.b', '[a]'))} = {value}",
            "twice": f"{lines[at]}\n{lines[at]}",
            "nest": f"{key} = {{{key} = {value or 1}}}",
            "drop": "",
            "deep": "[" + ".".join("a" * draw.choice((3, 300))) + "]",
        }[how]
    content = "\n".join(lines).encode()
    if draw.random() < 0.2:
        at = draw.randrange(len(content))
        junk = draw.choice((b"\xff", b"\x00", b"\xef\xbb\xbf", b"\r", b'"', b"]" * 9, b"=" * 9))
        content = content[:at] + junk + content[at:]
    return draw.choice((b"\xef\xbb\xbf", b"")) + content


def replaced(base, odd):
    """Return the words of a base with odd options in place of its own."""
    names, kept, skipping = {word.partition("=")[0] for word in odd}, [], False
    for word in base:
        skipping = word in names if word.startswith("--") else skipping
        kept += [] if skipping else [word]
    return [*kept, *odd]


def stopped(draw, name, words, share):
    """Return words that end before training, a share of them, more where training takes long."""
    share = max(share, 0.97) if name in ("instability", "separation") else share
    keep = "--exclude" in words or draw.random() > share
    return words if keep else [*words, *NOWHERE]


def file_case(draw):
    """Return a case of a settings file that is damaged."""
    name = draw.choice(BASES)[0]
    cls = COMMANDS[name]
    odd = odd_options(draw, cls) if draw.random() < 0.2 else []
    text = settings.to_toml(cls().config)
    return Case([name, "--settings", "odd.toml", *odd, *NOWHERE], mutated(draw, text))


def training_case(draw, share):
    """Return a case of a command that trains, with odd options."""
    name, *base = draw.choice(BASES)
    words = stopped(draw, name, replaced(base, odd_options(draw, COMMANDS[name])), share)
    return Case([name, *(disturbed(draw, words) if draw.random() < 0.2 else words)])


def single_cases(draw, shares):
    """Return a case for each option of a command that trains and each odd value, in any order."""
    kinds = {base[0]: dict(options(COMMANDS[base[0]])) for base in BASES}
    known = {name: kind for result in kinds.values() for name, kind in result.items()}
    cases = []
    for option, kind in known.items():
        bases = [base for base in BASES if option in kinds[base[0]]]
        is_number = bool({int, float} & flat(kind))
        pool = [] if kind is bool else pool_of(kind, option)
        for value in pool if is_number else draw.sample(pool, min(len(pool), 6)):
            name, *base = draw.choice(bases)
            words = replaced(base, [f"{option}={value}"])
            cases.append(Case([name, *stopped(draw, name, words, shares[is_number])]))
    draw.shuffle(cases)
    return cases


def reading_case(draw, name, out):
    """Return a case of a command that reads what is stored."""
    words = odd_options(draw, COMMANDS[name])
    base = ["--out", str(out)] if "--out" not in {word.partition("=")[0] for word in words} else []
    file = ["ticket.npz"] if name == "export" else []
    words = [*file, *base, *words]
    return Case([name, *(disturbed(draw, words) if draw.random() < 0.3 else words)])


def make(draw, out, count, shares=(0.95, 0.7)):
    """Return so many cases: single options, odd command lines and odd files of settings.

    Args:
      draw: of the seed.
      out: folder of runs for the commands that read some.
      count: of the cases.
      shares: of the cases that end before training: in general, of those of single numbers.
    """
    singles = single_cases(draw, shares)[: count * 3 // 4]
    reading = [name for name in COMMANDS if not issubclass(COMMANDS[name], Training)]
    kinds = [lambda: training_case(draw, shares[0]), *[lambda: file_case(draw)] * 2]
    kinds += [lambda: reading_case(draw, draw.choice(reading), out)]
    kinds += [lambda: Case([draw.choice(WORDS), *draw.sample(WORDS, 2)])]
    return [*singles, *(draw.choice(kinds)() for _ in range(count - len(singles)))]


class Watch(threading.Thread):
    """Interrupts a command that takes too long, by the time of its cores or ten times as long."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.hung = threading.Event(), False
        self._cores, self._clock = time.process_time(), time.monotonic()

    def run(self):
        while not self.over.wait(0.2):
            spent = time.process_time() - self._cores, (time.monotonic() - self._clock) / 10
            if max(spent) > SECONDS:
                self.hung = True
                os.kill(os.getpid(), signal.SIGINT)
                return


def run(words):
    """Return code and messages of a command line, and whether it had to be interrupted."""
    watch, err = Watch(), io.StringIO()
    watch.start()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            try:
                code = cli.main(words)
            except SystemExit as stopped:  # after --help
                code = stopped.code or 0
    finally:
        watch.over.set()
    return code, err.getvalue(), watch.hung


def experiment(case):
    """Return what is wrong with how a case ends, None if nothing is."""
    shutil.rmtree("runs", ignore_errors=True)
    if case.file is not None:
        pathlib.Path("odd.toml").write_bytes(case.file)
    try:
        code, err, hung = run(case.words)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    if hung or code not in (0, 2):
        return "it hangs" if hung else f"code {code}"
    lines = err.splitlines()
    if code == 2 and not (len(lines) == 1 and lines[0].startswith("jaxlth: ")):
        return f"{len(lines)} lines: {err[:300]}"
    if code == 2 and pathlib.Path("runs").exists():
        return f"refused after a run was begun: {err[:300]}"
    return None


def shown(case):
    """Return a case as it is told, without what is long."""
    words = [word if len(word) < 50 else f"{word[:20]}...({len(word)})" for word in case.words]
    return f"{words} {(case.file or b'')[:4000]!r}"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def wrong(cases):
    """Return what is wrong with how cases end."""
    return {shown(case): said for case in cases if (said := experiment(case))}


@pytest.mark.usefixtures("elsewhere")
def test_sixty_command_lines_and_settings_files_end_in_one_line(tmp_path):
    assert wrong(make(random.Random(0), tmp_path, SHORT, shares=(1, 1))) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere", "unoptimized")
def test_two_thousand_command_lines_and_settings_files_end_in_one_line_or_a_result(finished):
    assert wrong(make(random.Random(1), finished.parent, LONG)) == {}


@pytest.mark.parametrize("cls", CONFIGS)
def test_settings_of_odd_values_raise_errors_of_values_or_kinds_only(cls):
    draw = random.Random(cls.__name__)
    names = [field.name for field in dataclasses.fields(cls)]
    for _ in range(200):
        config = {name: draw.choice(ODD) for name in draw.sample(names, draw.choice((1, 1, 2)))}
        with contextlib.suppress(ValueError, TypeError):
            cls(**config)


@pytest.mark.parametrize("cls", CONFIGS)
def test_every_number_of_the_settings_has_a_range(cls):
    numbers = [field for field in ranges.fields(cls) if {int, float} & flat(field.kind)]
    assert [field.name for field in numbers if field.range is None] == []
