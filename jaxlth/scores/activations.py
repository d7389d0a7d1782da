"""Scores by the activations that weights multiply, and how many multiplications that takes.

The network is not changed and may be anybody's: `jaxlth.scores.products` finds the products.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees
from jaxlth.scores import products
from jaxlth.scores.gradients import ApplyFn


def wanda(apply_fn: ApplyFn, params: Any, mask: masks.Mask, inputs: Any) -> Any:
    """Return |w| * ||x||, x the activations that the weight is multiplied by.

    The norm is over all examples, and over the tokens or pixels at which the weight is used, in
    float32 at least. It is of the network as masked. A weight that is scaled before, as by weight
    normalisation, counts as what it becomes. Weights that are pruned, or never pruned, get 0. Wanda
    prunes by them within each unit: `prune.per_unit_topk`. Works under jit and vmap.

    Args:
      apply_fn: (params, inputs) -> outputs of any kind: of a linen module `lambda p, x:
        module.apply({"params": p}, x)`, of an nnx one `lambda p, x: nnx.merge(graphdef, p)(x)`.
      params: its parameters.
      mask: what is kept so far.
      inputs: of some examples, as `apply_fn` takes them.

    Returns:
      A tree like `params`.

    Raises:
      ValueError: there is no example; or a prunable tensor multiplies no activations, or is changed
        before it does: only products of matrices and convolutions count, not those within
        `lax.while_loop`, `lax.cond` or kernels of Pallas; a weight may be moved, scaled by what is
        none, and shifted by what does not change with it, as its mean would. Or the trees do not
        fit.

    Example:
      >>> params = {"w": jnp.array([[1.0, -1.0], [2.0, 3.0]])}
      >>> inputs = jnp.array([[3.0, 0.0], [4.0, 1.0]])
      >>> wanda(lambda p, x: x @ p["w"], params, masks.dense(params), inputs)["w"].tolist()
      [[5.0, 5.0], [2.0, 3.0]]

    References:
      Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models, equation
      1.
    """
    trees.check_numbers(params, name="params")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if not shapes or any(0 in shape for shape in shapes):
        raise ValueError(f"`inputs` must hold examples; got arrays of shapes {shapes}.")
    masked = masks.apply(params, mask)
    leaves, named_mask = jax.tree.leaves(masked), trees.named(mask)
    names = trees.names(params)
    prunable = [place for place, name in enumerate(names) if name in named_mask]
    total, used = products.total_of_squares(apply_fn, masked, inputs)
    shadows = {place: products.shadow_of(leaves[place]) for place in prunable}
    squares = jax.grad(lambda shadows: total(leaves, shadows))(shadows)
    for place in prunable:
        if np.size(leaves[place]) and place not in used.shadows - used.changed:
            raise ValueError(
                f"Leaf {names[place]!r} multiplies no activations, as it is or scaled, in a "
                "product of matrices or a convolution, or is shifted by what changes with it, such "
                "as its mean; leave it out with `masks.without`."
            )

    def score(place: int, leaf: jax.Array) -> jax.Array:
        values = jnp.abs(trees.at_least_float32(leaf))
        if place not in squares:
            return jnp.zeros_like(values)
        return jnp.where(named_mask[names[place]], values * jnp.sqrt(squares[place]), 0)

    return jax.tree.unflatten(
        jax.tree.structure(masked), list(map(score, range(len(leaves)), leaves))
    )


def multiplications(apply_fn: ApplyFn, params: Any, inputs: Any) -> dict[str, int]:
    """Return how many multiplications by the weights of each tensor a forward pass makes.

    Products of matrices and convolutions count, as in `wanda`; products with padding count too. A
    backward pass makes twice as many. Nothing is computed: shapes do.

    Args:
      apply_fn: (params, inputs) -> outputs of any kind.
      params: its parameters, or their shapes as `jax.ShapeDtypeStruct`.
      inputs: of one or more examples, or their shapes likewise.

    Returns:
      The count for each leaf of `params` that multiplies activations, by name.

    Example:
      >>> multiplications(lambda p, x: x @ p["w"], {"w": jnp.ones((3, 2))}, jnp.ones((5, 3)))
      {'w': 30}
    """
    leaves, names = jax.tree.leaves(params), trees.names(params)
    total, used = products.total_of_squares(apply_fn, params, inputs)
    jax.eval_shape(lambda leaves: total(leaves, {}), leaves)
    return {name: used.counts[place] for place, name in enumerate(names) if place in used.counts}
