"""Controls: tickets changed on purpose."""

from collections.abc import Callable

import jax

from jaxlth import masks
from jaxlth.models import Network
from jaxlth.work import Start

TICKET = "ticket"

# ticket, newly drawn network, key -> control. Random masks get new weights (Frankle 2023, notes 7
# and 10); shuffled keeps those of the ticket, as the random pruning of chapter 4 does.
CONTROLS: dict[str, Callable[[Start, Network, jax.Array], Start]] = {
    "reinitialized": lambda ticket, new, key: Start(new, ticket.mask),
    "shuffled": lambda ticket, new, key: Start(ticket.network, masks.shuffle(ticket.mask, key=key)),
    "random": lambda ticket, new, key: Start(new, masks.random(ticket.mask, key=key)),
    "random-layerwise": lambda ticket, new, key: Start(new, masks.shuffle(ticket.mask, key=key)),
}
