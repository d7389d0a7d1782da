"""Find and study lottery tickets in JAX.

A lottery ticket is a sparse part of a network that trains, from an early state of it, to the
accuracy of the whole. The functional modules work on anybody's parameters; they import no Flax and
touch no disk:

* `jaxlth.masks`: which weights are kept, and the one place where a mask acts.
* `jaxlth.scores`: how much each weight is worth keeping.
* `jaxlth.prune`: from scores to masks, with exact counts.

The command `jaxlth` runs whole studies; `jaxlth --help` lists them.
"""

__version__ = "0.1.0"
