"""The options of classes of settings: their names, their help, and how their words are read.

The fields are read here one by one, and not by tyro's own rules. So every option has its help in
one paragraph, with the names that it takes, and a wrong value is answered in one line.
"""

import dataclasses
import functools
import pathlib
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    StructConstructorSpec,
    StructFieldSpec,
)

from jaxlth import settings
from jaxlth.process import paths
from jaxlth.settings import ranges
from jaxlth.studies import figure_kinds
from jaxlth.studies.field_docs import docstring, field_docs

KINDS = "kind"  # option that takes the kinds of figures of all studies
OWN = "FILE.py:NAME"  # code of one's own
METAVARS = {  # what a text stands for in the help, where it is not a name
    **dict.fromkeys(("out", "data_dir", "tensorboard", "profile"), "FOLDER"),
    **dict.fromkeys(("file", "settings", "initial", "initial_mask"), "FILE"),
    **dict.fromkeys(("run", "runs"), "RUN"),
    "sizes": "WIDTHS",
    **dict.fromkeys(("study", "error"), OWN),
}
ASIDE = re.compile(r" \((?=[^()]*[a-z]{2})(?:[^()]|\[0, 1\))*\)(?! ->)")  # in parentheses
FEW = 10  # names that short help lists
PLACES = ("FOLDER", "FILE", "RUN")  # what is a path
NONE = "none"  # takes back what a settings file says; in a list, the only word: no value
NO_DEFAULT: Any = tyro.MISSING_NONPROP


class Mistake(Exception):
    """What the user typed is wrong; not a ValueError, which tyro would put into a box."""


def names(cls: Any) -> Iterable[str]:
    """Yield the options that a class of settings gives, as they are typed."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        kind = _bare(hints[field.name])
        if dataclasses.is_dataclass(kind):
            yield from names(kind)
        elif not _is_positional(hints[field.name]):
            name = _typed(field.name, hints[field.name])
            yield from [name, name.replace("--", "--no-")] if kind is bool else [name]


def rare(cls: Any, group: str = "") -> Iterable[tuple[str, str]]:
    """Yield group and name of each option of a class whose field is marked as `settings.RARE`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        kind = _bare(hints[field.name])
        if dataclasses.is_dataclass(kind):
            extras = getattr(hints[field.name], "__metadata__", ())
            is_joined = any(getattr(extra, "name", None) == "" for extra in extras)
            own = "" if is_joined else field.name
            yield from rare(kind, ".".join(filter(None, [group, own])))
        elif _is_rare(hints[field.name]):
            yield group, _typed(field.name, hints[field.name])


def registry(*, short: bool = False, names: bool = False) -> ConstructorRegistry:
    """Return the rules by which tyro makes our classes of settings from words.

    Args:
      short: whether the help leaves out options marked as `settings.RARE`, and says of the others
        no more than the first sentence.
      names: whether tyro is to know the names that options take, to complete them in a shell; it
        would refuse others, such as FILE.py:NAME.
    """
    rules = ConstructorRegistry()
    rules.struct_rule(functools.partial(_struct, short=short, names=names))
    return rules


def _struct(info: Any, *, short: bool, names: bool) -> StructConstructorSpec | None:
    """Return the rule by which tyro makes settings, with our help and our messages."""
    if not dataclasses.is_dataclass(info.type) or info.type.__module__.startswith("tyro."):
        return None
    cls: Any = info.type
    hints, docs = typing.get_type_hints(cls, include_extras=True), field_docs(cls)
    fields = []
    for field in sorted(dataclasses.fields(cls), key=lambda field: field.name != "config"):
        default = getattr(info.default, field.name, NO_DEFAULT)
        if default is NO_DEFAULT:
            default = _default(field)
        kind: Any = hints[field.name]
        text = docs.get(field.name)
        if not dataclasses.is_dataclass(_bare(kind)):
            text = summary(text or "") if short else text or ""
            text = _with_values(_typed(field.name, kind), text, kind, short=short)
            is_hidden = short and _is_rare(kind)
            values = _values(_typed(field.name, kind), kind) if names else ()
            none = "" if _default(field) == "" else None
            kind = _readable(field.name, kind, default, none=none, short=short, values=values)
            if short:
                kind = Annotated[kind, tyro.conf.FlagCreatePairsOff]
            if is_hidden:
                kind = Annotated[kind, tyro.conf.Suppress]
        fields.append(StructFieldSpec(field.name, kind, default, helptext=text))
    return StructConstructorSpec(_maker(cls, short=short), tuple(fields))


def _maker(cls: Any, *, short: bool) -> Callable[..., Any]:
    """Return the class as a function whose errors are mistakes of the user."""
    names = _other_names(cls)

    @functools.wraps(cls, updated=())  # tyro takes the description from it
    def make(**values: Any) -> Any:
        try:
            with settings.renamed(names):
                return cls(**values)
        except (ValueError, TypeError) as error:
            raise Mistake(str(error)) from error

    # Of a command all of it stands above its options; groups of options have names in short help.
    make.__doc__ = "" if short and not hasattr(cls, "study") else docstring(cls)
    return make


def _other_names(cls: Any) -> dict[str, str]:
    """Return the options of a class whose names are not those of their fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    options = {
        field.name: _typed(field.name, hints[field.name]) for field in dataclasses.fields(cls)
    }
    own = {option.removeprefix("--").replace("-", "_") for option in options.values()}
    return {name: option for name, option in options.items() if name not in own}


def _readable(
    name: str,
    kind: Any,
    default: Any,
    *,
    none: str | None = None,
    short: bool = False,
    values: Iterable[str] = (),
) -> Any:
    """Return the kind of a field with a reader of its words; flags stay as they are.

    The word "none" stands for `none`. In short help the names of a `Literal` do not stand behind
    the option, and "none" is no default.
    """
    bare = _bare(kind)
    option = METAVARS[name] if _is_positional(kind) else _typed(name, kind)
    if bare is bool:
        return kind
    several = typing.get_origin(bare) is tuple
    inner = typing.get_args(bare)[0] if several else bare
    optional = types.NoneType in typing.get_args(inner)
    if optional:
        (inner,) = (each for each in typing.get_args(inner) if each is not types.NoneType)
    metavar, read = _reader(name, option, inner)
    if short and metavar.startswith("{"):
        metavar = "NAME"

    def single(word: str) -> Any:
        return none if (optional or none == "") and word.lower() == NONE else read(word)

    def several_of(words: list[str]) -> tuple[Any, ...]:
        """Return the values of a list, in which numbers may have commas between them."""
        if inner in (int, float):
            words = [word for text in words for word in text.strip(",").split(",")]
        return () if _is_none(option, words, kind) else tuple(map(single, words))

    spec: Any = PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=_repeated(metavar, _is_positional(kind)) if several else metavar,
        instance_from_str=several_of if several else lambda words: single(words[0]),
        is_instance=lambda value: True,
        choices=tuple(values) or None,
        str_from_instance=lambda value: [str(v) for v in (value if several else [value])],
    )
    hint = f"(default: {NONE})" if default in ((), None) else None
    if hint and short:
        hint = ""
    if hint is not None:
        return Annotated[kind, spec, tyro.conf.arg(help_behavior_hint=hint)]
    return Annotated[kind, spec]


def _reader(name: str, option: str, kind: Any) -> tuple[str, Callable[[str], Any]]:
    """Return what a value is called in the help, and a function that reads it."""
    if kind is int:
        return "N", functools.partial(_number, option, int, "a whole number")
    if kind is float:
        return "X", functools.partial(_number, option, ranges.read_float, "a number")
    if name == KINDS:
        return "KIND", functools.partial(_one_of, option, figure_kinds())
    if typing.get_origin(kind) is Literal:
        options = typing.get_args(kind)
        return "{" + ",".join(options) + "}", functools.partial(_one_of, option, options)
    metavar = METAVARS.get(name, "NAME")
    if metavar not in PLACES:
        return metavar, str
    return metavar, functools.partial(_path, option, local=metavar == "FILE")


def _path(option: str, word: str, *, local: bool = False) -> str:
    """Return a path as it is used; a `local` one is no address."""
    try:
        if local:
            paths.check_local(word, setting=option)
        return paths.expand(word, setting=option)
    except ValueError as error:
        raise Mistake(str(error)) from error


def expanded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a program, those that are paths as `paths.expand` gives them.

    Raises:
      Mistake: a path is none.
    """
    paths_by_name = dict(values)
    for name, value in values.items():
        if value is not None and (METAVARS.get(name) in PLACES or isinstance(value, pathlib.Path)):
            path = _path(f"--{name.replace('_', '-')}", str(value))
            paths_by_name[name] = type(value)(path)
    return paths_by_name


def _is_none(option: str, words: list[str], kind: Any) -> bool:
    """Return whether the words of a list stand for no value, where none is no value of it.

    Raises:
      Mistake: "none" stands among others.
    """
    if NONE in _values(option, kind) or NONE not in map(str.lower, words):
        return False
    if len(words) > 1:
        raise Mistake(f"`{option}` {NONE} stands for no value; got {settings.in_a_row(words)}.")
    return True


def _number(option: str, kind: Callable[[str], Any], what: str, word: str) -> Any:
    try:
        return kind(word)
    except ValueError as error:
        reason = f" {error}." if isinstance(error, ranges.TooSmall) else ""
        raise Mistake(f"`{option}` must be {what}; got {word!r}.{reason}") from error


def _one_of(option: str, options: Iterable[str], word: str) -> str:
    try:
        return settings.check_choice(option, word, options)
    except ValueError as error:
        raise Mistake(str(error)) from error


def _bare(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def summary(text: str) -> str:
    """Return the first sentence of a help, up to a semicolon, without what stands in parentheses.

    Ranges stay, and so does the form of code of one's own, but not what the code is.

    Example:
      >>> summary("Share to keep (of weights), in (0, 1); by layer. Or none.")
      'Share to keep, in (0, 1).'
      >>> summary("Loss; or FILE.py:NAME, a function (outputs, labels) -> losses. Or none.")
      'Loss; or FILE.py:NAME.'
    """
    text = ASIDE.sub("", text)
    sentence = re.split(r"(?<=[\w)\"`*])\. ", text, maxsplit=1)[0].removesuffix(".")
    first, _, rest = sentence.partition("; ")
    if OWN in sentence:
        first = (sentence if OWN in rest else first).partition(OWN)[0] + OWN
    return first + "." if text else ""


def _is_rare(kind: Any) -> bool:
    return settings.RARE in getattr(kind, "__metadata__", ())


def _is_positional(kind: Any) -> bool:
    return tyro.conf.Positional in getattr(kind, "__metadata__", ())


def _repeated(metavar: str, is_positional: bool) -> str:
    return f"{metavar} ..." if is_positional else f"[{metavar} ...]"  # tyro brackets the former


def _typed(name: str, kind: Any) -> str:
    """Return an option as it is typed; `tyro.conf.arg` may have given it another name."""
    given = [getattr(extra, "name", None) for extra in getattr(kind, "__metadata__", ())]
    return "--" + next(filter(None, given), name).replace("_", "-")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return NO_DEFAULT if field.default is dataclasses.MISSING else field.default


def _with_values(option: str, text: str, kind: Any, *, short: bool) -> str:
    """Return the help of an option with the names that it takes, unless it has them all.

    Args:
      option: as it is typed.
      text: its help.
      kind: annotation of its field.
      short: whether long lists are left out, and the names of a `Literal` put in, which stand
        behind the option elsewhere.
    """
    is_literal = typing.get_origin(_bare(kind)) is Literal
    if option.removeprefix("--") == KINDS or (is_literal and not short):
        return text  # kinds stand below the options, by study
    values = _values(option, kind)
    named = all(re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text) for value in values)
    if named:
        return text
    if short and len(values) > FEW:
        return f"{text} {len(values)} names, see --help-all."
    return f"{text} One of: {', '.join(values)}."


def _values(option: str, kind: Any) -> Sequence[str]:
    """Return the names that an option takes; () where it takes others."""
    names = ranges.names_of(kind)
    if option.removeprefix("--") == KINDS:
        return tuple(figure_kinds())
    return () if names is None else tuple(names.names)
