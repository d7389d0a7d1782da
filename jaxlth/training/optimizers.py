"""Optimisers and learning-rate schedules, by name.

The rate follows the training step, handed to `update` as `step=`, and not the optimiser's own
count: rewinding starts a fresh optimiser in the middle of a schedule. Optax mixes types, in Adam
and in its schedules: it computes under JAX's standard promotion here, whatever a user has set.
Anybody's optimisers are in `jaxlth.training.transformations`.
"""

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from jaxlth import masks, settings, trees
from jaxlth.process import code
from jaxlth.settings import ranges

Schedule = Callable[[jax.Array], jax.Array]  # step () int32 -> learning rate () float32


# What each optimiser does to a gradient before the learning rate and, coupled or not, the decay.
RULES: dict[str, Callable[["OptimizerConfig"], optax.GradientTransformation]] = {
    "sgd": lambda config: optax.identity(),
    "momentum": lambda config: optax.trace(config.momentum),
    "nesterov": lambda config: optax.trace(config.momentum, nesterov=True),
    "adam": lambda config: optax.scale_by_adam(),
    "adamw": lambda config: optax.scale_by_adam(),
}

SCHEDULES = ("constant", "milestones", "linear", "cosine", "one-cycle")
CONSTANT = "on a constant learning rate without warmup"  # where some settings have no effect


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimiser, its learning rate and how that changes in training."""

    optimizer: Annotated[str, ranges.OneOf(RULES, others=code.is_own)] = "adam"
    """Optimiser: sgd, momentum, nesterov, adam or adamw; or FILE.py:NAME, a transformation of optax
    with its learning rate, or a function that returns one."""
    lr: Annotated[float, ranges.above(0, single=True)] = 1.2e-3
    """Learning rate, at its highest."""
    momentum: Annotated[float, ranges.between(0, 1, ends="[)", single=True)] = 0.9
    """Momentum of momentum and nesterov, in [0, 1)."""
    weight_decay: Annotated[float, ranges.at_least(0, single=True)] = 0.0
    """Weight decay per unit of learning rate: added to the gradient, or decoupled for adamw."""
    l1: Annotated[float, ranges.at_least(0, single=True), settings.RARE] = 0.0
    """Factor of the sum of the magnitudes of all weights, biases and norms aside, in the loss."""
    schedule: Annotated[str, tyro.conf.arg(name="lr-schedule"), ranges.OneOf(SCHEDULES)] = (
        "constant"
    )
    """Learning rate over training: constant, milestones, linear, cosine, or one-cycle (it rises to
    --lr and falls again, both as a half cosine)."""
    milestones: Annotated[tuple[float, ...], ranges.Range()] = ()
    """When the schedule milestones drops the rate, in the unit of the training's length."""
    drop: Annotated[float, ranges.between(0, 1, ends="(]", single=True), settings.RARE] = 0.1
    """Factor of the rate at each milestone, in (0, 1]."""
    final_lr: Annotated[float, ranges.at_least(0, single=True), settings.RARE] = 0.0
    """Learning rate at the end of the schedules linear, cosine and one-cycle."""
    rise: Annotated[float, ranges.between(0, 1, single=True), settings.RARE] = 0.3
    """Share of the training in which one-cycle raises the rate, in (0, 1)."""
    rise_from: Annotated[float, ranges.between(0, 1, ends="[]", single=True), settings.RARE] = 0.04
    """Rate at the beginning of one-cycle, as a share of --lr."""
    warmup: Annotated[float, ranges.at_least(0)] = 0.0
    """Length of a linear warmup from 0 to --lr, in the unit of the training's length."""
    cycles: Annotated[
        int, ranges.at_least(1, most=1000, why="each has a beginning"), settings.RARE
    ] = 1
    """Times that the schedule runs in a training, warmup included, each in an equal part of the
    steps (cyclic training); milestones and warmup count from the beginning of each part."""

    @property
    def is_own(self) -> bool:
        """Whether the optimizer is none of the library's: given in Python, or FILE.py:NAME."""
        return code.is_own(self.optimizer)

    def __post_init__(self) -> None:
        settings.check_fields(self)
        if self.is_own:
            self._check_own()
            return
        settings.require(
            0 <= self.final_lr <= self.lr,
            f"`final_lr` must lie between 0 and `lr` ({self.lr}); got {self.final_lr}.",
        )
        settings.require(
            bool(self.milestones) == (self.schedule == "milestones"),
            f"`milestones` and the schedule milestones go together; got the schedule "
            f"{self.schedule} with milestones {list(self.milestones)}.",
        )
        settings.require(
            [0, *self.milestones] == sorted({0, *self.milestones}),
            f"`milestones` must be above 0 and increase; got {list(self.milestones)}.",
        )
        # A setting without effect would give the same results another name.
        self._belongs("momentum", self.optimizer, ("momentum", "nesterov"))
        self._belongs("drop", self.schedule, ("milestones",))
        self._belongs("final_lr", self.schedule, ("linear", "cosine", "one-cycle"))
        self._belongs("rise", self.schedule, ("one-cycle",))
        self._belongs("rise_from", self.schedule, ("one-cycle",))
        settings.effective(self, "cycles", self.varies, CONSTANT)

    def _check_own(self) -> None:
        """Raise ValueError where a field is given that a user's own optimiser does not read."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            settings.require(
                field.name == "optimizer" or value == field.default,
                f"`{field.name}` {value} belongs to the library's optimizers; {self.optimizer} has "
                "its own.",
            )

    @property
    def varies(self) -> bool:
        """Whether the learning rate changes in training, as far as settings say."""
        return self.schedule != "constant" or self.warmup > 0

    def _belongs(self, name: str, kind: str, owners: tuple[str, ...]) -> None:
        """Raise ValueError where a setting is given that `kind` does not read."""
        settings.require(
            kind in owners or getattr(self, name) == getattr(type(self), name),
            f"`{name}` belongs to {' and '.join(owners)} and has no effect on {kind}.",
        )


def schedule(
    config: OptimizerConfig,
    *,
    steps: int,
    milestones: tuple[int, ...] = (),
    warmup: int = 0,
    start: int = 0,
) -> Schedule:
    """Return the learning rate as a function of the training step.

    Args:
      config: kind of schedule and its rates; its own milestones and warmup are not read.
      steps: length of training in steps.
      milestones: steps of the drops, from the beginning of each cycle.
      warmup: steps of linear warmup, from lr / warmup at step 0, likewise.
      start: step at which the schedule begins. It runs as a whole in the steps that remain:
        milestones and warmup are shortened as the training is.

    Example:
      >>> rate = schedule(OptimizerConfig(lr=0.5, schedule="linear"), steps=10)
      >>> float(rate(5))
      0.25
      >>> rate = schedule(OptimizerConfig(lr=0.5, schedule="linear"), steps=10, start=4)
      >>> float(rate(4)), float(rate(7))
      (0.5, 0.25)

    References:
      Smith and Topin 2017, Super-Convergence, section 3, for one cycle, in the form and with the
      numbers of `optax.cosine_onecycle_schedule`; Gadhikar et al. 2024, Cyclic Sparse Training: Is
      it Enough?, for cycles.
    """
    share = (steps - start) / steps
    cycle = _cycle(
        config,
        steps=math.ceil((steps - start) / config.cycles),
        milestones=tuple(round(share * milestone) for milestone in milestones),
        warmup=round(share * warmup),
    )
    if start == 0 and config.cycles == 1:
        return cycle
    starts = [start + (steps - start) * at // config.cycles for at in range(config.cycles)]

    def rate(step: jax.Array) -> jax.Array:
        begun, step = jnp.asarray(starts, jnp.int32), jnp.asarray(step, jnp.int32)
        at = jnp.searchsorted(begun, step, side="right") - 1
        return cycle(step - begun[jnp.maximum(at, 0)])

    return rate


def _cycle(
    config: OptimizerConfig, *, steps: int, milestones: tuple[int, ...], warmup: int
) -> Schedule:
    """Return the learning rate of a single run of the schedule; see `schedule`."""
    kinds: dict[str, optax.Schedule] = {
        "constant": optax.constant_schedule(config.lr),
        "milestones": optax.piecewise_constant_schedule(
            # Counted, for a short dilation brings milestones together in one step.
            config.lr,
            {step: config.drop**drops for step, drops in collections.Counter(milestones).items()},
        ),
        "linear": optax.linear_schedule(config.lr, config.final_lr, steps),
        "cosine": optax.cosine_decay_schedule(config.lr, steps, config.final_lr / config.lr),
        "one-cycle": _one_cycle(config, steps),
    }
    after = kinds[config.schedule]

    def rate(step: jax.Array) -> jax.Array:
        # The first step is not wasted on a rate of 0. Drops count from step 0, as published.
        # In float32 under x64 too, or the rate would round in another way there.
        with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
            ramp = jnp.minimum(1.0, (jnp.asarray(step) + 1) / max(1, warmup))
            return jnp.asarray(after(step) * ramp, jnp.float32)

    return rate


def _one_cycle(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return the rate that rises to `lr` and falls to `final_lr`, both as a half cosine."""
    top, first = max(1, int(config.rise * steps)), config.rise_from * config.lr
    rise = optax.cosine_decay_schedule(1.0, top)  # from 1 to 0
    fall = optax.cosine_decay_schedule(config.lr, max(1, steps - top), config.final_lr / config.lr)
    return optax.join_schedules(
        [lambda step: config.lr - (config.lr - first) * rise(step), fall], [top]
    )


def constant_at(rate: Schedule, *, at: int) -> Schedule:
    """Return the constant schedule of the rate at a step, for fine-tuning."""
    return lambda step: rate(jnp.asarray(at, jnp.int32))


def build(config: OptimizerConfig, rate: Schedule) -> optax.GradientTransformationExtraArgs:
    """Return an optimiser whose `update` takes `step=`, at which `rate` is read.

    Weights that are zero and have zero gradients stay exactly zero under every optimiser here.
    """
    rule = RULES[config.optimizer](config)
    if config.l1:
        rule = optax.chain(_l1_gradient(config.l1), rule)
    if config.weight_decay:
        decay = optax.add_decayed_weights(config.weight_decay)
        decoupled = config.optimizer == "adamw"
        rule = optax.chain(rule, decay) if decoupled else optax.chain(decay, rule)

    def update(grads, state, params=None, *, step, **_unused):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = rule.update(grads, state, params)
        scale = -rate(step)
        return jax.tree.map(lambda update: scale.astype(update.dtype) * update, updates), state

    return optax.GradientTransformationExtraArgs(rule.init, update)


def masked_state(state: optax.OptState, mask: masks.Mask) -> optax.OptState:
    """Return an optimiser's state in which what belongs to pruned weights is 0, in NumPy.

    A leaf belongs to the weights whose name ends its own, such as "mu/Dense_0/kernel", if it has
    their shape; others, such as sums over rows, stay as they are.

    Example:
      >>> state = optax.TraceState({"kernel": np.array([3.0, 4.0])})
      >>> masked_state(state, {"kernel": np.array([True, False])})
      TraceState(trace={'kernel': array([3., 0.])})
    """
    keeps = dict(jax.tree_util.tree_leaves_with_path(mask))

    def masked(path: Any, leaf: Any) -> Any:
        endings = (keeps.get(path[at:]) for at in range(len(path) + 1))
        keep = next((keep for keep in endings if keep is not None), None)
        if keep is None or np.shape(keep) != np.shape(leaf):
            return leaf
        return np.where(keep, leaf, 0).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(masked, state)


def _l1_gradient(factor: float) -> optax.GradientTransformation:
    """Return the transformation that adds the gradient of factor * |w|, which is 0 at 0."""

    def added(path: Any, grad: jax.Array, w: jax.Array) -> jax.Array:
        return grad + factor * jnp.sign(w) if masks.is_kernel(trees.name(path), w) else grad

    return optax.stateless(
        lambda grads, params: jax.tree_util.tree_map_with_path(added, grads, params)
    )
