"""What a leaf is to its network, by its name: libraries agree on few words.

Flax says "kernel", "bias", "scale" and "embedding"; Haiku "w", "b", "scale", "offset" and
"embeddings"; Equinox and PyTorch "weight" and "bias", where the "weight" of a norm is its scale and
that of an embedding its table. Boxes that hold a single array, as `nnx.Param` and
`nn.Partitioned` do, put a word of their own behind the name.
"""

import re
from collections.abc import Collection
from typing import Any, Literal, TypeAlias

import numpy as np

Role: TypeAlias = Literal["kernel", "bias", "scale", "table", "statistic", "factor"]

Axes: TypeAlias = tuple[int, int]  # of a kernel's inputs, and of its outputs
IN_OUT: Axes = (-2, -1)  # Flax and Haiku: (inputs, outputs), (height, width, inputs, outputs)
OUT_IN: Axes = (1, 0)  # Equinox and PyTorch: (outputs, inputs), (outputs, inputs, height, width)

BOXES = ("value", "raw_value")  # the attribute by which a box has its array
WEIGHTS = ("w", "weight", "weights", "matrix")  # of anything: the module around says of what

# Endings of the last word of a name. A table has a row for each token, class or position.
WORDS: dict[Role, tuple[str, ...]] = {
    "bias": ("bias", "biases", "beta", "offset", "offsets", "shift", "shifts"),
    "scale": ("scale", "scales", "gamma", "gain", "slope", "norm", "norms"),
    "table": (
        *("emb", "embed", "embeds", "embedding", "embeddings", "embedder", "encoding", "encodings"),
        *("table", "tables", "token", "tokens", "position", "positions", "codebook", "codebooks"),
        *("prompt", "prompts", "latents"),
    ),
    "statistic": ("mean", "var", "variance"),
}
# Words too short to be endings.
SHORT: dict[str, Role] = dict.fromkeys(("bq", "bk", "bv", "bo"), "bias")
SHORT |= dict.fromkeys(("cls", "pos", "wte", "wpe"), "table")

# What may follow "pos": "rel_pos_h" and "rel_pos_w" are tables of relative positions.
PLACES = ("h", "w", "d", "x", "y", "z", "t", "row", "rows", "col", "cols")

# Words of modules, and of their classes, whose `WEIGHTS` are a scale or a table; or are not.
MODULES: dict[Role, tuple[str, ...]] = {
    "scale": ("norm", "norms"),
    "table": ("emb", "embed", "embedding", "embeddings", "embedder"),
}
SHORT_MODULES: dict[str, Role] = dict.fromkeys(("ln", "bn", "gn"), "scale")
SHORT_MODULES |= dict.fromkeys(("wte", "wpe"), "table")
KERNELS = ("linear", "dense", "conv", "patch")  # a patch embedding is a convolution


def role(name: str, *, module: str = "", beside: Collection[str] = ()) -> Role | None:
    """Return what a leaf is by its name, or None where the name does not say.

    Args:
      name: Of the leaf, such as "Dense_0/kernel" or "norm/weight".
      module: Name of the class that has the leaf as an attribute, such as "LayerNorm", if known.
      beside: Names of all leaves, `unboxed`, if known. They tell the "b" that is a bias from the
        one that comes after an "a".

    Example:
      >>> role("Dense_0/kernel/value"), role("norm/weight"), role("layers/0/weight")
      ('kernel', 'scale', None)
    """
    name = unboxed(name)
    parts = [part for part in name.split("/") if words(part)]
    *modules, last = parts or [""]
    if any(words(part)[0] == "lora" and words(part)[1:] for part in parts):
        return "factor"  # "lora_a" and "lora_B", of an update of low rank
    *before, end = words(last) or [""]
    if last == "kernel":
        return "kernel"
    if "pos" in before and end in PLACES:
        return "table"
    if end in WEIGHTS:
        inside = ["_".join(before)] if before else modules[-1:]
        return _of_module(module, *inside)
    if "bias" in before or (before and before[0] == "b"):
        return "bias"
    if end == "b":
        return "bias" if _is_bias(name, beside) else None
    named = SHORT.get(end) or _ending(end, WORDS)
    in_norm = _of_module(module, *modules[-1:]) == "scale"  # such as "ln_1/g"
    return named or ("scale" if in_norm else None)


def unboxed(name: str) -> str:
    """Return a name without what boxes put behind it.

    Example:
      >>> unboxed("Dense_0/kernel/value"), unboxed("value")
      ('Dense_0/kernel', 'value')
    """
    parts = name.split("/")
    while len(parts) > 1 and parts[-1] in BOXES:
        parts.pop()
    return "/".join(parts)


def axes(name: str, array: Any, given: Axes | None = None) -> Axes:
    """Return where the inputs and the outputs of a kernel lie: as given, or by its name.

    Equinox and PyTorch alone call a kernel "weight".

    Raises:
      ValueError: the kernel has not these two axes.

    Example:
      >>> kernel = np.ones((3, 2))
      >>> axes("Dense_0/kernel", kernel), axes("layers/0/weight", kernel), axes("w", kernel)
      ((-2, -1), (1, 0), (-2, -1))
    """
    if given is None:
        is_weight = "weight" in words(unboxed(name).rpartition("/")[2])
        return OUT_IN if is_weight else IN_OUT
    dimensions = np.ndim(array)
    inside = [axis % dimensions for axis in given if -dimensions <= axis < dimensions]
    if len(given) != 2 or len(set(inside)) != 2:
        raise ValueError(
            f"`axes` must be two axes of a kernel, (inputs, outputs); got {given} for {name!r} of "
            f"shape {np.shape(array)}."
        )
    return given


def _is_bias(name: str, beside: Collection[str]) -> bool:
    """Return whether "b" is short for bias, which it is beside a "w" and in modules."""
    place = max(name.rfind("b"), name.rfind("B"))
    before, after = name[:place], name[place + 1 :]
    if f"{before}a{after}" in beside:
        return False
    return bool(before) or after[:1].isdigit() or f"w{after}" in beside


def words(part: str) -> list[str]:
    """Return the words of one part of a name in lower case, without numbers.

    Example:
      >>> words("LayerNorm_0"), words("pos_embedding"), words("w1")
      (['layer', 'norm'], ['pos', 'embedding'], ['w'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)]


def _of_module(*modules: str) -> Role | None:
    """Return what weights are in the first of several modules whose name says it."""
    for module in modules:
        module_words = words(module)
        kinds = [SHORT_MODULES.get(word) or _ending(word, MODULES) for word in module_words]
        if "scale" in kinds:
            return "scale"
        if any(word.endswith(KERNELS) for word in module_words):
            return None
        if "table" in kinds:
            return "table"
    return None


def _ending(word: str, table: dict[Role, tuple[str, ...]]) -> Role | None:
    return next((kind for kind, endings in table.items() if word.endswith(endings)), None)
