"""A network whose parameters are scores, and the mask that they stand for."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlth import keys, masks, settings, trees
from jaxlth.models import Model, Network
from jaxlth.supermasks import masking
from jaxlth.supermasks.config import SupermaskConfig, SupermaskRule
from jaxlth.trees import roles


class Frozen(NamedTuple):
    """What a supermask carries beside its scores, in place of batch statistics."""

    weights: masks.Params  # of the network within; they never change
    stats: Any  # its batch statistics
    key: jax.Array  # (2,) uint32, of the masks drawn
    passes: jax.Array  # () int32, forward passes in training so far
    active: masks.Mask | None  # what gem-miner has not frozen out; None for other methods


def wrap(
    model: Model,
    config: SupermaskConfig,
    *,
    steps: int | None = None,
    prunable: Callable[[masks.Params], masks.Mask] = masks.dense,
) -> Model:
    """Return the network that learns which weights of `model` to keep.

    Its parameters are {"scores": tree like the parameters of `model`, `None` where nothing is
    pruned}. Its weights, a `Frozen` in place of the batch statistics, are those that `model` draws
    from the same key, as the settings change them; biases are 0, scales of norms are 1. Nothing of
    them changes in training but batch statistics.

    Args:
      model: the network within.
      config: how its masks are made, and of what weights.
      steps: length of training in steps, over which gem-miner freezes weights out; others need
        none.
      prunable: parameters -> the mask that keeps all weights that have a score.

    Raises:
      ValueError: gem-miner has no `steps`, or too few for its prunings. `init` raises where the
        density keeps no weight of a layer, or none at all.
    """
    _check_kinds(model, config)
    if config.method == "gem-miner":
        settings.require(
            steps is not None and steps > config.prunings,
            f"`steps` must be above the number of `prunings`, {config.prunings}; got {steps}.",
        )

    def init(key: jax.Array) -> Network:
        within = frozen_network(model, config, key=key, prunable=prunable)
        dense = prunable(within.params)
        settings.require(masks.size(dense) > 0, "`prunable` must keep a weight; it keeps none.")
        masking.check_density(config, dense)
        scores = masking.initial(
            config, masks.prunable(within.params, dense), key=keys.substream(key, "scores")
        )
        frozen = Frozen(
            weights=within.params,
            stats=within.stats,
            key=jax.random.bits(keys.substream(key, "supermask"), (2,), jnp.uint32),
            passes=jnp.zeros((), jnp.int32),
            active=dense if config.method == "gem-miner" else None,
        )
        return Network({"scores": scores}, frozen)

    def begin_step(network: Network) -> tuple[Network, Frozen]:
        """Return the network within, masked for a step of training, and what goes on."""
        scores, frozen = network.params["scores"], network.stats
        if frozen.active is not None:
            active = masking.frozen_out(
                config,
                scores,
                frozen.active,
                step=frozen.passes,
                steps=steps or 0,
                key=_mask_key(frozen),
            )
            frozen = frozen._replace(active=active)
        mask = masking.kept(config, scores, frozen.active, key=_mask_key(frozen))
        soft = masking.soft(config, scores, frozen.active)
        parts = jax.tree.map(masking.straight, mask, soft)
        params = masking.scaled(frozen.weights, parts, rescale=config.rescale)
        return Network(params, frozen.stats), frozen._replace(passes=frozen.passes + 1)

    def apply(network: Network, inputs: jax.Array, train: bool) -> tuple[jax.Array, Frozen]:
        within, frozen = (
            begin_step(network) if train else (_at_test(network, config), network.stats)
        )
        logits, stats = model.apply(within, inputs, train)
        return logits, frozen._replace(stats=stats)

    def noisy(network: Network, inputs: Any, key: jax.Array) -> tuple[jax.Array, Frozen]:
        assert model.noisy is not None
        within, frozen = begin_step(network)
        logits, stats = model.noisy(within, inputs, key)
        return logits, frozen._replace(stats=stats)

    def auxiliary(network: Network, inputs: jax.Array) -> tuple[jax.Array, jax.Array, Frozen]:
        assert model.auxiliary is not None
        within, frozen = begin_step(network)
        logits, aux_logits, stats = model.auxiliary(within, inputs)
        return logits, aux_logits, frozen._replace(stats=stats)

    return Model(
        init=init,
        apply=apply,
        noisy=noisy if model.noisy else None,
        auxiliary=auxiliary if model.auxiliary else None,
        shared=lambda frozen, mean: frozen._replace(stats=model.shared(frozen.stats, mean)),
        convolutional=model.convolutional,
    )


def _check_kinds(model: Any, config: Any) -> None:
    settings.check_kind("model", model, isinstance(model, Model), "a `models.Model`")
    settings.check_kind(
        "config",
        config,
        isinstance(config, SupermaskRule),
        "a `SupermaskConfig`, such as SupermaskConfig(method='edge-popup')",
    )


def frozen_network(
    model: Model,
    config: SupermaskConfig,
    *,
    key: jax.Array,
    prunable: Callable[[masks.Params], masks.Mask] = masks.dense,
) -> Network:
    """Return the network with the frozen weights: drawn by the model, changed by the settings.

    Args:
      model: the network within.
      config: its settings, of which the weights count.
      key: of the draw.
      prunable: parameters -> the mask that keeps all weights that have a score.
    """
    _check_kinds(model, config)
    network = model.init(key)
    return network._replace(params=_freeze(network.params, prunable(network.params), config))


def mask_of(network: Network, config: SupermaskConfig) -> masks.Mask:
    """Return the mask of a supermask, an ordinary one of the network within.

    It is the mask that evaluations see; of bernoulli, where they take expectations, what is kept
    with a probability above 1/2. For edge-popup the density is exact in each layer; gem-miner keeps
    at most its density at the end of training, and exactly that with `restore`.

    Args:
      network: of the supermask.
      config: its settings.
    """
    scores, frozen = network.params["scores"], network.stats
    if config.at_test == "expected":
        return jax.tree.map(lambda score: score > 0, scores)
    if config.method == "gem-miner" and config.restore:
        return frozen.active
    return masking.kept(config, scores, frozen.active, key=_mask_key(frozen, "test"))


def weights(network: Network, config: SupermaskConfig) -> masks.Params:
    """Return the parameters of the network within, scaled as they are used under `mask_of`.

    Args:
      network: of the supermask.
      config: its settings.
    """
    return rescaled(network.stats.weights, mask_of(network, config), config)


def rescaled(params: masks.Params, mask: masks.Mask, config: SupermaskConfig) -> masks.Params:
    """Return parameters as they are used under a mask: each layer scaled, if set, by `rescale`.

    Args:
      params: of the network within.
      mask: what it keeps.
      config: settings of the supermask.
    """
    if not config.rescale:
        return params
    masks.check(params, mask, name="params")
    return jax.tree.map(
        lambda w, keep: w if keep is None else w * masking.factor(keep), params, mask
    )


def inner(network: Network, config: SupermaskConfig) -> Network:
    """Return the network within, to be trained or evaluated under `mask_of`.

    Args:
      network: of the supermask.
      config: its settings.
    """
    return Network(weights(network, config), network.stats.stats)


def optimizer(
    config: SupermaskConfig, rule: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Return the optimiser of a supermask's scores: for gem-miner they are kept within [0, 1].

    Args:
      config: settings of the supermask; its penalties enter the gradient before the rule.
      rule: any optimiser, such as `optimizers.build` gives.
    """
    rule = optax.with_extra_args_support(rule)
    if config.method != "gem-miner":
        return rule

    def with_penalty(grad: jax.Array, score: jax.Array) -> jax.Array:
        return grad + config.l1 * jnp.sign(score) + 2 * config.l2_factor * score

    def update(grads, state, params=None, **extra):
        updates, state = rule.update(
            jax.tree.map(with_penalty, grads, params), state, params, **extra
        )
        return jax.tree.map(lambda s, step: jnp.clip(s + step, 0, 1) - s, params, updates), state

    return optax.GradientTransformationExtraArgs(rule.init, update)


def _freeze(params: masks.Params, mask: masks.Mask, config: SupermaskConfig) -> masks.Params:
    """Return the frozen weights, made from the drawn ones."""
    named, frozen = trees.named(params), trees.named(mask)
    inputs = masking.fan_ins(
        {name: w for name, w in named.items() if name in frozen or masks.is_kernel(name, w)}
    )

    def frozen_leaf(path: tuple[Any, ...], w: jax.Array, keep: jax.Array | None) -> jax.Array:
        name = trees.name(path)
        if keep is None and not masks.is_kernel(name, w):
            constants = {"bias": jnp.zeros_like, "scale": jnp.ones_like}
            return constants.get(roles.role(name) or "", jnp.asarray)(w)
        if config.weights.endswith("signed-constant"):
            # As Zhou et al. 2019.
            w = jnp.where(w < 0, -1, 1) * jnp.sqrt(jnp.mean(jnp.square(w)))
        if config.weights.endswith("kaiming-constant"):
            # As Ramanujan et al. 2020: what deviates of a sample is not in it.
            w = jnp.where(w < 0, -1, 1).astype(w.dtype) * math.sqrt(2 / inputs[name])
        if keep is not None and config.density and config.weights.startswith("scaled"):
            w = w / math.sqrt(config.density)
        return w

    return jax.tree_util.tree_map_with_path(frozen_leaf, params, mask)


def _mask_key(frozen: Frozen, purpose: str = "train") -> jax.Array:
    """Return the key of the masks drawn after so many passes."""
    key = jax.random.wrap_key_data(frozen.key, impl="threefry2x32")
    return keys.fold(keys.substream(key, purpose), frozen.passes)


def _at_test(network: Network, config: SupermaskConfig) -> Network:
    """Return the network within as evaluations see it."""
    scores, frozen = network.params["scores"], network.stats
    if config.at_test == "expected":
        soft = masking.soft(config, scores, None)
        return Network(masking.scaled(frozen.weights, soft, rescale=config.rescale), frozen.stats)
    return Network(masks.apply(weights(network, config), mask_of(network, config)), frozen.stats)
