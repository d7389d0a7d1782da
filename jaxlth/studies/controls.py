"""Controls: tickets changed on purpose.

There are two kinds of random pruning. The shuffled controls put the weights of the ticket, those of
the rewind step, under a random mask; `random` and `random-layerwise` draw new weights too. At
rewind step 0 both are the same experiment. At a later step k new weights are trained for the steps
from k to the end only, and have not learnt what the ticket has learnt by step k.

References:
  Frankle 2023, The Lottery Ticket Hypothesis: chapter 3, notes 7, 10 and 11, for step 0; section
  4.2.3 for step k, where random pruning is of the weights of step k.
"""

from collections.abc import Callable

import jax
import numpy as np

from jaxlth import keys, masks, prune, scores, trees
from jaxlth.models import Network
from jaxlth.studies.train import Ticket

TICKET = "ticket"


def shuffled(mask: masks.Mask, key: jax.Array, *, within: masks.Mask) -> masks.Mask:
    """Return the mask that random scores leave of another, as many of each tensor.

    `masks.shuffle` does the same, of all weights and from another stream; stored runs keep the
    masks of this one.

    Args:
      mask: tells how many.
      key: of the scores.
      within: the mask that level 0 is trained under: all weights, or what an initial mask leaves.
    """
    keep = {name: int(np.sum(leaf)) for name, leaf in trees.named(mask).items()}
    return prune.layerwise_topk(scores.random(mask, key=key), within, keep=keep)


def random(mask: masks.Mask, key: jax.Array, *, within: masks.Mask) -> masks.Mask:
    """Return the mask that random scores leave of another, as many in all; see `shuffled`."""
    return prune.global_topk(scores.random(mask, key=key), within, keep=masks.kept(mask))


# mask, key, `within` -> mask of a control
MASKS: dict[str, Callable[..., masks.Mask]] = {
    "reinitialized": lambda mask, key, *, within: mask,
    "shuffled": shuffled,
    "shuffled-globally": random,
    "random": random,
    "random-layerwise": shuffled,
}
CONTROLS = tuple(MASKS)
NEW_WEIGHTS = ("reinitialized", "random", "random-layerwise")


def make(
    ticket: Ticket,
    control: str,
    init: Callable[[jax.Array], Network],
    *,
    within: masks.Mask,
    seed: int,
    replicate: int,
    level: int,
) -> Ticket:
    """Return a control of a ticket, or the ticket itself where that is asked for.

    Args:
      ticket: mask and network of a level.
      control: "ticket", or a name of `CONTROLS`.
      init: draws a network.
      within: the mask that level 0 is trained under.
      seed: of the run.
      replicate: the ticket's.
      level: the ticket's.
    """
    if control == TICKET:
        return ticket
    key = keys.fold(keys.stream(seed, replicate, f"control/{control}"), level)
    new = init(keys.fold(key, 0)) if control in NEW_WEIGHTS else ticket.network
    return Ticket(new, MASKS[control](ticket.mask, keys.fold(key, 1), within=within))
