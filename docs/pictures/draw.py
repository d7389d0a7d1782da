"""Draw the pictures of docs/concepts.md from trainings on digits: `python docs/pictures/draw.py`.

A perceptron with two hidden layers learns the digits of scikit-learn. All numbers in the pictures
are of these trainings; a minute on two cores. `--out FOLDER` draws elsewhere.
"""

import argparse
import functools
import itertools
import pathlib
from typing import Any, NamedTuple

import draw_readme
import jax
import jax.flatten_util
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from sklearn.datasets import load_digits

from jaxlth import landscape, masks, prune, scores

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

BLUE, ORANGE, GREEN, RED, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
WIDTHS = (64, 48, 48, 10)
STEPS, BATCH, REWIND_STEP, LEVELS = 600, 20, 60, 8
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "0"}


class Data(NamedTuple):
    """Images of digits, a row each, and their labels."""

    images: jax.Array  # (n, 64) in [0, 1]
    labels: jax.Array  # (n,)


class Training(NamedTuple):
    """Parameters before each step and after the last one."""

    path: Any  # each leaf (STEPS + 1 - start, ...)
    start: int

    def at(self, step: int) -> Any:
        """Return the parameters before a step."""
        return jax.tree.map(lambda leaf: leaf[step - self.start], self.path)

    @property
    def end(self) -> Any:
        """The trained parameters."""
        return self.at(STEPS)


def digits() -> tuple[Data, Data]:
    """Return the training and the test set."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images, labels = jnp.asarray(bunch.data[order] / 16.0), jnp.asarray(bunch.target[order])
    return Data(images[:1000], labels[:1000]), Data(images[1000:], labels[1000:])


def init(key: jax.Array) -> Any:
    """Return the initial parameters."""
    pairs = itertools.pairwise(WIDTHS)
    return {
        str(place): {
            "kernel": jax.random.normal(jax.random.fold_in(key, place), (n, m)) * (2 / n) ** 0.5,
            "bias": jnp.zeros(m),
        }
        for place, (n, m) in enumerate(pairs)
    }


def logits(params: Any, images: jax.Array) -> jax.Array:
    """Return the outputs of the network."""
    for place in range(len(WIDTHS) - 1):
        layer = params[str(place)]
        images = images @ layer["kernel"] + layer["bias"]
        images = jax.nn.relu(images) if place < len(WIDTHS) - 2 else images
    return images


def loss(params: Any, data: Data) -> jax.Array:
    """Return the mean cross-entropy."""
    outputs = logits(params, data.images)
    return optax.softmax_cross_entropy_with_integer_labels(outputs, data.labels).mean()


def error(params: Any, data: Data) -> jax.Array:
    """Return the share of images that are classified wrongly."""
    return jnp.mean(jnp.argmax(logits(params, data.images), axis=1) != data.labels)


@functools.partial(jax.jit, static_argnames="start")
def _path(params: Any, mask: Any, data: Data, key: jax.Array, start: int) -> Any:
    def step(carry, number):
        params, state = carry
        batch_key = jax.random.fold_in(key, number)
        rows = jax.random.choice(batch_key, len(data.labels), (BATCH,), replace=False)
        batch = Data(data.images[rows], data.labels[rows])
        grads = jax.grad(lambda p: loss(masks.apply(p, mask), batch))(params)
        updates, state = OPTIMIZER.update(grads, state)
        return (optax.apply_updates(params, updates), state), params

    carry = (masks.apply(params, mask), OPTIMIZER.init(params))
    (last, _), path = jax.lax.scan(step, carry, jnp.arange(start, STEPS))
    return jax.tree.map(lambda leaf, end: jnp.concatenate([leaf, end[None]]), path, last)


def train(params: Any, mask: Any, data: Data, *, start: int = 0, order: int = 0) -> Training:
    """Return a training from a step on, with the batches of one order."""
    return Training(_path(params, mask, data, jax.random.key(order), start), start)


def tickets(dense: Training, data: Data) -> list[tuple[Any, Training]]:
    """Return mask and training of each level: train, prune, rewind to step REWIND_STEP."""
    mask = masks.dense(dense.end)
    levels = [(mask, dense)]
    for keep in prune.keep_counts(masks.size(mask), levels=LEVELS, fraction=0.4)[1:]:
        mask = prune.global_topk(scores.magnitude(levels[-1][1].end), mask, keep=keep)
        levels.append((mask, train(dense.at(REWIND_STEP), mask, data, start=REWIND_STEP)))
    return levels


def draw_mask(levels: list[tuple[Any, Training]]) -> plt.Figure:
    """Return the weights of a layer, its mask, and what is left of the layer."""
    mask, _ = levels[4]
    weights = levels[3][1].end["1"]["kernel"]
    kept = mask["1"]["kernel"]
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.5), layout="constrained")
    limit = float(jnp.abs(weights).max())
    shown = (weights, kept, jnp.where(kept, weights, jnp.nan))
    titles = ("weights", "mask (black: kept)", "masks.apply(weights, mask)")
    for axis, values, title in zip(axes, shown, titles, strict=True):
        if title.startswith("mask ("):
            axis.imshow(values, cmap="gray_r", interpolation="nearest")
        else:
            image = axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(title=title, xlabel="unit of layer 2", xticks=[], yticks=[])
    axes[0].set_ylabel("unit of layer 1")
    figure.colorbar(image, ax=axes[2], label="weight", shrink=0.8)
    figure.suptitle(
        f"{100 * float(kept.mean()):.0f} % of the layer's weights are kept", fontsize=10
    )
    return figure


def draw_levels(levels: list[tuple[Any, Training]], test: Data) -> plt.Figure:
    """Return the network at some levels, its kept weights as lines, with density and error."""
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
    for axis, level in zip(axes, (0, 3, 6, 8), strict=True):
        mask, training = levels[level]
        _draw_network(axis, mask, training.end)
        density = float(masks.density(mask))
        wrong = float(error(training.end, test))
        axis.set_title(
            f"level {level}\n{100 * density:.1f} % of the weights\ntest error {100 * wrong:.1f} %"
        )
    return figure


def _draw_network(axis: plt.Axes, mask: Any, params: Any) -> None:
    heights = [np.linspace(-1, 1, width) for width in WIDTHS]
    for place in range(len(WIDTHS) - 1):
        kept = np.argwhere(np.asarray(mask[str(place)]["kernel"]))
        weights = np.asarray(params[str(place)]["kernel"])
        lines = [[(place, heights[place][i]), (place + 1, heights[place + 1][j])] for i, j in kept]
        colors = [BLUE if weights[i, j] > 0 else RED for i, j in kept]
        alpha = min(1.0, 0.04 + 40 / len(lines))
        axis.add_collection(LineCollection(lines, colors=colors, linewidths=0.5, alpha=alpha))
        axis.scatter(np.full(WIDTHS[place], place), heights[place], s=3, c="black", zorder=3)
    axis.scatter(np.full(WIDTHS[-1], len(WIDTHS) - 1), heights[-1], s=3, c="black", zorder=3)
    axis.set(xticks=range(len(WIDTHS)), xticklabels=["pixels", "1", "2", "digits"], yticks=[])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def draw_rewinding(levels: list[tuple[Any, Training]]) -> plt.Figure:
    """Return some weights over a dense training, and over that of the ticket that it gives."""
    mask, ticket = levels[1]
    dense = levels[0][1]
    kept = np.asarray(mask["1"]["kernel"]).ravel()
    paths = [
        np.asarray(training.path["1"]["kernel"]).reshape(len(training.path["1"]["bias"]), -1)
        for training in (dense, ticket)
    ]
    rng = np.random.default_rng(1)
    shown = [i for which in (kept, ~kept) for i in rng.choice(np.flatnonzero(which), 7, False)]
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
    for axis, path, start in zip(axes, paths, (0, REWIND_STEP), strict=True):
        for weight in shown:
            color, width = (BLUE, 1.4) if kept[weight] else (GRAY, 0.8)
            axis.plot(range(start, STEPS + 1), path[:, weight], color=color, lw=width)
            if kept[weight]:
                place = REWIND_STEP - start
                axis.plot(REWIND_STEP, path[place, weight], "o", color=ORANGE, ms=5, zorder=3)
        axis.axvline(REWIND_STEP, color=ORANGE, lw=1, ls="--")
        axis.set(xlabel="step", xlim=(0, STEPS))
    axes[0].set(title="1. Train; prune the smallest weights (gray)", ylabel="weight")
    axes[1].set(title=f"2. Rewind the others to step k = {REWIND_STEP}; train again")
    return figure


def twins(dense: Training, data: Data, step: int) -> tuple[Training, Training]:
    """Return two trainings from one state with different data orders."""
    mask = masks.dense(dense.end)
    first, second = (train(dense.at(step), mask, data, start=step, order=o) for o in (1, 2))
    return first, second


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def draw_twins(dense: Training, data: Data, steps: tuple[int, int]) -> plt.Figure:
    """Return the loss on the plane through a state and the ends of its twins, for two states."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for axis, step in zip(axes, steps, strict=True):
        pair = twins(dense, data, step)
        image = _draw_plane(axis, dense.at(step), pair, data)
        axis.set_title(f"twins from step {step}")
    bar = figure.colorbar(image, ax=axes, label="training loss (nats)", ticks=[0.01, 0.1, 1])
    bar.ax.set_yticklabels(["0.01", "0.1", "1"])
    bar.ax.minorticks_off()
    return figure


def _draw_plane(axis: plt.Axes, origin: Any, pair: tuple[Training, Training], data: Data) -> Any:
    ends = [training.end for training in pair]
    start, *flat = (_flat(tree) for tree in (origin, *ends))
    across = flat[1] - flat[0]
    length = np.linalg.norm(across)
    across = across / length
    up = start - flat[0]
    up = up - (up @ across) * across
    height = np.linalg.norm(up)
    up = up / height
    xs = np.linspace(-0.25, 1.25, 45) * length
    ys = np.linspace(-0.35 * length, max(1.15 * height, 0.5 * length), 45)
    unravel = jax.flatten_util.ravel_pytree(ends[0])[1]
    points = np.array([[flat[0] + x * across + y * up for x in xs] for y in ys], np.float32)
    losses = jax.lax.map(lambda point: loss(unravel(point), data), points.reshape(-1, len(start)))
    losses = np.clip(np.asarray(losses).reshape(len(ys), len(xs)), 4e-3, 3)
    levels = np.geomspace(4e-3, 3, 20)
    image = axis.contourf(xs, ys, losses, levels=levels, norm="log", cmap="Blues")
    for training, color in zip(pair, (ORANGE, GREEN), strict=True):
        path = np.concatenate(
            [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(training.path)], 1
        )
        axis.plot((path - flat[0]) @ across, (path - flat[0]) @ up, color=color, lw=1.2)
    axis.plot([0, length], [0, 0], "k--", lw=1.2)
    axis.plot([0, length], [0, 0], "o", color="black", ms=5)
    axis.plot((start - flat[0]) @ across, height, "k*", ms=11)
    axis.set(xlabel="distance along the line between the twins", ylabel="distance from it")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1.5}
    top = (float((start - flat[0]) @ across), float(height))
    named = ((top, "common start", 10), ((0, 0), "twin 1", -18), ((length, 0), "twin 2", -18))
    for at, name, below in named:
        offset = {"xytext": (0, below), "textcoords": "offset points", "ha": "center"}
        axis.annotate(name, at, **offset, bbox=box, fontsize=9)
    return image


def draw_barriers(dense: Training, test: Data, data: Data, steps: tuple[int, int]) -> plt.Figure:
    """Return the test error along the line between twins, from two steps."""
    figure, axis = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    for step, color in zip(steps, (RED, BLUE), strict=True):
        first, second = (training.end for training in twins(dense, data, step))
        errors = landscape.errors_along(lambda p: error(p, test), first, second, points=31)
        barrier = float(landscape.barrier(errors))
        label = f"twins from step {step}: barrier {100 * barrier:.1f} points"
        axis.plot(landscape.alphas(31), 100 * errors, color=color, marker=".", label=label)
        ends, top = 100 * float(errors[0] + errors[-1]) / 2, int(np.argmax(errors))
        if barrier > 0.02:
            place = float(landscape.alphas(31)[top])
            ends_at = {"xy": (place, ends), "xytext": (place, 100 * float(errors[top]))}
            axis.annotate("", **ends_at, arrowprops={"arrowstyle": "<->", "color": "black"})
            axis.text(place + 0.015, ends + 50 * barrier, "barrier")
            axis.axhline(ends, color=GRAY, lw=0.8, ls=":")
    axis.set(xlabel="place on the line between the twins (0 and 1: the twins)", ylim=(0, None))
    axis.set_ylabel("test error (%)")
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return figure


def pictures() -> dict[str, plt.Figure]:
    """Return the pictures by their names."""
    data, test = digits()
    start = init(jax.random.key(0))
    dense = train(start, masks.dense(start), data)
    levels = tickets(dense, data)
    steps = (0, REWIND_STEP)
    return {
        "mask": draw_mask(levels),
        "level": draw_levels(levels, test),
        "rewinding": draw_rewinding(levels),
        "twins": draw_twins(dense, data, steps),
        "barrier": draw_barriers(dense, test, data, steps),
    }


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    out = parser.parse_args().out
    with plt.rc_context(STYLE):
        for name, figure in pictures().items():
            file = out / f"{name}.png"
            figure.savefig(file, dpi=130, metadata={"Software": None})
            draw_readme.shrink(file, file)
            print(file)


if __name__ == "__main__":
    main()
