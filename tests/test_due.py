"""`prune.due`: networks side by side compute a rare change of their masks in no other step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from jaxlth import masks, prune, trees
from jaxlth.prune.due import if_due

GENERATOR = np.random.default_rng(0)
PARAMS = [{"w": GENERATOR.normal(size=(6, 5)).astype("f"), "b": np.ones(5, "f")} for _ in range(3)]
GRADS = [jax.tree.map(np.cos, params) for params in PARAMS]
KEY = jax.random.key(0)
OFTEN = {"kind": "constant", "density": 0.4, "end": 12, "every": 3}
PRUNABLE = {"prunable": lambda name, _: name == "w"}
SPARSE = {
    "SET": {"schedule": prune.Schedule(**OFTEN), "growth": "random", "key": KEY},
    "RigL": {"schedule": prune.Schedule(**OFTEN), "growth": "gradient", "key": KEY},
    "gradual": {"schedule": prune.Schedule(density=0.4, end=12, every=3)},
    "layerwise": {"schedule": prune.Schedule(density=0.4, end=12, every=3), "scope": "layer"},
    "movement": {"schedule": prune.Schedule(density=0.4, end=12, every=3), "score": "movement"},
}


def optimizer(name):
    return prune.sparsify(optax.sgd(0.125), **SPARSE[name], **PRUNABLE)


def started(name, *steps):
    """Return parameters, gradients and states of networks that are at some steps."""
    states = []
    for params, step in zip(PARAMS, steps, strict=False):
        state = optimizer(name).init(params)
        states.append(state._replace(step=jnp.int32(step)))
    return list(zip(GRADS, states, PARAMS, strict=False))


def same(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


def always_computed(jaxpr):
    """Yield the names of what a program computes whatever its conditions are."""
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        if eqn.primitive.name != "cond":
            for inner in jaxprs_in_params(eqn.params):
                yield from always_computed(inner)


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("nested", [False, True])
def test_networks_side_by_side_select_no_weights_where_none_is_due(name, nested):
    update = jax.vmap(optimizer(name).update)
    arguments = trees.stack(started(name, 0, 1, 2))
    if nested:
        update = jax.vmap(update)
        arguments = jax.tree.map(lambda leaf: leaf[None], arguments)
    names = list(always_computed(jax.make_jaxpr(update)(*arguments).jaxpr))
    assert names.count("cond") == 1
    assert not {"while", "sort", "top_k", "random_bits", "threefry2x32"} & set(names)


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("steps", [(3, 3, 3), (3, 4, 9), (1, 2, 4)])
def test_networks_side_by_side_change_as_they_do_alone(name, steps):
    each = started(name, *steps)
    together = jax.jit(jax.vmap(optimizer(name).update))(*trees.stack(each))
    alone = jax.jit(optimizer(name).update)
    before = [arguments[1].mask["w"] for arguments in each]
    for place, arguments in enumerate(each):
        updates, state = jax.tree.map(lambda leaf, at=place: leaf[at], together)
        same((updates, state), alone(*arguments))
        due = steps[place] % 3 == 0
        assert bool(jnp.any(state.mask["w"] != before[place])) == due


@pytest.mark.parametrize("due", [True, False])
def test_networks_that_share_a_condition_all_change_or_none(due):
    mask = {"w": jnp.array([[True, True], [False, True]])}
    inverted = lambda mask: if_due(due, lambda: {"w": ~mask["w"]}, mask)  # noqa: E731
    same(jax.vmap(inverted)(mask), {"w": mask["w"] ^ due})


def test_a_mask_that_all_share_becomes_one_for_each():
    due, mask = jnp.array([True, False]), {"w": jnp.array([True, True]), "b": None}
    change = lambda: {"w": jnp.array([True, False]), "b": None}  # noqa: E731
    changed = jax.vmap(lambda due: if_due(due, change, mask))(due)
    assert changed["w"].tolist() == [[True, False], [True, True]]
    assert changed["b"] is None


def test_a_score_may_sum_over_the_axis_of_networks():
    def score(params, grads):
        return jax.tree.map(lambda leaf: jnp.abs(jax.lax.pmean(leaf, "networks")), params)

    schedule = prune.Schedule(density=0.4, kind="one-shot")
    shared = prune.sparsify(optax.sgd(0.1), schedule=schedule, score=score, **PRUNABLE)
    both = trees.stack(PARAMS[:2])
    update = jax.vmap(shared.update, axis_name="networks")
    _, state = update(both, jax.vmap(shared.init)(both), both)
    mean = jax.tree.map(lambda leaf: np.abs(leaf.mean(0)), both)
    expected = prune.global_topk(
        {"w": mean["w"], "b": None}, masks.dense(PARAMS[0], **PRUNABLE), keep=12
    )
    for place in range(2):
        assert state.mask["w"][place].tolist() == expected["w"].tolist()


def test_a_mask_of_another_structure_is_refused():
    structure = lambda values, mask: {"w": mask["w"]}  # noqa: E731
    lost = prune.sparsify(
        optax.sgd(0.1), schedule=SPARSE["gradual"]["schedule"], structure=structure, **PRUNABLE
    )
    params = {"w": PARAMS[0]["w"], "b": PARAMS[0]["b"]}
    with pytest.raises(TypeError, match="structure"):
        lost.update(params, lost.init(params), params)


@pytest.mark.parametrize("name", SPARSE)
def test_a_step_has_a_gradient(name):
    ((grads, state, params),) = started(name, 3)

    def moved(scale):
        scaled = jax.tree.map(lambda leaf: scale * leaf, grads)
        updates, after = optimizer(name).update(scaled, state, params)
        kept = masks.apply(optax.apply_updates(params, updates), after.mask)
        return jnp.sum(kept["w"] ** 2)

    one = jax.grad(moved)(1.0)
    several = jax.vmap(jax.grad(moved))(jnp.ones(2))
    np.testing.assert_allclose(several, [one, one], rtol=1e-6)
