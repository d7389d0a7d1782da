"""How the studies of speed measure: variants in turn within one process, medians of the rounds.

Machines are shared and change their pace; what is compared must be measured side by side.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def interleaved(
    variants: dict[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each variant, taken in turns after one round to warm up.

    Each round begins with another variant, so that none always comes after the same one.

    Args:
      variants: functions by name; of what they return, arrays of JAX are waited for.
      rounds: how often the variants take turns.
      clock: seconds so far; `time.process_time` for those of the processor, which the work of
        others changes less.
    """
    taken, names = {name: [] for name in variants}, list(variants)
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            jax.block_until_ready(variants[name]())
            if turn:
                taken[name].append(clock() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}
