"""How many networks an accelerator trains side by side, by a table of measurements.

Networks side by side are one vmapped program. Products of small matrices share the time that a
program takes whatever its size. Convolutions become convolutions in groups, whose images a TPU
moves about: so thin ones take longer together than one after the other.
"""

MOST = 32  # where nothing was measured, and where more of them take less time each

# Cycles of a training step of one network alone, and of each of five side by side, on a chip of a
# v5e as its compiler estimates them: `experiments/tpu_speed.py --networks-per-device`, and its
# function `compiled` for perceptrons and transformers.
CYCLES = {
    "lenet-300-100": (33_765, 13_350),
    "mlp": (29_826, 9_444),  # hidden layers of 57; of 784 and 392: (95_680, 83_751)
    "conv-2": (957_594, 1_479_790),
    "conv-4": (1_254_268, 1_543_055),
    "conv-6": (1_460_952, 1_758_148),
    "resnet-20": (1_495_021, 2_308_101),
    "vgg-16": (4_147_662, 5_176_636),
    "gpt-mini": (3_186_264, 4_046_837),
    "vit-tiny": (3_059_516, 4_750_672),
}

# Cycles there of a step of one network by the number of chips that share its batch, without what
# the exchange of gradients takes: `experiments/tpu_speed.py --slices v5e-8 v5e-16`.
CYCLES_SHARED = {
    "lenet-300-100": {2: 54_219},
    # Weights that no chip has less of take the time: two layers of 2048 lose more by it, 2.6 times.
    "mlp": {2: 35_493, 8: 35_314},
    "conv-2": {2: 681_757},
    "conv-4": {2: 780_139},
    "conv-6": {2: 889_803},
    "resnet-20": {2: 1_892_764, 8: 1_384_989},
    "vgg-16": {2: 4_162_860},
}
FIXED = 0.5  # share of a step's time that the size of its batch does not change; not measured


def step_time(platform: str, model: str, shared: int) -> float:
    """Return how long a step takes whose batch some devices share, as a share of that of one.

    On a CPU it takes as long, since its devices share the cores. With a number of devices that was
    not measured it takes as long as with the next smaller one.

    Args:
      platform: of the devices: "cpu", "gpu", "tpu".
      model: name of the network.
      shared: how many devices share the batch.

    Example:
      >>> [round(step_time("tpu", "resnet-20", shared), 2) for shared in (1, 2, 4, 8)]
      [1.0, 1.27, 1.27, 0.93]
    """
    if platform == "cpu":
        return 1.0
    if platform == "tpu" and model in CYCLES_SHARED:
        alone, _ = CYCLES[model]
        measured = {1: alone, **CYCLES_SHARED[model]}
        return measured[max(devices for devices in measured if devices <= shared)] / alone
    return FIXED + (1 - FIXED) / shared


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
