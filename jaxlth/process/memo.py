"""Functions that are made once in a process, so that what JAX has compiled of them is kept.

JAX compiles a function again for each object: a training, an evaluation or a score that is made
anew from the same settings is another function to it. So studies make theirs through a `Memo`, and
a second study of the same network and training in one process compiles nothing again.

Only what settings say in full may be shared so. Functions of a user's own may read what has changed
since, as a variable of a notebook: they need a `Memo` of their own in each study.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MOST = 64  # results that are kept, those asked for last; a study asks for 7 to 20


class Memo:
    """Calls functions, and gives what it has made of the same function and equal arguments.

    Arguments that have no hash are computed with each time.

    Example:
      >>> made = Memo()
      >>> made(list, "ab") is made(list, "ab"), made(list, "ab") is made(list, "ba")
      (True, False)
    """

    def __init__(self, most: int = MOST) -> None:
        self._kept = functools.lru_cache(maxsize=most, typed=True)(_call)

    def __call__(self, function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """Return function(*arguments, **options), or what it returned before."""
        try:
            hash((function, arguments, tuple(options.values())))
        except TypeError:
            return function(*arguments, **options)
        return self._kept(function, *arguments, **options)


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return function(*arguments, **options)


shared = Memo()  # of all studies of the process
