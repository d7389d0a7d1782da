"""Names of what a run of dynamic sparse training stores, and which of them a config asks for."""

import itertools
from typing import Any

from jaxlth.studies.dynamic.config import DENSE, DYNAMIC_IMP, SPARSE, DynamicConfig


def networks(config: DynamicConfig) -> list[str]:
    """Return the names of all networks that a config asks for, those on the way aside."""
    return [
        *(dense(replicate) for replicate in range(config.replicates)),
        *(
            network(density, name, replicate)
            for density in config.densities
            for name, *_ in trainings(config)
            for replicate in range(config.replicates)
        ),
    ]


def trainings(config: DynamicConfig) -> list[tuple[str, str, float]]:
    """Return name, method and length of each way to a network that a config asks for.

    Example:
      >>> trainings(DynamicConfig(methods=("rigl", "imp"), lengths=(1.0, 5.0)))
      [('rigl', 'rigl', 1.0), ('rigl-5x', 'rigl', 5.0), ('imp', 'imp', 1.0)]
    """
    pairs = itertools.product(config.methods, config.lengths)
    ways = [
        (method if length == 1 else f"{method}-{length!r}x".replace(".0x", "x"), method, length)
        for method, length in pairs
        if method in SPARSE
    ]
    ways += [(method, method, 1.0) for method in config.methods if method not in SPARSE]
    return sorted(ways, key=lambda way: config.methods.index(way[1]))


def dense(replicate: int) -> str:
    """Return the name of a dense network."""
    return f"density_1/{DENSE}/replicate_{replicate}"


def state(step: int, replicate: int) -> str:
    """Return the name of the dense network at a step of its training."""
    return f"step_{step}/{DENSE}/replicate_{replicate}"


def network(density: float, name: str, replicate: int) -> str:
    """Return the name of a network in the run's folder.

    Example:
      >>> network(0.1, "rigl", 0)
      'density_0.1/rigl/replicate_0'
    """
    return f"density_{float(density)!r}/{name}/replicate_{replicate}"


def level(number: int, replicate: int) -> str:
    """Return the name of a network that IMP trains on the way to its tickets."""
    return f"level_{number:02d}/imp/replicate_{replicate}"


def phase(density: float, number: int, kind: str, replicate: int) -> str:
    """Return the name of a network of dynamic IMP between two changes of its mask."""
    return f"phase_{number}/{DYNAMIC_IMP}-{kind}/density_{float(density)!r}/replicate_{replicate}"


def record(replicate: int, name: str, *, on_the_way: bool = False) -> dict[str, Any]:
    """Return what a record says of a network beforehand, in the columns of `jaxlth prune-early`."""
    is_dense = name == DENSE
    return {
        "job": "dynamic",
        "replicate": replicate,
        "level": 0 if is_dense else 1,
        "control": name,
        "score": "none" if is_dense else name,
        "schedule": "none" if is_dense else "sparse",
        "ablation": "none",
        "weights": "standard",
        "prune_step": 0,
        "link": on_the_way,
    }
