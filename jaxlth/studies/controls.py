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

from jaxlth import keys, masks
from jaxlth.models import Network
from jaxlth.studies.train import Ticket

TICKET = "ticket"

# ticket, newly drawn network, key -> control
CONTROLS: dict[str, Callable[[Ticket, Network, jax.Array], Ticket]] = {
    "reinitialized": lambda ticket, new, key: Ticket(new, ticket.mask),
    "shuffled": lambda ticket, new, key: Ticket(
        ticket.network, masks.shuffle(ticket.mask, key=key)
    ),
    "shuffled-globally": lambda ticket, new, key: Ticket(
        ticket.network, masks.random(ticket.mask, key=key)
    ),
    "random": lambda ticket, new, key: Ticket(new, masks.random(ticket.mask, key=key)),
    "random-layerwise": lambda ticket, new, key: Ticket(new, masks.shuffle(ticket.mask, key=key)),
}

NEW_WEIGHTS = ("reinitialized", "random", "random-layerwise")


def make(
    ticket: Ticket,
    control: str,
    init: Callable[[jax.Array], Network],
    *,
    seed: int,
    replicate: int,
    level: int,
) -> Ticket:
    """Return a control of a ticket, or the ticket itself where that is asked for.

    Args:
      ticket: mask and network of a level.
      control: "ticket", or a name of `CONTROLS`.
      init: draws a network.
      seed: of the run.
      replicate: the ticket's.
      level: the ticket's.
    """
    if control == TICKET:
        return ticket
    key = keys.fold(keys.stream(seed, replicate, f"control/{control}"), level)
    return CONTROLS[control](ticket, init(keys.fold(key, 0)), keys.fold(key, 1))
