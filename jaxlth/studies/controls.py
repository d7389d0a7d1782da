"""Controls: tickets changed on purpose."""

from collections.abc import Callable

import jax

from jaxlth import keys, masks
from jaxlth.models import Network
from jaxlth.studies.train import Ticket

TICKET = "ticket"

# ticket, newly drawn network, key -> control. Random masks get new weights (Frankle 2023, notes 7
# and 10); shuffled keeps those of the ticket, as the random pruning of chapter 4 does.
CONTROLS: dict[str, Callable[[Ticket, Network, jax.Array], Ticket]] = {
    "reinitialized": lambda ticket, new, key: Ticket(new, ticket.mask),
    "shuffled": lambda ticket, new, key: Ticket(
        ticket.network, masks.shuffle(ticket.mask, key=key)
    ),
    "random": lambda ticket, new, key: Ticket(new, masks.random(ticket.mask, key=key)),
    "random-layerwise": lambda ticket, new, key: Ticket(new, masks.shuffle(ticket.mask, key=key)),
}

# What starts from the weights of the ticket, and so with the optimiser's state that goes with them.
WITH_ITS_WEIGHTS = (TICKET, "shuffled")


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
