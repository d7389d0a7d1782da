"""What the sentences of the page on speed say; its tables are those of test_speed_page.py."""

import functools

from claims import Claim, table


@functools.cache
def measured(*names: str) -> tuple[float, ...]:
    """Return numbers of the file of sentences, by name."""
    values = table("speed/sentences.csv").set_index("number")["value"]
    return tuple(values[name] for name in names)


def said(text: str, *names: str) -> Claim:
    return Claim(text, lambda: list(measured(*names)))


def cycles(network: str, chips: str) -> float:
    """Return the cycles of a step, by the chips that share its batch."""
    return table("speed/tpu_shared_batch.csv").set_index("network")[f"cycles_{chips}"][network]


def others(jaccard: float) -> float:
    """Return the percentage of the weights kept that two masks of one size do not share."""
    return 100 * (1 - 2 * jaccard / (1 + jaccard))


def similarities(network: str, products: tuple[str, ...]) -> list[float]:
    """Return the similarities of the masks by SNIP and GraSP."""
    rows = table("speed/precision.csv").set_index(["network", "products"])
    return [rows[f"mask_{s}"][network, p] for p in products for s in ("snip", "grasp")]


LOW = ("default", "bfloat16")
BEFORE = "cycles of a step of ResNet-20 before projections were computed again"
AGAIN = "cycles of a step of ResNet-20 with projections computed again alone"
CLAIMS = [
    said(
        "That takes {} minutes: {} steps/s",
        "minutes of LeNet on MNIST with 15 levels and 5 replicates",
        "steps a second of that run",
    ),
    said(
        "has a peak memory of {} GB, the run at paper scale {} GB",
        "GB at the peak of a shorter run",
        "GB at the peak of the run at paper scale",
    ),
    said(
        "of {} weights, more than int32 counts, with scores in bfloat16, exactly the {} are kept "
        "that NumPy finds, in {} s on the shared machine. Beside scores and mask that takes {} "
        "bytes a weight",
        "weights of the large tree",
        "weights of it that are kept",
        "seconds of its selection",
        "bytes a weight of its selection",
    ),
    said("about {} bytes a weight", "bytes a weight that NumPy's selection copies"),
    said("The barest loop takes {} s here.", "seconds of the barest loop over a line"),
    said(
        "That takes {} ms for 2x2x512 under 3x3, batch 32. As one product of matrices it takes "
        "{} ms",
        "ms of XLA's convolution of 2x2x512",
        "ms of it as a product of matrices",
    ),
    said(
        "convolutions took {} of the {} ms of a step",
        "ms of convolutions in a step of ResNet-20",
        "ms of that step",
    ),
    Claim(
        "(The step of the table above took {} ms",
        lambda: [table("speed/cifar.csv")["resnet_20_ms"][2]],
    ),
    said(
        "{} images/s for training, {} for testing",
        "images a second that a core decodes for training",
        "images a second that a core decodes for testing",
    ),
    said(
        "takes {} million cycles, and {} million for each of at most 16 passes over them: {} ms. "
        "Each pass that ties need costs {} million. Before it took {} million.",
        "million cycles of a selection",
        "million cycles of a pass of it",
        "ms of a selection",
        "million cycles of a pass that ties need",
        "million cycles of a selection before",
    ),
    said(
        "a step of ResNet-20 had {} cycles before",
        "cycles of a step of ResNet-20 before batch norm was folded",
    ),
    Claim(
        "a step has at most {} cycles for five networks, {} for one.",
        lambda: [
            table("speed/tpu_studies.csv")
            .set_index("slice")
            .query("study == 'dynamic, LeNet'")["cycles_of_a_step"][name]
            for name in ("v5e-1", "v5e-8")
        ],
    ),
    said(
        "Without it a step has {} and {}.",
        "cycles of a step of five LeNets without an exchange",
        "cycles of a step of a LeNet without an exchange",
    ),
    said(
        "A LeNet alone has {} cycles a step by bernoulli, and at most {} by edge-popup, of which "
        "{} is a pass of the longest selection. Gem-miner has a selection in a loop: at most {}. "
        "So the whole of `trained_supermasks.py` takes between {} and {} hours on a v5e-8.",
        "cycles of a step of a LeNet by bernoulli",
        "cycles of a step of a LeNet by edge-popup at most",
        "cycles of a pass of its longest selection",
        "cycles of a step of a LeNet by gem-miner at most",
        "least hours of the trained supermasks on a v5e-8",
        "most hours of the trained supermasks on a v5e-8",
    ),
    said(
        "Of its {} operations {} are tiny, and each costs about {} cycles",
        "operations of a step of ResNet-20",
        "tiny ones among them",
        "cycles of a tiny one",
    ),
    Claim(
        "That takes {} cycles in place of {}.",
        lambda: measured(AGAIN, BEFORE),
    ),
    Claim(
        "These two take another {} cycles away",
        lambda: [measured(AGAIN)[0] - cycles("ResNet-20", "one_chip")],
    ),
    Claim(
        "A step has {} of the cycles that it had before three changes",
        lambda: [cycles("ResNet-20", "one_chip") / measured(BEFORE)[0]],
    ),
    Claim(
        "In float32 a v5e-8 takes {} images/s. About {} cores",
        lambda: [
            images := 1024 / (table("speed/memory_plan.csv")["million_cycles"][0] / 1500),
            images / 300,
        ],
    ),
    said("gains nothing: a step has {} cycles", "cycles of a step of ResNet-20 in bfloat16"),
    said("take {} hours on a v5e-8", "hours of a hundred replicates of ResNet-20"),
    Claim(
        "five side by side on one of a v5e would take {} hours in place of {}.",
        lambda: [
            *measured("hours of five VGG-16 side by side on a v5e-1"),
            table("speed/tpu.csv")
            .query("benchmark == 'cifar_vgg16' and slice == 'v5e-1'")["hours"]
            .item(),
        ],
    ),
    Claim(
        "Of a GPT it is {} %, of a ViT {} %.",
        lambda: [
            100 * (1 - cycles(network, "two_chips") / cycles(network, "one_chip"))
            for network in ("gpt-mini", "vit-tiny")
        ],
    ),
    Claim(
        "Two chips make a Conv-2 {} times as fast, a Conv-4 or Conv-6 {} times. Two chips make a "
        "ResNet-20 slower and gain a VGG-16 nothing, eight make a ResNet-20 {} times as fast.",
        lambda: [
            cycles("Conv-2", "one_chip") / cycles("Conv-2", "two_chips"),
            cycles("Conv-4", "one_chip") / cycles("Conv-4", "two_chips"),
            cycles("ResNet-20", "one_chip") / cycles("ResNet-20", "eight_chips"),
        ],
        lambda: (
            cycles("ResNet-20", "two_chips") > cycles("ResNet-20", "one_chip")
            and cycles("VGG-16", "two_chips") > cycles("VGG-16", "one_chip")
            and round(cycles("Conv-6", "one_chip") / cycles("Conv-6", "two_chips"), 1) == 1.6
        ),
    ),
    Claim(
        'similarity of {} to {} with those of "highest": {} to {} % of the weights that are kept '
        "are others.",
        lambda: [
            min(similarities("resnet-20", LOW)),
            max(similarities("resnet-20", LOW)),
            others(max(similarities("resnet-20", LOW))),
            others(min(similarities("resnet-20", LOW))),
        ],
    ),
    Claim(
        "With `high` it is less than a hundredth. Without batch norm it is {} to {} %.",
        lambda: [
            others(max(similarities("conv-2", LOW))),
            others(min(similarities("conv-2", LOW))),
        ],
        lambda: others(min(similarities("resnet-20", ("high",)))) < 1,
    ),
]
