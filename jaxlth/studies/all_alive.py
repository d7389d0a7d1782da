"""All-alive pruning: a pruned network keeps no dead weights.

A weight is dead if no output depends on it, or if it depends on no input. Dead weights are pruned,
however high their scores, and as many others are kept in their place. Biases take over what zombies
add.

References:
  Kim et al. 2021, Waste not, Want not: All-Alive Pruning for Extremely Sparse Networks; Burger
  2024, section 2.4.2.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxlth import graphs, masks, trees
from jaxlth.models import Network


def pruned(
    select: Callable[[Any], masks.Mask], params: Any, mask: masks.Mask, keep: Any
) -> tuple[masks.Mask, masks.Mask]:
    """Return the mask that a rule leaves, with its dead weights and without them.

    The rule keeps more and more weights until enough of them are active. One weight more can make
    several active; then those of least magnitude are pruned. Fewer weights are left where the mask
    has no more that can be active, or where no weight can be pruned without another.

    Args:
      select: function (how many weights to keep, in the form of `keep`) -> mask.
      params: parameters of the network that is pruned.
      mask: its mask.
      keep: how many active weights to keep, of all or by tensor.
    """
    wanted = dict(keep) if isinstance(keep, Mapping) else {"": keep}
    most = _counts(mask, wanted)
    asked = {name: min(count, most[name]) for name, count in wanted.items()}
    while True:
        before = select(asked if isinstance(keep, Mapping) else asked[""])
        after = graphs.without_dead(params, before)
        counts = _counts(after, wanted)
        more = {
            name: min(asked[name] + max(wanted[name] - counts[name], 0), most[name])
            for name in wanted
        }
        if more == asked:
            break
        asked = more
    excess = {name: max(counts[name] - wanted[name], 0) for name in wanted}
    return before, graphs.without_least(params, after, excess) if any(excess.values()) else after


def passed_on(network: Network, before: masks.Mask, after: masks.Mask) -> Network:
    """Return a network whose biases hold what its zombies add through weights that are pruned."""
    params = graphs.passed_on(network.params, before, after, activation=graphs.relu)
    return network._replace(params=params)


def _counts(mask: masks.Mask, wanted: Mapping[str, int]) -> dict[str, int]:
    counts = {name: int(np.sum(leaf)) for name, leaf in trees.named(mask).items()}
    return {name: counts[name] if name else sum(counts.values()) for name in wanted}
