"""A user's own scores: their names in a config, their functions, and what they must return.

A score is a function (apply_fn, params, mask, batch, key) that returns a tree of floats like
`params`. A higher float means a weight more worth keeping. Its arguments:

    apply_fn  (params, inputs) -> outputs, with the batch statistics of these inputs
    params    of the network that is scored, pruned weights being 0
    mask      what is left before the pruning; None where nothing may be pruned
    batch     (inputs, labels) of examples of each class; None where a study has no such examples,
              as with stream:NAME, arrays on the disk and several tasks
    key       of the replicate, the same at each pruning

A config names it FILE.py:NAME, or own:NAME where the function is given in Python. Folders and
tables have a short label in its place.
"""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, settings, trees
from jaxlth.models.checks import UNTRACEABLE
from jaxlth.process import code
from jaxlth.settings import ranges

if TYPE_CHECKING:
    from jaxlth.studies.parts import Parts

ScoreFunction: TypeAlias = Callable[[Any, Any, masks.Mask, Any, jax.Array], Any]
SIGNATURE = "(apply_fn, params, mask, batch, key) -> tree of floats like params"
LONGEST = 60  # letters of a label


class ScoreError(ValueError):
    """A score that cannot be used; the message is one line that says why."""


def is_own(name: str) -> bool:
    """Return whether a name stands for a user's own function.

    Example:
      >>> is_own("own:mine"), is_own("nets/mine.py:score"), is_own("snip")
      (True, True, False)
    """
    return code.is_spec(name) or re.fullmatch(rf"{code.OWN}:[^\W\d]\w*", name) is not None


def label(name: str) -> str:
    """Return a short name of a score, for folders and tables; of the library's, the name itself.

    Example:
      >>> label("own:mine"), label("my nets/first try.py:score"), label("snip")
      ('own-mine', 'first-try-score', 'snip')
    """
    if not is_own(name):
        return name
    return re.sub(r"[^\w.]+", "-", code.label(name))[-LONGEST:].strip("-.")


def check_labels(setting: str, names: Iterable[str], taken: Iterable[str]) -> None:
    """Raise ValueError where two scores would have one name in folders and tables.

    Args:
      setting: which names the scores, for the message.
      names: of scores, no stacks.
      taken: names that are not those of a user's own scores.
    """
    by_label = {name: name for name in taken}
    for name in filter(is_own, names):
        other = by_label.setdefault(label(name), name)
        settings.require(
            other == name,
            f"`{setting}` {name} and {other} would both be called {label(name)} in tables; rename "
            "one of them.",
        )


def named(
    fields: Mapping[str, Any], lists: Mapping[str, bool]
) -> tuple[dict[str, Any], dict[str, ScoreFunction]]:
    """Return fields of a config with names in the place of functions, and the functions by name.

    Args:
      fields: as they are given in Python; a stack may be a tuple of two.
      lists: field that names scores -> whether it is a list of them.

    Raises:
      ValueError: a function has no name, or two have the same.

    Example:
      >>> from jaxlth import scores
      >>> def mine(apply_fn, params, mask, batch, key):
      ...     return scores.magnitude(params)
      >>> named({"scores": ["snip", mine, ("snip", mine)]}, {"scores": True})[0]
      {'scores': ('snip', 'own:mine', 'snip+own:mine')}
    """
    functions: dict[str, ScoreFunction] = {}

    def name_of(value: Any) -> Any:
        if isinstance(value, (tuple, list)) and value:
            return "+".join(str(name_of(part)) for part in value)
        return _given_name(value, functions) if callable(value) else value

    def names_in(field: str, value: Any) -> Any:
        if lists.get(field) and isinstance(value, (tuple, list)):
            return tuple(map(name_of, value))
        return name_of(value) if field in lists else value

    return {field: names_in(field, value) for field, value in fields.items()}, functions


def _given_name(function: Any, functions: dict[str, ScoreFunction]) -> str:
    """Return what a config calls a function, which is added to the functions."""
    name = getattr(function, "__name__", "")
    settings.require(
        name.isidentifier(),
        "`score` must be a function that has a name, as `def` gives it one; got "
        f"{ranges.shown(function)}.",
    )
    spec = f"{code.OWN}:{name}"
    settings.require(
        functions.setdefault(spec, function) is function,
        f"`score` is given two functions of the name {name}; rename one of them.",
    )
    return spec


def load(names: Iterable[str], parts: "Parts") -> dict[str, ScoreFunction]:
    """Return the functions of scores, by their names in the config.

    Args:
      names: of scores, no stacks; those of the library are left out.
      parts: of the experiment.

    Raises:
      ValueError: a file or a name in it is missing, or a function that was given in Python is not.
      TypeError: a score is no function of five arguments.
    """
    return {name: _loaded(name, parts) for name in filter(is_own, names)}


def _loaded(name: str, parts: "Parts") -> ScoreFunction:
    if code.is_spec(name):
        function = code.load(name, setting="score")
    else:
        function, given = parts.scores.get(name), name.partition(":")[2]
        settings.require(
            function is not None,
            f"`score` {given} is a function of your own, which no run stores: give it again, as "
            f"in studies.imp(experiment, score={given}), or name it FILE.py:NAME.",
        )
    return _of_five_arguments(name, function)


def _of_five_arguments(name: str, function: Any) -> ScoreFunction:
    """Return a score; TypeError says that it cannot be called with its five arguments."""
    wrong = not callable(function)
    with contextlib.suppress(ValueError):  # of a function that tells no signature
        try:
            wrong = wrong or not inspect.signature(function).bind(*range(5))
        except TypeError:
            wrong = True
    if wrong:
        got = f"{getattr(function, '__name__', ranges.shown(function))}"
        with contextlib.suppress(ValueError, TypeError):
            got += str(inspect.signature(function))
        raise TypeError(f"`score` {name} must be a function {SIGNATURE}; got {got}.")
    return function


def checked(name: str, function: ScoreFunction) -> ScoreFunction:
    """Return a score whose result is compared with the parameters when it is traced.

    Raises:
      ScoreError: when called, it does not return a tree of floats like the parameters.
    """

    def score(apply_fn: Any, params: Any, mask: masks.Mask, batch: Any, key: jax.Array) -> Any:
        values = function(apply_fn, params, mask, batch, key)
        if wrong := _difference(values, params):
            raise ScoreError(
                f"`score` {name} must return a tree of floats like the parameters; {wrong}."
            )
        return values

    return score


def _difference(values: Any, params: Any) -> str:
    """Return how scores differ from a tree of floats like the parameters; "" if they do not."""
    scores, weights = trees.named(values), trees.named(params)
    for name, weight in weights.items():
        if name not in scores:
            return f"it has no {name}"
        kind, shape = getattr(scores[name], "dtype", None), np.shape(scores[name])
        if shape != weight.shape:
            return f"its {name} has shape {shape}, not {weight.shape}"
        if kind is None or not jnp.issubdtype(kind, jnp.floating):
            return f"its {name} has type {kind or type(scores[name]).__name__}"
    more = [name for name in scores if name not in weights]
    if more:
        return f"it has {more[0] or 'one array'}, which the parameters have not"
    same = jax.tree.structure(values) == jax.tree.structure(params)
    return "" if same else f"it is a {type(values).__name__}"


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn errors within a score into a line that names it.

    Raises:
      ScoreError: in the place of any other error.
    """
    try:
        yield
    except ScoreError:
        raise
    except UNTRACEABLE as error:
        raise ScoreError(
            f"`score` {name} must be a function that jax.jit can trace, without Python or NumPy "
            f"values of arrays: {code.first_line(error)}"
        ) from error
    except Exception as error:
        raise ScoreError(f"`score` {name} fails: {code.error_text(error)}") from error
