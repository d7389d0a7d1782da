"""Meta-models: learn from the tickets of some replicates which weights of another to keep.

A weight is an example. Its features are its scores, scaled to [0, 1] over the network; its target
is the SynFlow score that it has in the ticket of a more expensive schedule, 0 where that ticket
has pruned it, scaled likewise.

References:
  Lutz & Manai 2022, sections 3.2 and 5.2, appendix B.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxlth import masks, trees

SCORES = ("magnitude", "snip", "grasp", "synflow")  # the four features
SURROUNDINGS = (  # the six further ones
    *("weight", "layer norm", "highest input", "mean input", "highest output", "mean output"),
)
TARGET = "synflow"
BATCH, RATE = 64, 1e-3  # of the MLP; the batch is ours
# The thesis does not say how long the MLP learns; here until an epoch's loss is hardly less than
# that of `PATIENCE` epochs before, or for `EPOCHS`.
EPOCHS, PATIENCE, IMPROVEMENT = 300, 10, 0.01


class Model(Protocol):
    """What scikit-learn calls a regressor."""

    def fit(self, inputs: np.ndarray, targets: np.ndarray) -> Any:
        """Learn from (n, features) and (n,)."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return (n,)."""
        ...


class Fitted(NamedTuple):
    """A meta-model with how well it fits, on its own examples and on others."""

    model: Model
    quality: Mapping[str, float]  # r2_train, mse_train, r2_test, mse_test
    losses: list[float]  # (epochs,), mean over the steps of an epoch of the MLP; else none


class MLP:
    """Widths 64 and 32, ReLU, a sigmoid at the end; mean squared error, SGD at 0.001."""

    def __init__(self, seed: int) -> None:
        self._key = jax.random.key(seed, impl="threefry2x32")
        self._params: Any = None
        self.losses: list[float] = []

    def fit(self, inputs: np.ndarray, targets: np.ndarray) -> "MLP":
        """Learn from (n, features) and (n,) until it has converged.

        What is left of an epoch's examples after whole batches is dropped.
        """
        start, order = jax.random.split(self._key)
        params = _Net().init(start, jnp.zeros((1, inputs.shape[1])))
        batch = min(BATCH, len(targets))
        self._params, losses, epochs = _trained(
            params,
            jnp.asarray(inputs, jnp.float32),
            jnp.asarray(targets, jnp.float32),
            jax.random.split(order, EPOCHS),
            batch,
        )
        self.losses = np.asarray(losses, float)[: int(epochs)].tolist()
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return (n,) in (0, 1)."""
        return np.asarray(jax.jit(_Net().apply)(self._params, jnp.asarray(inputs, jnp.float32)))


class _Net(nn.Module):
    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        for width in (64, 32):
            inputs = nn.relu(nn.Dense(width)(inputs))
        return nn.sigmoid(nn.Dense(1)(inputs))[:, 0]


def _trained(
    params: Any, inputs: jax.Array, targets: jax.Array, epochs: jax.Array, batch: int
) -> tuple[Any, jax.Array, jax.Array]:
    """Return the parameters, the mean loss of each epoch, and how many epochs there were."""
    optimizer = optax.sgd(RATE)

    def step(carry: Any, at: jax.Array) -> Any:
        params, opt = carry

        def loss(params: Any) -> jax.Array:
            return jnp.mean(jnp.square(_Net().apply(params, inputs[at]) - targets[at]))  # pyright: ignore

        value, grad = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # which optax takes for granted
            updates, opt = optimizer.update(grad, opt)
            return (optax.apply_updates(params, updates), opt), value

    def epoch(state: Any) -> Any:
        carry, losses, at = state
        count = len(targets) // batch
        rows = jax.random.permutation(epochs[at], len(targets))
        carry, values = jax.lax.scan(step, carry, rows[: count * batch].reshape(count, batch))
        return carry, losses.at[at].set(jnp.mean(values)), at + 1

    def goes_on(state: Any) -> jax.Array:
        _, losses, at = state
        improves = losses[at - 1] < (1 - IMPROVEMENT) * losses[at - 1 - PATIENCE]
        return (at < len(epochs)) & ((at <= PATIENCE) | improves)

    start = (params, optimizer.init(params)), jnp.zeros(len(epochs)), jnp.int32(0)
    (params, _), losses, at = jax.jit(lambda state: jax.lax.while_loop(goes_on, epoch, state))(
        start
    )
    return params, losses, at


MODELS = ("linear", "sgd", "tree", "forest", "mlp")
NAMES = tuple(f"meta-{name}{suffix}" for suffix in ("", "-10") for name in MODELS)


def regressor(name: str, *, seed: int) -> Model:
    """Return a model that has learned nothing yet; scikit-learn's have its defaults.

    Args:
      name: one of `MODELS`.
      seed: of the models that draw numbers.
    """
    if name == "mlp":
        return MLP(seed)
    from sklearn import ensemble, linear_model, tree  # takes a second, which few commands need

    if name == "linear":
        return linear_model.LinearRegression()
    if name == "sgd":
        return linear_model.SGDRegressor(random_state=seed)
    if name == "tree":
        return tree.DecisionTreeRegressor(random_state=seed)
    return ensemble.RandomForestRegressor(random_state=seed, n_jobs=-1)


def split_name(name: str) -> tuple[str, bool]:
    """Return the model that a name stands for, and whether it sees all ten features.

    Example:
      >>> split_name("meta-mlp"), split_name("meta-tree-10")
      (('mlp', False), ('tree', True))
    """
    model = name.removeprefix("meta-").removesuffix("-10")
    return model, name.endswith("-10")


def fit(
    name: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
) -> Fitted:
    """Return a meta-model trained on examples, and its quality.

    Args:
      name: one of `MODELS`.
      inputs: (n, features), float32.
      targets: (n,), float32.
      test: inputs and targets of other replicates.
      seed: of the models that draw numbers.
    """
    from sklearn import metrics

    model = regressor(name, seed=seed)
    model.fit(inputs, targets)
    quality = {}
    for where, (x, y) in {"train": (inputs, targets), "test": test}.items():
        predicted = model.predict(x)
        quality[f"r2_{where}"] = float(metrics.r2_score(y, predicted))
        quality[f"mse_{where}"] = float(metrics.mean_squared_error(y, predicted))
    return Fitted(model, quality, model.losses if isinstance(model, MLP) else [])


def columns(scores: list[Any], mask: masks.Mask) -> np.ndarray:
    """Return trees of scores as (weights that may be pruned, trees), each scaled to [0, 1].

    Example:
      >>> mask = {"w": np.ones((1, 3), bool), "b": None}
      >>> columns([{"w": np.array([[1.0, 3.0, 2.0]]), "b": np.zeros(3)}], mask).tolist()
      [[0.0], [1.0], [0.5]]
    """
    return np.stack([_scaled(flat(each, mask)) for each in scores], axis=1)


def flat(tree: Any, mask: masks.Mask) -> np.ndarray:
    """Return the leaves that may be pruned as one (weights,) array of float64."""
    kept = jax.tree.map(lambda leaf, keep: None if keep is None else leaf, tree, mask)
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(kept)])


def unflat(values: np.ndarray, params: Any, mask: masks.Mask) -> Any:
    """Return a (weights,) array as a tree like the parameters; 0 where nothing is ever pruned."""
    leaves, structure = jax.tree.flatten(mask, is_leaf=trees.is_none)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
    sizes = [0 if leaf is None else int(np.prod(s)) for leaf, s in zip(leaves, shapes, strict=True)]
    parts = np.split(values.astype(np.float32), np.cumsum(sizes)[:-1])
    leaves_of_tree = [
        np.zeros(shape, np.float32) if leaf is None else part.reshape(shape)
        for leaf, shape, part in zip(leaves, shapes, parts, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves_of_tree)


def surroundings(params: Any, mask: masks.Mask, images: np.ndarray) -> np.ndarray:
    """Return the six further features of each weight, (weights, 6), each scaled to [0, 1].

    The weight, the Frobenius norm of its layer, and over the images the highest and the mean
    activation of the unit that it comes from and of the unit that it goes to.

    Args:
      params: of an mlp, "Dense_0", "Dense_1" and so on.
      mask: what may be pruned.
      images: (n, height, width, channels), normalised.

    Raises:
      ValueError: the network is no mlp.
    """
    check_mlp(params)
    names = sorted(params, key=lambda name: int(name.removeprefix("Dense_")))
    layers = [params[name] for name in names]
    activations = [np.asarray(images, np.float64).reshape(len(images), -1)]
    for place, layer in enumerate(layers):
        after = activations[-1] @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        activations.append(after if place == len(layers) - 1 else np.maximum(after, 0))
    allowed = trees.named(mask)
    rows = []
    for name in sorted(params):  # the order of trees
        place = names.index(name)
        if f"{name}/kernel" not in allowed:
            continue
        kernel, before, after = params[name]["kernel"], activations[place], activations[place + 1]
        shape = np.shape(kernel)
        parts = [kernel, np.full(shape, np.linalg.norm(kernel))]
        for units, axis in ((before, 1), (after, 0)):
            for each in (units.max(axis=0), units.mean(axis=0)):
                parts.append(np.broadcast_to(np.expand_dims(each, axis), shape))
        rows.append(np.stack([np.ravel(part) for part in parts], axis=1))
    features = np.concatenate(rows)
    return np.stack([_scaled(column) for column in features.T], axis=1)


def check_mlp(params: Any) -> None:
    """Raise ValueError unless the parameters, or their shapes, are those of an mlp."""
    is_mlp = isinstance(params, Mapping) and all(
        name.startswith("Dense_") and len(np.shape(layer["kernel"])) == 2
        for name, layer in params.items()
    )
    if not is_mlp:
        raise ValueError("Meta-models of ten features need an mlp, such as lenet-300-100.")


def _scaled(values: np.ndarray) -> np.ndarray:
    span = np.ptp(values)
    return ((values - values.min()) / (span if span > 0 else 1)).astype(np.float32)
