"""Pruned networks as graphs: what of a network matters, and into how many it falls apart.

A feed-forward network is kernels that lead from layers of units to later ones: often a chain, else
what a `Wiring` says. Its nodes are (layer, unit), those of layer 0 the inputs, those of the last
layer the outputs; its edges are the weights that are kept. The units of a convolutional network are
its channels; an edge is there if any weight of the kernel between two channels is.
Every weight and unit has a category:

    inactive  no output depends on it
    zombie    an output depends on it, but it depends on no input: a bias is all that it passes on
    active    neither
    pruned    a weight that is not kept

*Subnetworks* are the connected components of what is active. A *task* is a set of inputs and a set
of outputs that it has to itself; a network that falls apart along its tasks is *separated*.

`network`, `subnetworks` and what is built on them are for looking at networks, with networkx;
`categories` and `components` count the same on arrays, fast enough for every level of a run.
`compact` leaves out what does not matter: so sparsity becomes speed on any hardware.

References:
  Burger 2024, sections 3.4 and 3.5.
"""

from jaxlth.graphs.categories import CATEGORIES, Categories, Count, categories, count
from jaxlth.graphs.compaction import Compact, compact, expand, expand_stats, relu
from jaxlth.graphs.components import Components, components
from jaxlth.graphs.dead_weights import passed_on, without_dead, without_least
from jaxlth.graphs.network import network, subnetworks
from jaxlth.graphs.tasks import Task, check_tasks, coverage, degrees_of_separation, state
from jaxlth.graphs.wiring import Incoming, Wiring, kernels

__all__ = [
    "CATEGORIES",
    "Categories",
    "Compact",
    "Components",
    "Count",
    "Incoming",
    "Task",
    "Wiring",
    "categories",
    "check_tasks",
    "compact",
    "components",
    "count",
    "coverage",
    "degrees_of_separation",
    "expand",
    "expand_stats",
    "kernels",
    "network",
    "passed_on",
    "relu",
    "state",
    "subnetworks",
    "without_dead",
    "without_least",
]
