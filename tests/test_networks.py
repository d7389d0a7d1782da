"""The convolutional networks against published counts, plain tables of layers, and NumPy."""

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxlth import keys, masks, models, trees
from jaxlth.models import ModelConfig, Network, inception, layers, resnet
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.prunable import prunable_model
from jaxlth.training import execution

MNIST, CIFAR, IMAGENET, LARGE = (28, 28, 1), (32, 32, 3), (224, 224, 3), (299, 299, 3)


class Published(NamedTuple):
    shape: tuple[int, int, int]
    classes: int
    prunable: int
    tensors: int
    trained: int  # parameters
    said: float | None = None  # what the paper says, of whichever kind, rounded or cut
    macs: float | None = None  # multiply-adds of one image, rounded


# prunable, tensors: DESIGN.md, after open_lth (LeNet, ResNet-20, VGG-16); the rest follows from the
# tables of `ROWS`. trained: torchvision's documentation (ResNet-18, ResNet-50, Inception-v3) and
# kuangliu/pytorch-cifar (VGG, ResNet-18 for CIFAR). said: Frankle and Carbin 2019, Figure 2 (Conv-2
# and -4; weights); Frankle 2023, Table 4.1 (LeNet, VGG-16, ResNet-50, Inception-v3); He et al.
# 2016, Table 6 (CIFAR ResNets, without projections); Zagoruyko and Komodakis 2016, Table 4 (as
# WRN-16-8, -16-10, -22-8, with another stem). macs: torchvision's documentation.
PUBLISHED = {
    "lenet-300-100": Published(MNIST, 10, 266_200, 3, 266_610, 266e3),
    "conv-2": Published(CIFAR, 10, 4_300_992, 5, 4_301_642, 4.3e6),
    "conv-4": Published(CIFAR, 10, 2_425_024, 7, 2_425_930, 2.4e6),
    "conv-6": Published(CIFAR, 10, 2_261_184, 9, 2_262_602),
    "conv-8": Published(CIFAR, 10, 5_275_840, 11, 5_278_282),
    "resnet-20": Published(CIFAR, 10, 270_896, 22, 272_474, 0.27e6),
    "resnet-32": Published(CIFAR, 10, 464_432, 34, 466_906, 0.46e6),
    "resnet-44": Published(CIFAR, 10, 657_968, 46, 661_338, 0.66e6),
    "resnet-56": Published(CIFAR, 10, 851_504, 58, 855_770, 0.85e6),
    "resnet-110": Published(CIFAR, 10, 1_722_416, 112, 1_730_714, 1.7e6),
    "wrn-14-8": Published(CIFAR, 10, 11_084_160, 16, 11_093_130, 11.0e6),
    "wrn-14-10": Published(CIFAR, 10, 17_316_320, 16, 17_327_530, 17.1e6),
    "wrn-20-8": Published(CIFAR, 10, 17_277_312, 22, 17_289_866, 17.2e6),
    "wrn-32-2": Published(CIFAR, 10, 1_855_584, 34, 1_860_522),
    "vgg-11": Published(CIFAR, 10, 9_222_848, 9, 9_231_114),
    "vgg-16": Published(CIFAR, 10, 14_715_584, 14, 14_728_266, 14.7e6),
    "vgg-19": Published(CIFAR, 10, 20_024_000, 17, 20_040_522),
    "resnet-18": Published(IMAGENET, 1000, 11_678_912, 21, 11_689_512, 11.7e6, 1.81e9),
    "resnet-18-modified": Published(CIFAR, 10, 11_164_352, 21, 11_173_962),
    "resnet-50": Published(IMAGENET, 1000, 25_502_912, 54, 25_557_032, 25.5e6, 4.09e9),
    "inception-v3": Published(LARGE, 1000, 27_123_040, 98, 27_161_264, 27.1e6, 5.71e9),
}
CONVOLUTIONAL = [name for name in PUBLISHED if name != "lenet-300-100"]
DEEPER = ["resnet-32", "resnet-44", "resnet-56", "resnet-110", "wrn-14-10", "wrn-20-8", "wrn-32-2"]
DEEPER += ["vgg-19", "conv-6", "conv-8"]  # these differ from others in numbers only
TRACED = [
    pytest.param(name, marks=pytest.mark.slow) if name in DEEPER else name for name in CONVOLUTIONAL
]


@functools.cache
def built(name, *, shape=None, batch_axis=None, **config):
    published = PUBLISHED[name]
    settings = ModelConfig(name=name, **config)
    shape = shape or published.shape
    return models.build(settings, shape=shape, classes=published.classes, batch_axis=batch_axis)


@functools.cache
def abstract(name, **config):
    return jax.eval_shape(built(name, **config).init, jax.random.key(0))


def images(name, count=1):
    return jax.ShapeDtypeStruct((count, *PUBLISHED[name].shape), jnp.float32)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def kernels(params):
    """Return the prunable leaves by name, without allocating a mask."""
    return {n: leaf for n, leaf in trees.named(params).items() if masks.is_kernel(n, leaf)}


def test_every_model_has_published_counts():
    others = {"mlp", "vit-tiny", "gpt-mini"}  # of any width; test_transformers.py has the last two
    assert {*PUBLISHED, *others} == set(models.MODELS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_as_many_parameters_as_published(name):
    published, network = PUBLISHED[name], abstract(name)
    prunable = kernels(network.params)
    assert size(list(prunable.values())) == published.prunable
    assert len(prunable) == published.tensors
    assert size(network.params) == published.trained
    if published.said:
        assert published.trained == pytest.approx(published.said, rel=0.02)


def test_resnet_20_has_the_papers_274k_numbers_with_running_statistics():
    network = abstract("resnet-20")
    assert size(network.params) + size(network.stats) == 274_042


@pytest.mark.parametrize("name", ["vgg-11", "vgg-16", "vgg-19"])
def test_a_second_dense_layer_of_a_vgg_is_512_wide(name):
    network = abstract(name, fc_layers=2)
    assert network.params["Dense_0"]["kernel"].shape == (512, 512)
    assert network.params["Dense_1"]["kernel"].shape == (512, 10)
    assert size(network.params) - PUBLISHED[name].trained == 512 * 512 + 512


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_dense_mask_has_every_kernel_and_nothing_else(name):
    params = trees.named(abstract(name).params)
    several = {path for path, leaf in params.items() if leaf.ndim > 1}
    assert kernels(abstract(name).params).keys() == several
    assert {path.split("/")[-1] for path in params} <= {"kernel", "bias", "scale"}
    assert all(path.endswith("/kernel") for path in several)


def test_masks_of_a_convolutional_network_have_its_tensors():
    mask = masks.dense(abstract("resnet-20").params)
    assert masks.size(mask) == 270_896
    assert trees.named(mask)["Conv3_1/Shortcut/kernel"].shape == (1, 1, 16, 32)
    assert mask["BatchNorm1"] == {"bias": None, "scale": None}


# --- multiply-adds: each network once more, as a plain table -------------------------------------


class Row(NamedTuple):
    side: int  # pixels of the output, its height and width
    kernel: int  # height and width; 0 for a dense layer
    stride: int
    into: int
    out: int


def rows_of_conv(depth):
    pairs = [(32, 3, 64), (16, 64, 128), (8, 128, 256), (4, 256, 512)][: depth // 2]
    rows = [Row(s, 3, 1, i, out) for s, into, out in pairs for i in (into, out)]
    side, _, channels = pairs[-1]
    dense = [((side // 2) ** 2 * channels, 256), (256, 256), (256, 10)]
    return rows + [Row(1, 0, 1, *each) for each in dense]


def rows_of_cifar_resnet(n, width):
    rows, into = [Row(32, 3, 1, 3, width)], width
    for side, out in ((32, width), (16, 2 * width), (8, 4 * width)):
        for _ in range(n):
            stride = 1 if into == out else 2
            rows += [Row(side, 3, stride, into, out), Row(side, 3, 1, out, out)]
            rows += [Row(side, 1, 2, into, out)] if into != out else []
            into = out
    return [*rows, Row(1, 0, 1, into, 10)]


def rows_of_vgg(*stacks):
    rows, into = [], 3
    sides = zip((32, 16, 8, 4, 2), (64, 128, 256, 512, 512), stacks, strict=True)
    for side, out, count in sides:
        for _ in range(count):
            rows.append(Row(side, 3, 1, into, out))
            into = out
    return [*rows, Row(1, 0, 1, 512, 10)]


def rows_of_resnet_18(stem, sides, classes):
    rows, into = [stem], 64
    for side, out in zip(sides, (64, 128, 256, 512), strict=True):
        stride = 1 if into == out else 2
        rows += [Row(side, 3, stride, into, out), Row(side, 3, 1, out, out)]
        rows += [Row(side, 1, 2, into, out)] if into != out else []
        rows += [Row(side, 3, 1, out, out)] * 2
        into = out
    return [*rows, Row(1, 0, 1, 512, classes)]


def rows_of_resnet_50():
    rows, into = [Row(112, 7, 2, 3, 64)], 64
    for side, inside, count in ((56, 64, 3), (28, 128, 4), (14, 256, 6), (7, 512, 3)):
        for place in range(count):
            stride = 2 if side < 56 and place == 0 else 1
            rows.append(Row(side * stride, 1, 1, into, inside))
            rows += [Row(side, 3, stride, inside, inside), Row(side, 1, 1, inside, 4 * inside)]
            rows += [Row(side, 1, stride, into, 4 * inside)] if place == 0 else []
            into = 4 * inside
    return [*rows, Row(1, 0, 1, 2048, 1000)]


ROWS = {
    "conv-2": rows_of_conv(2),
    "conv-4": rows_of_conv(4),
    "conv-6": rows_of_conv(6),
    "conv-8": rows_of_conv(8),
    "resnet-20": rows_of_cifar_resnet(3, 16),
    "resnet-32": rows_of_cifar_resnet(5, 16),
    "resnet-44": rows_of_cifar_resnet(7, 16),
    "resnet-56": rows_of_cifar_resnet(9, 16),
    "resnet-110": rows_of_cifar_resnet(18, 16),
    "wrn-14-8": rows_of_cifar_resnet(2, 128),
    "wrn-14-10": rows_of_cifar_resnet(2, 160),
    "wrn-20-8": rows_of_cifar_resnet(3, 128),
    "wrn-32-2": rows_of_cifar_resnet(5, 32),
    "vgg-11": rows_of_vgg(1, 1, 2, 2, 2),
    "vgg-16": rows_of_vgg(2, 2, 3, 3, 3),
    "vgg-19": rows_of_vgg(2, 2, 4, 4, 4),
    "resnet-18": rows_of_resnet_18(Row(112, 7, 2, 3, 64), (56, 28, 14, 7), 1000),
    "resnet-18-modified": rows_of_resnet_18(Row(32, 3, 1, 3, 64), (32, 16, 8, 4), 10),
    "resnet-50": rows_of_resnet_50(),
}


def macs(row):
    return row.side**2 * (row.kernel**2 or 1) * row.into * row.out


def inside(row):
    """Return the multiply-adds that do not meet padding, half a kernel of which is on each side.

    Of an image smaller than the kernel all are done: by one product of matrices on CPU.
    """
    if row.side * row.stride < row.kernel:
        return macs(row)
    at = np.arange(row.side)[:, None] * row.stride + np.arange(row.kernel or 1) - row.kernel // 2
    return int(((at >= 0) & (at < row.side * row.stride)).sum()) ** 2 * row.into * row.out


@functools.cache
def program(name, *, train=False, **config):
    """Return (program, shapes of logits and statistics) of the network on one image."""
    forward = functools.partial(built(name, **config).apply, train=train)
    trace = jax.make_jaxpr(forward, axis_env=[("devices", 2)], return_shape=True)
    return trace(abstract(name), images(name))


def walk(jaxpr):
    """Yield every operation of a program."""
    for eqn in jaxpr.eqns:
        yield eqn
        inner = list(jaxprs_in_params(eqn.params))
        other = eqn.primitive.name == "cond"  # one program a platform, that of all others the last
        for each in inner[-1:] if other else inner:
            yield from walk(each)


def products(name, **config):
    """Yield (multiply-adds, types of operands) of every product in the network's program."""
    for eqn in walk(program(name, **config)[0].jaxpr):
        if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
            kernel = eqn.invars[1].aval
            into = kernel.size // kernel.shape[-1]  # HWIO or (in, out)
            yield eqn.outvars[0].aval.size * into, {var.aval.dtype for var in eqn.invars}


@pytest.mark.parametrize("name", TRACED)
def test_evaluation_gives_logits_and_leaves_statistics_alone(name):
    traced, (logits, stats) = program(name)
    assert logits.shape == (1, PUBLISHED[name].classes)
    assert logits.dtype == jnp.float32
    assert jax.tree.structure(stats) == jax.tree.structure(abstract(name).stats)
    inputs = set(map(id, traced.jaxpr.invars))
    assert all(id(var) in inputs for var in traced.jaxpr.outvars[1:])


# Training in bfloat16, with batch norm over the devices: what one program shows.
TRAINING = {"train": True, "dtype": "bfloat16", "batch_axis": models.BatchAxis("devices")}


@pytest.mark.parametrize("name", TRACED)
def test_bfloat16_is_computed_in_and_logits_and_statistics_stay_float32(name):
    _, (logits, stats) = program(name, **TRAINING)
    operands = {dtype for _, each in products(name, **TRAINING) for dtype in each}
    assert operands == {jnp.dtype("bfloat16")}
    assert logits.shape == (1, PUBLISHED[name].classes)
    assert logits.dtype == jnp.float32
    shapes = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    assert shapes(stats) == shapes(abstract(name).stats)


@pytest.mark.parametrize("name", TRACED)
def test_the_named_axis_reaches_every_batch_norm_in_training_only(name):
    def means(program):
        return sum("psum" in eqn.primitive.name for eqn in walk(program.jaxpr))

    assert means(program(name, **TRAINING)[0]) == len(jax.tree.leaves(abstract(name).stats)) // 2
    assert means(program(name)[0]) == 0


@pytest.mark.parametrize("name", ROWS)
def test_layers_are_those_of_the_table_in_its_order(name):
    shapes = [leaf.shape for leaf in kernels(abstract(name).params).values()]
    wanted = [(row.kernel,) * 2 * (row.kernel > 0) + (row.into, row.out) for row in ROWS[name]]
    assert shapes == wanted


@pytest.mark.parametrize("name", [name for name in TRACED if name != "inception-v3"])
def test_products_are_those_of_the_table(name):
    assert sorted(count for count, _ in products(name)) == sorted(map(macs, ROWS[name]))


@pytest.mark.parametrize("name", [name for name in PUBLISHED if PUBLISHED[name].macs])
def test_one_image_takes_as_many_multiply_adds_as_published(name):
    counted = sum(count for count, _ in products(name))
    assert counted == pytest.approx(PUBLISHED[name].macs, rel=0.005)


@pytest.mark.parametrize("name", ["conv-4", "resnet-20", "vgg-16", "resnet-18"])
def test_xla_counts_the_flops_of_the_table(name):
    forward = functools.partial(built(name).apply, train=False)
    lowered = jax.jit(forward).lower(abstract(name), images(name))
    flops = lowered.cost_analysis()["flops"]
    least = 2 * sum(map(inside, ROWS[name]))
    assert least <= flops <= 1.03 * least  # the rest is batch norm, ReLU, pools


# --- NumPy, in float64 ---------------------------------------------------------------------------


def conv2d(x, kernel, *, stride=1, padding=None):
    height, width = kernel.shape[:2]
    (above, left) = (height // 2, width // 2) if padding is None else padding
    x = np.pad(x, ((0, 0), (above, above), (left, left), (0, 0)))
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    total = 0
    for i in range(height):
        for j in range(width):
            part = x[:, i : i + rows : stride, j : j + columns : stride]
            total = total + part @ kernel[i, j]
    return total


def pool(x, size, stride, *, padding=0, fill=-np.inf, reduce=np.max):
    around = (padding, padding)
    x = np.pad(x, ((0, 0), around, around, (0, 0)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return reduce(windows[:, ::stride, ::stride], axis=(-2, -1))


class Reference:
    """The layers of one network, by name; collects the statistics that training leaves."""

    def __init__(self, network, *, train, momentum=0.9, epsilon=1e-5):
        double = functools.partial(jax.tree.map, lambda leaf: np.asarray(leaf, np.float64))
        self.params, self.stats = map(double, (network.params, network.stats))
        self.after = jax.tree.map(np.copy, self.stats)
        self.train, self.momentum, self.epsilon = train, momentum, epsilon

    def conv(self, name, x, **how):
        layer = at(self.params, name)
        return conv2d(x, layer["kernel"], **how) + layer.get("bias", 0)

    def dense(self, name, x):
        return x @ self.params[name]["kernel"] + self.params[name]["bias"]

    def norm(self, name, x):
        layer, stats, after = at(self.params, name), at(self.stats, name), at(self.after, name)
        if self.train:  # two passes: the mean, then squares of what is left
            mean = x.mean((0, 1, 2))
            var = ((x - mean) ** 2).mean((0, 1, 2))
            for key, value in (("mean", mean), ("var", var)):
                after[key][...] = self.momentum * stats[key] + (1 - self.momentum) * value
        else:
            mean, var = stats["mean"], stats["var"]
        return (x - mean) / np.sqrt(var + self.epsilon) * layer["scale"] + layer["bias"]


def at(tree, name):
    return functools.reduce(lambda inner, key: inner[key], name.split("/"), tree)


def relu(x):
    return np.maximum(x, 0)


def resnet_20(reference, x):
    x = relu(reference.norm("BatchNorm1", reference.conv("Conv1", x)))
    for group in (2, 3, 4):
        for place in (1, 2, 3):
            name = f"Conv{group}_{place}"
            stride = 2 if group > 2 and place == 1 else 1
            y = reference.conv(f"{name}/Conv_0", x, stride=stride)
            y = relu(reference.norm(f"{name}/BatchNorm_0", y))
            y = reference.norm(f"{name}/BatchNorm_1", reference.conv(f"{name}/Conv_1", y))
            if stride == 2:
                x = reference.conv(f"{name}/Shortcut", x, stride=2)
                x = reference.norm(f"{name}/ShortcutNorm", x)
            x = relu(x + y)
    return reference.dense("Dense_0", x.mean((1, 2)))


def bottlenecks(reference, x):
    """A stem for large images and two groups of one bottleneck."""
    x = reference.norm("BatchNorm1", reference.conv("Conv1", x, stride=2))
    x = pool(relu(x), 3, 2, padding=1)
    for group, stride in ((2, 1), (3, 2)):
        y = x
        for place, step in enumerate((1, stride, 1)):
            y = reference.conv(f"Conv{group}_1/Conv_{place}", relu(y) if place else y, stride=step)
            y = reference.norm(f"Conv{group}_1/BatchNorm_{place}", y)
        x = reference.conv(f"Conv{group}_1/Shortcut", x, stride=stride)
        x = relu(reference.norm(f"Conv{group}_1/ShortcutNorm", x) + y)
    return reference.dense("Dense_0", x.mean((1, 2)))


def conv_4(reference, x):
    for pair in (1, 2):
        for place in (1, 2):
            x = relu(reference.conv(f"Conv{pair}_{place}", x))
        x = pool(x, 2, 2)
    x = x.reshape(len(x), -1)
    for layer in ("Dense_0", "Dense_1"):
        x = relu(reference.dense(layer, x))
    return reference.dense("Dense_2", x)


def vgg_11(reference, x):
    """With two dense layers."""
    for stack, count in enumerate((1, 1, 2, 2, 2), 1):
        x = pool(x, 2, 2) if stack > 1 else x
        for place in range(1, count + 1):
            name = f"{stack}_{place}"
            x = relu(reference.norm(f"BatchNorm{name}", reference.conv(f"Conv{name}", x)))
    x = relu(reference.dense("Dense_0", x.mean((1, 2))))
    return reference.dense("Dense_1", x)


def drawn(like, seed=0):
    """Return a network of random numbers: kernels of variance 2 / fan-in, all else near 1 or 0."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        last = trees.name(path).split("/")[-1]
        if last == "kernel":
            return random.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape)
        noise = random.uniform(-0.3, 0.3, leaf.shape)
        return noise + (1 if last in ("scale", "var") else 0)

    return jax.tree_util.tree_map_with_path(lambda *leaf: draw(*leaf).astype(np.float32), like)


def module_of(module, shape):
    """Return a bare module with batch norm as `models.build` does."""

    def init(key):
        variables = module.init(key, jnp.zeros((1, *shape)), train=False)
        return Network(variables["params"], variables["batch_stats"])

    def apply(network, inputs, train):
        variables = {"params": network.params, "batch_stats": network.stats}
        out, changed = module.apply(variables, inputs, train=train, mutable=["batch_stats"])
        return out, changed["batch_stats"]

    return models.Model(init=init, apply=apply)


def plain(**config):
    settings = {"initializer": "kaiming-normal", "norm_scale": "uniform", "dtype": "float32"}
    return layers.Layers(**(settings | config))


def small(blocks=(1,), **config):
    """Return a ResNet of one block for 4x4 images, or of others."""
    return module_of(resnet.ResNet(blocks, 4, 5, plain(**config)), (4, 4, 3))


def small_bottlenecks():
    """Return a ResNet of two bottlenecks with a stem for large images."""
    how = {"bottleneck": True, "large": True}
    return module_of(resnet.ResNet((1, 1), 4, 5, plain(), **how), (18, 22, 3))


AGAINST_NUMPY = {  # (model, images, reference, whether in training)
    "resnet-20": (lambda: built("resnet-20", shape=(8, 8, 3)), (1, 8, 8, 3), resnet_20, False),
    "resnet-20, training": (
        lambda: built("resnet-20", shape=(8, 8, 3)),
        (5, 8, 8, 3),
        resnet_20,
        True,
    ),
    "conv-4": (lambda: built("conv-4", shape=(9, 8, 3)), (2, 9, 8, 3), conv_4, False),
    "bottlenecks": (small_bottlenecks, (4, 18, 22, 3), bottlenecks, True),
    "vgg-11, two dense layers": (
        lambda: built("vgg-11", shape=(16, 16, 3), fc_layers=2),
        (2, 16, 16, 3),
        vgg_11,
        False,
    ),
}


@pytest.mark.parametrize("name", AGAINST_NUMPY)
def test_networks_compute_what_numpy_does(name):
    make, shape, reference, train = AGAINST_NUMPY[name]
    model = make()
    network = drawn(jax.eval_shape(model.init, jax.random.key(0)))
    inputs = np.random.default_rng(1).normal(size=shape)
    logits, stats = jax.jit(model.apply, static_argnums=2)(network, inputs.astype("f4"), train)
    expected = Reference(network, train=train)
    wanted = reference(expected, inputs)
    np.testing.assert_allclose(logits, wanted, rtol=2e-4, atol=2e-4 * abs(wanted).max())
    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4)
    jax.tree.map(close, stats, expected.after)


# --- batch norm, initial weights, precision ------------------------------------------------------


def test_statistics_of_training_are_those_of_two_passes_far_from_zero_too():
    random = np.random.default_rng(0)
    x = (random.normal(size=(7, 5, 6, 3)) * [0.5, 1, 20] + [10, 0, -30]).astype(np.float32)
    norm = plain().norm(train=True)
    variables = norm.init(jax.random.key(0), x)
    out, changed = norm.apply(variables, x, mutable=["batch_stats"])
    scale = np.asarray(variables["params"]["scale"])
    double = x.astype(np.float64)
    mean = double.mean((0, 1, 2))
    var = ((double - mean) ** 2).mean((0, 1, 2))
    np.testing.assert_allclose(out, (double - mean) / np.sqrt(var + 1e-5) * scale, atol=2e-4)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-4)


def test_evaluation_neither_uses_nor_changes_the_batchs_statistics():
    model = small()
    network = drawn(jax.eval_shape(model.init, jax.random.key(0)))
    inputs = np.random.default_rng(0).normal(size=(4, 4, 4, 3)).astype("f4")
    forward = jax.jit(model.apply, static_argnums=2)
    logits, stats = forward(network, inputs, False)
    alone, _ = forward(network, inputs[:1], False)
    np.testing.assert_allclose(alone, logits[:1], rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, stats, network.stats)


def start(name, path, **config):
    """Return one leaf of a new network; drawing only that compiles ten times faster."""
    init = built(name, **config).init
    key = keys.stream(0, 0, "initialization")
    return np.asarray(jax.jit(lambda key: trees.named(init(key).params)[path])(key), np.float64)


def test_scales_of_batch_norm_are_drawn_as_set():
    name, path = "resnet-18-modified", "Conv5_1/BatchNorm_0/scale"
    scales = start(name, path)
    assert scales.shape == (512,)
    assert scales.min() >= 0
    assert scales.max() < 1
    # 512 draws: 51.2 in each tenth of [0, 1), with a standard deviation of 6.8.
    counts, _ = np.histogram(scales, 10, (0, 1))
    assert np.all(abs(counts - 51.2) < 4 * 6.8)
    assert np.any(scales != start(name, "Conv5_1/BatchNorm_1/scale"))
    assert np.all(start(name, path, norm_scale="ones") == 1)
    assert np.all(start("vgg-11", "BatchNorm5_2/scale", norm_scale="ones") == 1)
    assert np.all(start(name, "Conv5_1/BatchNorm_0/bias") == 0)


def test_kernels_of_convolutions_are_drawn_with_their_fan_in():
    kernel = start("resnet-20", "Conv4_2/Conv_0/kernel")
    assert kernel.shape == (3, 3, 64, 64)
    assert kernel.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert np.all(start("conv-2", "Conv1_1/bias") == 0)


def test_parameters_are_float32_whatever_is_computed_in():
    for name in ("lenet-300-100", "conv-2", "resnet-20", "vgg-11"):
        network = abstract(name, dtype="bfloat16")
        assert {leaf.dtype for leaf in jax.tree.leaves(network)} == {jnp.dtype("float32")}


def test_bfloat16_gives_nearly_what_float32_does():
    inputs = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("f4")
    exact, rough = small(), small(dtype="bfloat16")
    network = drawn(jax.eval_shape(exact.init, jax.random.key(0)))
    wanted, _ = jax.jit(exact.apply, static_argnums=2)(network, inputs, True)
    logits, _ = jax.jit(rough.apply, static_argnums=2)(network, inputs, True)
    assert 1e-4 < np.max(abs(logits - wanted)) / np.max(abs(wanted)) < 0.05


@pytest.mark.parametrize("name", ["conv-2", "resnet-20", "vgg-11"])
def test_float64_parameters_are_computed_with_in_float64(name):
    with jax.enable_x64(True):
        network = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), abstract(name)
        )
        inputs = jax.ShapeDtypeStruct(images(name).shape, jnp.float64)
        forward = functools.partial(built(name).apply, train=False)
        traced = jax.make_jaxpr(forward)(network, inputs).jaxpr
    assert traced.outvars[0].aval.dtype == jnp.float64
    assert not any(var.aval.dtype == jnp.float32 for eqn in walk(traced) for var in eqn.outvars)


def test_batch_norm_over_a_named_axis_is_batch_norm_of_the_whole_batch():
    whole, parts = small(), small(batch_axis=models.BatchAxis("devices"))
    network = drawn(jax.eval_shape(parts.init, jax.random.key(0)))
    inputs = np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype("f4")
    wanted, stats = jax.jit(whole.apply, static_argnums=2)(network, inputs, True)
    apply = functools.partial(parts.apply, train=True)
    mapped = jax.jit(jax.vmap(apply, in_axes=(None, 0), axis_name="devices"))
    logits, shared = mapped(network, inputs.reshape((2, 3, 4, 4, 3)))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(logits.reshape(wanted.shape), wanted)
    jax.tree.map(lambda both, one: [close(each, one) for each in both], shared, stats)


@pytest.mark.parametrize("parts", [1, 2])
def test_statistics_are_of_parts_of_a_batch_however_many_devices_share_it(parts):
    whole, shared = small(), small(batch_axis=models.BatchAxis(parts=parts))
    network = drawn(jax.eval_shape(whole.init, jax.random.key(0)))
    inputs = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("f4")
    layout = execution.Layout(tuple(jax.devices()[:2]), 1, split=2)
    apply = layout.map(functools.partial(shared.apply, train=True), (0, 0))
    logits, _ = apply(layout.place([network]), layout.spread(inputs))
    alone = jax.jit(functools.partial(whole.apply, train=True))
    wanted = [alone(network, part)[0] for part in np.split(inputs, parts)]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(np.reshape(logits, (8, -1)), np.concatenate(wanted))


@pytest.mark.parametrize(
    ("dtype", "blocks"), [("float32", (1,)), ("bfloat16", (1,)), ("float32", (1, 1))]
)
def test_networks_as_tpus_compute_them_are_the_usual_ones_but_for_rounding(dtype, blocks):
    of = functools.partial(small, blocks, dtype=dtype)
    usual, folded = of(), of(folded_norm=True, recompute=True)
    start, of_folded = (model.init(jax.random.key(0)) for model in (usual, folded))
    jax.tree.map(np.testing.assert_array_equal, start, of_folded)
    network = drawn(jax.eval_shape(usual.init, jax.random.key(0)))
    inputs = np.random.default_rng(0).normal(3, 2, size=(16, 4, 4, 3)).astype("f4")

    def told(model):
        """Return gradients, logits in training and in evaluation, and statistics."""

        def loss(network):
            logits, stats = model.apply(network, inputs, True)
            return jnp.mean(jnp.square(logits.astype(jnp.float32))), (logits, stats)

        grads, (logits, stats) = jax.jit(jax.grad(loss, has_aux=True))(network)
        later = jax.jit(model.apply, static_argnums=2)(
            Network(network.params, stats), inputs, False
        )
        return grads.params, logits, stats, later[0]

    apart = 0.1 if dtype == "bfloat16" else 1e-4
    close = functools.partial(np.testing.assert_allclose, rtol=apart, atol=apart)
    jax.tree.map(
        lambda *each: close(*(leaf.astype("f4") for leaf in each)), *map(told, (usual, folded))
    )
    with_parts = of(folded_norm=True, batch_axis=models.BatchAxis("devices"))
    apply = functools.partial(with_parts.apply, train=True)
    halves = inputs.reshape((2, 8, 4, 4, 3))
    mapped = jax.jit(jax.vmap(apply, in_axes=(None, 0), axis_name="devices"))
    close(mapped(network, halves)[0].reshape((16, -1)).astype("f4"), told(usual)[1].astype("f4"))


def test_networks_have_that_batch_norm_and_compute_projections_again_on_tpus_only(monkeypatch):
    def told(name="resnet-20"):
        """Return how many sums a training of a network takes, and how many parts it repeats."""
        model = models.build(ModelConfig(name=name), shape=(32, 32, 3), classes=10)
        like = jax.eval_shape(model.init, jax.random.key(0))
        loss = lambda network, inputs: model.apply(network, inputs, True)[0].sum()  # noqa: E731
        traced = jax.make_jaxpr(jax.grad(loss))(like, jax.ShapeDtypeStruct((2, 32, 32, 3), "f4"))
        names = [eqn.primitive.name for eqn in walk(traced.jaxpr)]
        return names.count("reduce_sum"), names.count("checkpoint") + names.count("remat2")

    usual, repeated = told()
    assert repeated == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    sums, repeated = told()
    assert repeated == 2  # where height and width are halved
    again = 2 * 2  # mean and mean square behind each of the two
    assert usual - (sums - again) >= 19  # one fewer for each batch norm
    assert told("resnet-32")[1] == 0  # not measured


def test_neighbouring_devices_share_a_part():
    groups = []
    jax.vmap(lambda _: groups.append(models.BatchAxis(parts=2).groups()), axis_name="batch")(
        jnp.zeros(4)
    )
    assert groups == [[[0, 1], [2, 3]]]


# --- Inception-v3, and what does not fit ---------------------------------------------------------


def test_inception_has_the_grids_of_its_paper():
    # Szegedy et al. 2016, Table 1: pixels and channels after each module.
    grids = {"5b": (35, 256), "5c": (35, 288), "5d": (35, 288), "6a": (17, 768), "6b": (17, 768)}
    grids |= {"6c": (17, 768), "6d": (17, 768), "6e": (17, 768), "7a": (8, 1280)}
    grids |= {"7b": (8, 2048), "7c": (8, 2048)}
    module = inception.InceptionV3(1000, plain())
    network = abstract("inception-v3")
    variables = {"params": network.params, "batch_stats": network.stats}
    capture = functools.partial(
        module.apply, train=False, capture_intermediates=lambda layer, _: layer.name is not None
    )
    _, captured = jax.eval_shape(capture, variables, images("inception-v3"))
    outputs = {
        name: layer["__call__"][0].shape
        for name, layer in captured["intermediates"].items()
        if name.startswith(("Mixed", "Conv1"))
    }
    assert outputs.pop("Conv1") == (1, 35, 35, 192)
    for grid, (side, channels) in grids.items():
        branches = [shape for name, shape in outputs.items() if name.startswith(f"Mixed{grid}_")]
        assert {shape[1:3] for shape in branches} == {(side, side)}
        assert sum(shape[3] for shape in branches) == channels


def test_the_steps_of_a_branch_compute_what_numpy_does():
    fork = inception.Fork(inception.Step(3, (1, 3)), inception.Step(2, (3, 1)))
    steps = (inception.MeanPool(), inception.Step(4, (1, 7)), fork, inception.MaxPool())
    steps += (inception.Step(3, (3, 3), stride=2, padded=False),)
    model = module_of(inception.Branch(steps, plain()), (11, 11, 3))
    network = drawn(jax.eval_shape(model.init, jax.random.key(0)))
    inputs = np.random.default_rng(0).normal(size=(3, 11, 11, 3))
    out, stats = jax.jit(model.apply, static_argnums=2)(network, inputs.astype("f4"), True)

    reference = Reference(network, train=True, momentum=0.996, epsilon=1e-3)

    def step(place, x, **how):
        return relu(reference.norm(f"BatchNorm_{place}", reference.conv(f"Conv_{place}", x, **how)))

    x = pool(inputs, 3, 1, padding=1, fill=np.nan, reduce=np.nanmean)
    x = step(0, x)
    x = np.concatenate([step(1, x), step(2, x)], axis=-1)
    x = step(3, pool(x, 3, 2), stride=2, padding=(0, 0))
    assert x.shape == (3, 2, 2, 3)
    np.testing.assert_allclose(out, x, rtol=2e-4, atol=2e-4)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    jax.tree.map(close, stats, reference.after)


def test_only_inception_has_auxiliary_logits_and_only_in_training():
    model, network = built("inception-v3"), abstract("inception-v3")
    inputs = images("inception-v3", 2)
    logits, aside, stats = jax.eval_shape(model.auxiliary, network, inputs)
    assert logits.shape == aside.shape == (2, 1000)
    assert logits.dtype == aside.dtype == jnp.float32
    assert stats == network.stats
    # Its auxiliary classifier is two convolutions and a dense layer, idle in evaluation.
    assert len(list(products("inception-v3", **TRAINING))) == PUBLISHED["inception-v3"].tensors
    assert len(list(products("inception-v3"))) == PUBLISHED["inception-v3"].tensors - 3
    others = [name for name in PUBLISHED if built(name).auxiliary is not None]
    assert others == ["inception-v3"]


@pytest.mark.slow
def test_the_auxiliary_loss_trains_the_auxiliary_classifier():
    model, network = built("inception-v3"), drawn(abstract("inception-v3"))
    inputs = np.random.default_rng(0).normal(size=(2, *LARGE)).astype("f4")

    def losses(params):
        logits, aside, _ = model.auxiliary(network._replace(params=params), inputs)
        return (logits**2).mean(), models.AUXILIARY_WEIGHT * (aside**2).mean()

    main, aside = jax.jit(jax.jacrev(losses))(network.params)
    of_head = {name for name, leaf in trees.named(aside).items() if "Auxiliary" in name}
    assert len(of_head) == 2 * 3 + 2
    for name, leaf in trees.named(main).items():
        assert np.all(np.isfinite(leaf)), name
        if name.endswith("kernel"):
            assert np.any(leaf) == (name not in of_head), name
    assert all(np.any(trees.named(aside)[name]) for name in of_head if name.endswith("kernel"))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vgg-16", (15, 32, 3), "vgg-16 needs images of at least 16 x 16 pixels; got 15 x 32."),
        ("conv-6", (8, 7, 1), "conv-6 needs images of at least 8 x 8 pixels; got 8 x 7."),
        ("inception-v3", CIFAR, "inception-v3 needs images of at least 299 x 299 pixels;"),
    ],
)
def test_images_too_small_for_a_network_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        built(name, shape=shape)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv-8", (16, 16, 3)),
        ("vgg-19", (16, 17, 1)),
        ("vgg-11", (64, 64, 3)),
        ("resnet-20", (1, 1, 3)),
        ("resnet-18", (1, 2, 3)),
        ("resnet-18-modified", (64, 64, 3)),
    ],
)
def test_images_of_the_least_or_another_size_are_taken(name, shape):
    model = built(name, shape=shape)
    network = jax.eval_shape(model.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    logits, _ = jax.eval_shape(functools.partial(model.apply, train=True), network, inputs)
    assert logits.shape == (2, PUBLISHED[name].classes)


@pytest.mark.usefixtures("optimized")
# kaiming-normal has products and sums that other optimisations of the compiler would join.
@pytest.mark.parametrize(
    "initializer",
    [
        pytest.param(name, marks=[] if name == "kaiming-normal" else pytest.mark.slow)
        for name in models.INITIALIZERS
    ],
)
def test_the_program_that_draws_networks_is_optimised_less_and_gives_the_same_bits(initializer):
    config = ImpConfig(model=ModelConfig(name="mlp", hidden=(40, 30), initializer=initializer))
    prunable, key = prunable_model(config, shape=(8, 8, 1), classes=10), jax.random.key(3)
    drawn, expected = prunable.draw(key), jax.jit(prunable.model.init)(key)
    jax.tree.map(np.testing.assert_array_equal, drawn, expected)
