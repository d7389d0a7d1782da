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
