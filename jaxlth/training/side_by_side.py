"""How many networks an accelerator trains side by side, by a table of measurements.

Networks side by side are one vmapped program. Products of small matrices share the time that a
program takes whatever its size. Convolutions become convolutions in groups, whose images a TPU
moves about: so thin ones take longer together than one after the other.
"""

MOST = 32  # where nothing was measured, and where more of them take less time each

# Cycles of a training step of one network alone, and of each of five side by side, on a chip of a
# v5e as its compiler estimates them: `experiments/tpu_speed.py --networks-per-device`.
CYCLES = {
    "lenet-300-100": (33_765, 13_350),
    "conv-2": (1_018_310, 1_479_790),
    "conv-4": (1_254_268, 1_543_055),
    "resnet-20": (2_030_589, 2_314_109),
}

# Cycles there of a step of one network whose batch two chips share, each half of it, without what
# the exchange of gradients takes: `experiments/tpu_speed.py --slices v5e-16`.
CYCLES_OF_HALF = {"lenet-300-100": 54_219}


def gains_by_sharing(platform: str, model: str) -> bool:
    """Return whether a step is shorter where idle devices share its batch.

    On a CPU it is not, as its devices share the cores. Where nothing was measured it is.

    Args:
      platform: of the devices: "cpu", "gpu", "tpu".
      model: name of the network.

    Example:
      >>> [gains_by_sharing("tpu", model) for model in ("lenet-300-100", "resnet-50")]
      [False, True]
    """
    alone, _ = CYCLES.get(model, (0, 0))
    loses = platform == "tpu" and CYCLES_OF_HALF.get(model, 0) > alone
    return platform != "cpu" and not loses


def most(platform: str, model: str) -> int:
    """Return how many networks of a model a device trains at once.

    Args:
      platform: of the device: "tpu", "gpu".
      model: name of the network.

    Example:
      >>> most("tpu", "lenet-300-100"), most("tpu", "resnet-20"), most("gpu", "resnet-20")
      (32, 1, 32)
    """
    alone, of_five = CYCLES.get(model, (0, 0))
    return 1 if platform == "tpu" and of_five > alone else MOST
