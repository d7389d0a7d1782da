"""Parse the words of a command line into a command, and explain wrong words."""

import contextlib
import dataclasses
import functools
import inspect
import io
import operator
import re
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args

import tyro

from jaxlth import __version__, settings, store, studies
from jaxlth.cli import commands, help_pages, options, words
from jaxlth.cli.commands import Scale, Training
from jaxlth.process import code, paths
from jaxlth.settings import ranges
from jaxlth.studies import STUDIES, Study
from jaxlth.studies.imp.benchmarks import BENCHMARKS, scaled
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.run_info import RENAMED_STUDIES

COMPLETION = ("--tyro-write-completion", "--tyro-print-completion")
SHELLS = ("bash", "zsh", "fish")
DASHES = re.compile("^[\N{HYPHEN}-\N{HORIZONTAL BAR}\N{MINUS SIGN}]+")  # as text editors write


def parse(arguments: list[str]) -> Any:
    """Return the command that the words of a command line ask for.

    Raises:
      ValueError: they are wrong; the message names the option and what is closest.
    """
    help_asked, arguments = help_pages.asked(arguments), help_pages.plain(arguments)
    name = next(iter(arguments), "")
    if code.is_spec(name):
        return _of_file(name, arguments[1:], help_asked)
    _check_command(name)
    if name in COMPLETION:
        _check_completion(arguments)
    classes = commands.by_name()
    kind = classes.get(name)
    words.check(arguments, () if kind is None else options.names(kind))
    defaults: dict[str, Any] = {}
    if kind is not None and issubclass(kind, Training):
        defaults[name] = _defaults(kind, arguments[1:])
    kinds: list[Any] = [
        Annotated[
            cls,
            tyro.conf.subcommand(
                each,
                default=defaults.get(each, options.NO_DEFAULT),
                description=help_pages.description(cls, short=kind is None),
            ),
        ]
        for each, cls in classes.items()
    ]
    with help_pages.printed(name, kind, help_asked):
        command, unknown = _read(
            functools.reduce(operator.or_, kinds),
            arguments,
            prog="jaxlth",
            description="Find and study lottery tickets.",
            short=help_pages.is_short(kind, help_asked),
            completes=name in COMPLETION,
        )
    if unknown:
        raise ValueError(_complaint(name, classes[name], unknown[0]))
    return command


@contextlib.contextmanager
def own_study(arguments: list[str]) -> Iterator[None]:
    """Add the user's own study that a command line names to the studies, in this context.

    It is the command itself, FILE.py:STUDY, or the value of --study.

    Raises:
      ValueError: the file or the name is missing, or a study has its name already.
      TypeError: it is no study.
    """
    first = next(iter(arguments), "")
    spec = first if code.is_spec(first) else words.value("--study", arguments)
    if spec is None or first in STUDIES:
        yield
        return
    settings.require(
        code.is_spec(spec), f"`--study` must name a study as FILE.py:NAME; got {spec!r}."
    )
    with studies.added(_study(spec)):
        commands.by_name()  # no study has the name of another command
        yield


def _study(spec: str) -> Study:
    """Return the study that FILE.py:NAME names; its file runs once."""
    study = code.load(spec, setting="study")
    if not isinstance(study, Study):
        raise TypeError(f"`study`: {spec} must be a `studies.Study`; got {ranges.shown(study)}.")
    return study


def _of_file(spec: str, arguments: list[str], help_asked: str | None) -> Training:
    """Return the command that the words after FILE.py:STUDY ask for."""
    kind = commands.of_study(_study(spec))
    words.check(arguments, options.names(kind))
    default = _defaults(kind, arguments)
    with help_pages.printed(spec, kind, help_asked):
        command, unknown = _read(
            kind,
            arguments,
            prog=f"jaxlth {spec}",
            default=default,
            short=help_pages.is_short(kind, help_asked),
        )
    if unknown:
        raise ValueError(_complaint(spec, kind, unknown[0]))
    return command


def call(function: Callable[..., int]) -> int:
    """Return what a function returns, called with the options of the command line.

    The function's arguments are the options, its docstring their help, as in a file of experiments.

    Raises:
      ValueError: an option is wrong.
    """
    if words.asks_version(sys.argv[1:]):
        print(f"jaxlth {__version__}")
        return 0
    option_names = [
        f"--{name.replace('_', '-')}" for name in inspect.signature(function).parameters
    ]
    words.check(
        sys.argv[1:], [*option_names, *(name.replace("--", "--no-") for name in option_names)]
    )

    @functools.wraps(function)
    def bound(*positional: Any, **named: Any) -> Callable[[], int]:
        return functools.partial(function, *positional, **options.expanded(named))

    run, unknown = _read(bound, sys.argv[1:])
    if unknown:
        close = settings.closest(unknown[0], option_names)
        hint = f"Did you mean {close}?" if close else "--help lists the options."
        raise ValueError(f"There is no option {unknown[0]}. {hint}")
    return run()


def _read(
    kind: Any,
    arguments: list[str],
    *,
    prog: str | None = None,
    description: str | None = None,
    default: Any = options.NO_DEFAULT,
    short: bool = False,
    completes: bool = False,
) -> tuple[Any, list[str]]:
    """Return the command that tyro reads from words, and the words that it does not know."""
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(
                kind,
                args=arguments,
                default=default,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
                registry=options.registry(short=short, names=completes),
                return_unknown_args=True,
                prog=prog,
                description=description,
            )
    except options.Mistake as mistake:
        raise ValueError(str(mistake)) from mistake
    except SystemExit as stopped:
        if stopped.code:
            raise ValueError(_from_box(messages.getvalue())) from None
        raise


def _check_completion(words: list[str]) -> None:
    """Raise ValueError for a shell without completions, before tyro reads its name."""
    name, *rest = words
    wanted = "SHELL FILE" if name == COMPLETION[0] else "SHELL"
    settings.require(
        len(rest) == len(wanted.split()),
        f"Write completions with: jaxlth {name} {wanted}, where SHELL is {', '.join(SHELLS)}.",
    )
    settings.check_choice(name, rest[0], SHELLS)


def _check_command(name: str) -> None:
    names = list(commands.by_name())
    if name in names or name in help_pages.HELP or name.startswith("--tyro-"):
        return
    if name in RENAMED_STUDIES:
        raise ValueError(f"`jaxlth {name}` is now `jaxlth {RENAMED_STUDIES[name]}`.")
    explained = f"Commands: {', '.join(names)}; see `jaxlth --help`."
    if not name:
        raise ValueError(f"Give a command. {explained}")
    if name.startswith("-"):
        raise ValueError(f"Give a command before the option {name}. {explained}")
    close = settings.closest(name, [*names, "--help", *words.VERSION[:1]])
    hint = f" Did you mean {close!r}?" if close else ""
    if name.partition(":")[0].endswith(".py"):
        hint = f" A study of your own is FILE.py:NAME, such as {name.partition(':')[0]}:STUDY."
    raise ValueError(f"There is no command {name!r}.{hint} {explained}")


def _defaults(kind: type[Training], arguments: list[str]) -> Training:
    """Return the defaults of a command; the length of training that is given replaces another."""
    defaults: Any = _named_defaults(kind, arguments)
    given = {name: words.value(f"--{name}", arguments) for name in ("steps", "epochs")}
    names = [name for name, text in given.items() if text not in (None, options.NONE)]
    settings.require(
        len(names) < 2, "`--steps` and `--epochs` both give the length of training; give one."
    )
    if not names:
        return defaults
    _check_times(kind.study.Config(), defaults.config, names[0], arguments)
    return dataclasses.replace(defaults, config=defaults.config.with_length(names[0]))


def _check_times(usual: Any, config: Any, name: str, arguments: list[str]) -> None:
    """Raise ValueError where times of a file or benchmark would get another unit without a word.

    Drops of the rate and a warmup beyond the end are left to `training.check_times`.
    """
    unit = "epochs" if config.training.steps is None else "steps"
    try:
        length = float(words.value(f"--{name}", arguments) or "")
    except ValueError:  # left to the parser
        return
    for setting, time in config.times().items() if unit != name else ():
        flag = f"--{setting.replace('_', '-')}"
        times = time if isinstance(time, tuple) else (time,)
        is_beyond = setting in ("milestones", "warmup") and max(times, default=0) >= length
        settings.require(
            time == usual.times()[setting] or is_beyond or words.value(flag, arguments) is not None,
            f"`{flag}` must be given beside `--{name}`: {settings.in_a_row(times)} is in "
            f"{unit}, and times have the unit of the length.",
        )


def _named_defaults(kind: type[Training], arguments: list[str]) -> Training:
    """Return the defaults of a command: those of the settings file or benchmark that is named."""
    path, name = words.value("--settings", arguments), words.value("--benchmark", arguments)
    cls = kind.study.Config
    if path is not None:
        settings.require(
            bool(path.strip()) and not path.startswith("--"),
            "`--settings` needs the name of a TOML file, such as settings.toml in a run's folder.",
        )
        path = paths.expand(path, setting="--settings")
        store.check_settings(path)
        return kind(config=settings.read_toml(cls, path), settings=path)
    if name is not None:
        benchmark = BENCHMARKS[settings.check_choice("benchmark", name, BENCHMARKS)]
        scale = words.value("--scale", arguments) or "paper"
        shortened = scaled(benchmark, settings.check_choice("scale", scale, get_args(Scale)))
        return kind(config=_of_kind(cls, shortened), benchmark=name)
    return kind(config=_for_names(kind.study, cls(), arguments))


def _for_names(study: Study, config: Any, arguments: list[str]) -> Any:
    """Return the defaults that fit the data and the model that a command line names."""
    data, model = words.value("--data", arguments), words.value("--model", arguments)
    if data is not None:
        config = dataclasses.replace(config, **study.for_data(data))
    if model in (None, config.model.name):
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, hidden=()))


def _of_kind(kind: type, config: ImpConfig) -> Any:
    """Return a benchmark as settings of a study: the fields of both, without controls."""
    if kind is ImpConfig:
        return config
    own, other = (typing.get_type_hints(cls) for cls in (kind, ImpConfig))
    common = [name for name in own if own[name] == other.get(name) and name != "controls"]
    return kind(**{name: getattr(config, name) for name in common})


def _complaint(command: str, kind: type, word: str) -> str:
    """Return what to say of a word that a command does not know."""
    dashed = DASHES.sub("--", word)
    if not dashed.startswith("-"):
        return f"`jaxlth {command}` does not know what to do with {word!r}."
    if dashed != word and not word.startswith("-"):
        return f"Options begin with two hyphens: {dashed}; got {word!r}."
    classes = commands.by_name()
    option, option_names = word.partition("=")[0].replace("_", "-"), list(options.names(kind))
    if words.RENAMED_OPTIONS.get(option) in option_names:
        return f"The option {option} is now {words.RENAMED_OPTIONS[option]}."
    if option in (*help_pages.HELP, help_pages.ALL):
        return f"The option {option} takes no value; got {word!r}."
    close = settings.closest(option, option_names)
    others = [name for name, cls in classes.items() if option in options.names(cls)]
    if others and not settings.closest(option, option_names, cutoff=0.8):
        return f"`jaxlth {command}` has no option {option}; `jaxlth {others[0]}` has."
    hint = f"Did you mean {close}?" if close else f"`jaxlth {command} --help` lists them."
    return f"`jaxlth {command}` has no option {option}. {hint}"


def _from_box(text: str) -> str:
    """Return the message in tyro's box as one line, without the help that follows it."""
    lines = [line.strip("│╭╮╰╯─ ") for line in text.splitlines()]
    lines = [line for line in lines[1:] if line and not line.startswith("For full helptext")]
    message = re.sub(r" \S+( \w+)? --help$", "", " ".join(lines)) or text
    missing = re.match(r"Missing value for argument '(.*?)'", message)
    return f"`{missing[1]}` needs a value." if missing else message
