"""Networks as graphs: categories, subnetworks, tasks, on nets made by hand and against networkx."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlth import graphs, masks, prune, scores
from jaxlth.graphs import CATEGORIES, Task, chains

MOONS_CIRCLES = [Task((0, 1), (0,)), Task((2, 3), (1,))]


def net(widths, edges, *, biases=None):
    """Return parameters and mask of a network of ones that keeps the edges (layer, from, to)."""
    params, mask = {}, {}
    for layer, (inputs, units) in enumerate(itertools.pairwise(widths)):
        kept = np.zeros((inputs, units), bool)
        for place, source, target in edges:
            if place == layer:
                kept[source, target] = True
        bias = np.zeros(units, np.float32)
        for unit, value in (biases or {}).get(layer + 1, {}).items():
            bias[unit] = value
        kernel = np.ones((inputs, units), np.float32)
        params[f"Dense_{layer}"] = {"kernel": kernel, "bias": bias}
        mask[f"Dense_{layer}"] = {"kernel": kept, "bias": None}
    return params, mask


def outputs(params, mask, inputs):
    """Return what the masked network gives, in NumPy."""
    masked = masks.apply(params, mask)
    names = sorted(masked)
    for name in names:
        inputs = inputs @ np.asarray(masked[name]["kernel"]) + masked[name]["bias"]
        inputs = np.maximum(inputs, 0) if name != names[-1] else inputs
    return inputs


def named(result):
    return [[CATEGORIES[unit] for unit in layer] for layer in result.units]


def test_each_category_in_a_network_of_three_layers():
    """Unit 0 is active, 1 leads nowhere, 2 comes from nowhere; the edges follow."""
    edges = [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 2, 0), (2, 0, 0)]
    categorized = graphs.categories(*net((2, 3, 1, 1), edges))
    assert named(categorized) == [
        ["active", "inactive"],
        ["active", "inactive", "zombie"],
        ["active"],
        ["active"],
    ]
    weights = [[CATEGORIES[weight] for weight in layer.ravel()] for layer in categorized.weights]
    assert weights[0] == ["active", "pruned", "pruned", "pruned", "inactive", "pruned"]
    assert weights[1] == ["active", "pruned", "zombie"]
    assert graphs.count(categorized.weights) == graphs.Count(
        pruned=5, inactive=1, zombie=1, active=3
    )


def test_a_unit_whose_only_way_out_is_cut_two_layers_later_is_inactive():
    edges = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 1), (2, 0, 0), (3, 0, 0)]
    categorized = graphs.categories(*net((1, 2, 2, 1, 1), edges))
    assert named(categorized)[1:3] == [["active", "inactive"], ["active", "inactive"]]


def test_what_leads_nowhere_is_inactive_even_if_nothing_leads_to_it():
    categorized = graphs.categories(*net((1, 2, 1), [(0, 0, 0), (1, 0, 0)]))
    assert named(categorized)[1] == ["active", "inactive"]


def test_an_output_that_no_input_reaches_is_a_zombie():
    categorized = graphs.categories(*net((1, 1, 2), [(0, 0, 0), (1, 0, 0)]))
    assert named(categorized)[-1] == ["active", "zombie"]


def test_a_zombie_changes_the_output_and_inactive_weights_change_no_bit():
    edges = [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 2, 0)]
    params, mask = net((2, 3, 1), edges, biases={1: {2: 0.5}})
    inputs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    before = outputs(params, mask, inputs)
    categorized = graphs.categories(params, mask)
    for category, changes in (("inactive", False), ("zombie", True)):
        without = {
            f"Dense_{place}": {"kernel": layer_mask["kernel"] & (of != CATEGORIES.index(category))}
            | {"bias": None}
            for place, (layer_mask, of) in enumerate(
                zip(mask.values(), categorized.weights, strict=True)
            )
        }
        assert masks.kept(without) < masks.kept(mask)
        assert (not np.array_equal(outputs(params, without, inputs), before)) == changes


@st.composite
def networks(draw):
    """Draw a sparse network of up to four layers."""
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    share = draw(st.floats(0.05, 0.9))
    edges = [
        (layer, source, target)
        for layer, (inputs, units) in enumerate(itertools.pairwise(widths))
        for source in range(inputs)
        for target in range(units)
        if random.random() < share
    ]
    return net(widths, edges)


@settings(deadline=None)
@given(networks())
def test_categories_are_those_of_paths_in_networkx(drawn):
    params, mask = drawn
    graph = graphs.network(params, mask)
    tiny.assert_categories(graph)


@settings(deadline=None)
@given(networks())
def test_components_are_those_of_networkx(drawn):
    params, mask = drawn
    components = graphs.components(graphs.categories(params, mask))
    parts = graphs.subnetworks(graphs.network(params, mask))
    assert components.number == len(parts)
    for number, part in enumerate(parts):
        units = {
            (layer, int(unit))
            for layer, of in enumerate(components.units)
            for unit in np.flatnonzero(of == number)
        }
        assert units == set(part.nodes)


@settings(deadline=None)
@given(networks())
def test_removing_inactive_weights_changes_no_output(drawn):
    params, mask = drawn
    categorized = graphs.categories(params, mask)
    less = {
        name: {"kernel": of["kernel"] & (weights != CATEGORIES.index("inactive")), "bias": None}
        for (name, of), weights in zip(mask.items(), categorized.weights, strict=True)
    }
    inputs = np.random.default_rng(1).normal(size=(5, categorized.units[0].size)).astype(np.float32)
    assert np.array_equal(outputs(params, less, inputs), outputs(params, mask, inputs))


def test_the_graph_has_weights_and_biases():
    params, mask = net((1, 1, 1), [(0, 0, 0)], biases={1: {0: 0.25}})
    params["Dense_0"]["kernel"][0, 0] = -2.0
    graph = graphs.network(params, mask)
    assert graph.edges[(0, 0), (1, 0)] == {"weight": -2.0, "category": "inactive"}
    assert graph.nodes[1, 0]["bias"] == 0.25
    assert "bias" not in graph.nodes[0, 0]
    assert graph.graph["widths"] == (1, 1, 1)


# Tasks.

APART = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 3, 1), (1, 0, 0), (1, 1, 1)]


@pytest.mark.parametrize(
    ("edges", "expected", "state"),
    [
        (APART, [[1, 0], [0, 1]], "separated"),
        ([*APART, (1, 0, 1)], [[1, 1]], "interconnected"),
        (APART[1:], [[0, 1], [0.5, 0]], "degraded"),
        ([edge for edge in APART if edge != (1, 0, 0)], [[0, 1]], "degraded"),
    ],
)
def test_the_state_of_a_network_follows_from_its_coverage(edges, expected, state):
    parts = graphs.subnetworks(graphs.network(*net((4, 2, 2), edges)))
    covered = graphs.coverage(parts, MOONS_CIRCLES)
    assert covered.tolist() == expected
    assert graphs.state(covered) == state


def test_by_outputs_a_network_may_lose_inputs_and_stay_separated():
    parts = graphs.subnetworks(graphs.network(*net((4, 2, 2), APART[1:])))
    assert graphs.state(graphs.coverage(parts, MOONS_CIRCLES, by="output")) == "separated"
    assert graphs.state(graphs.coverage(parts, MOONS_CIRCLES, by="input")) == "degraded"


def test_a_task_that_falls_apart_itself_is_still_separated():
    assert graphs.state(np.array([[1, 0], [0, 0.5], [0, 0.5]])) == "separated"
    assert graphs.state(np.array([[1, 0.5], [0, 0.5]])) == "interconnected"


def test_units_decide_for_a_task_from_either_side():
    edges = [*APART, (0, 0, 1)]  # the second hidden unit hears both tasks
    categorized = graphs.categories(*net((4, 2, 2), edges))
    by_inputs = graphs.degrees_of_separation(categorized, MOONS_CIRCLES, by="inputs")
    by_outputs = graphs.degrees_of_separation(categorized, MOONS_CIRCLES, by="outputs")
    assert by_inputs == [1.0, 0.5, 0.5]
    assert by_outputs == [0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "at least one task"),
        ([Task((), (0,))], "Task 0 has no inputs"),
        ([Task((0,), ())], "Task 0 has no outputs"),
        ([Task((0,), (0,)), Task((1,), (0,))], "Tasks 0 and 1 share the output 0"),
        ([Task((4,), (0,))], r"Task 0 has the input 4, but the network has 4: 0\.\.3"),
    ],
)
def test_tasks_that_cannot_be_are_named(tasks, message):
    parts = graphs.subnetworks(graphs.network(*net((4, 2, 2), APART)))
    with pytest.raises(ValueError, match=message):
        graphs.coverage(parts, tasks)


def test_networks_that_are_not_feed_forward_are_refused():
    kernel = {"a": np.ones((3, 1, 2)), "b": np.ones((2, 2))}
    with pytest.raises(ValueError, match="not feed-forward: 'a' has 3 dimensions"):
        graphs.categories(kernel, {"a": np.ones((3, 1, 2), bool), "b": None})
    chain = {"a": np.ones((2, 3)), "b": np.ones((2, 2))}
    with pytest.raises(ValueError, match="'a' has 3 units but 'b' has 2 inputs"):
        graphs.categories(chain, masks.dense(chain))
    with pytest.raises(ValueError, match="no kernel"):
        graphs.categories({"bias": np.ones(2)}, {"bias": None})


def test_layers_come_in_the_order_of_their_numbers():
    params = {f"Dense_{n}": {"kernel": np.ones((n + 1, n + 2))} for n in range(12)}
    layers = chains.layers(params, masks.dense(params))
    assert [layer.kernel.shape[0] for layer in layers] == list(range(1, 13))


# Network extension.

TABLE = {  # Burger 2024, Table 4.1: hidden widths and weights by level
    (4, 20, 2): (
        *(20, 29, 43, 64, 94, 138, 202, 297, 437, 643, 946, 1391, 2046, 3009, 4425, 6507, 9569),
        *(120, 174, 258, 384, 564, 828, 1212, 1782, 2622, 3858, 5676, 8346, 12276, 18054, 26550),
        *(39042, 57414),
    ),
    (4, 8, 8, 2): (
        *(8, 10, 13, 16, 20, 25, 31, 38, 47, 57, 70, 85, 104, 127, 154, 188, 229, 278, 337, 410),
        *(498, 604, 733, 890, 1080, 1310),
        *(112, 160, 247, 352, 520, 775, 1147, 1672, 2491, 3591, 5320, 7735, 11440, 16891, 24640),
        *(36472, 53815, 78952, 115591, 170560, 250992, 368440, 541687, 797440, 1172880, 1723960),
    ),
    (4, 4, 4, 4, 2): (
        *(6, 8, 10, 12, 15, 19, 23, 29, 35, 43, 52, 63, 77, 94, 114, 139, 169),
        *(108, 176, 260, 360, 540, 836, 1196, 1856, 2660, 3956, 5720, 8316, 12320, 18236, 26676),
        *(39476, 58136),
    ),
}


@pytest.mark.parametrize("base", TABLE, ids=str)
def test_extended_networks_are_those_of_the_table(base):
    expected = TABLE[base]
    # The table's level 0 of three hidden layers is the base extended twice already.
    levels, first = len(expected) // 2 - 1, 2 if base == (4, 4, 4, 4, 2) else 0
    shapes = prune.extension(base, levels=levels + first, rate=0.32)[first:]
    sizes = [sum(a * b for a, b in itertools.pairwise(shape)) for shape in shapes]
    assert [shape[1] for shape in shapes] + sizes == list(expected)
    assert all(len(set(shape[1:-1])) == 1 for shape in shapes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 2), 1, 0.5), "`shape` must have inputs, hidden layers and outputs"),
        (((4, 3, 2, 2), 1, 0.5), "hidden layers of one width"),
        (((4, 0, 2), 1, 0.5), "`shape` must be at least 1"),
        (((4, 3, 2), -1, 0.5), "`levels` must be at least 0"),
        (((4, 3, 2), 1, 1.0), "`rate` must lie"),
    ],
)
def test_what_cannot_be_extended_is_named(arguments, message):
    shape, levels, rate = arguments
    with pytest.raises(ValueError, match=message):
        prune.extension(shape, levels=levels, rate=rate)


# Compaction.


@st.composite
def drawn_weights(draw):
    """Draw a sparse network with random weights and biases."""
    params, mask = draw(networks())
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    params = {
        name: {
            part: random.normal(size=leaf.shape).astype(np.float32) for part, leaf in layer.items()
        }
        for name, layer in params.items()
    }
    return params, mask


@settings(deadline=None)
@given(drawn_weights(), st.booleans())
def test_a_compact_network_gives_the_same_outputs(drawn, fold):
    params, mask = drawn
    small = graphs.compact(params, mask, fold=fold)
    inputs = np.random.default_rng(1).normal(size=(5, len(params["Dense_0"]["kernel"])))
    whole = outputs(params, mask, inputs)
    result = outputs(small.params, small.mask, inputs[:, small.units[0]])
    np.testing.assert_allclose(result, whole, rtol=1e-4, atol=1e-5)
    assert masks.size(small.mask) <= masks.size(mask)


def test_a_layer_of_zombies_alone_is_folded_once():
    """The hidden layer keeps one unit, which must not add what the bias holds already."""
    params, mask = net((1, 1, 1), [(1, 0, 0)], biases={1: {0: 0.5}})
    small = graphs.compact(params, mask, fold=True)
    inputs = np.ones((1, 1), np.float32)
    assert outputs(small.params, small.mask, inputs) == outputs(params, mask, inputs) == 0.5


@settings(deadline=None)
@given(drawn_weights())
def test_what_is_left_after_folding_is_active_and_before_it_reaches_an_output(drawn):
    params, mask = drawn
    for fold, left in ((True, {"active"}), (False, {"active", "zombie"})):
        small = graphs.compact(params, mask, fold=fold)
        categorized = graphs.categories(small.params, small.mask)
        for units in categorized.units[:-1]:
            assert {CATEGORIES[unit] for unit in units} <= left or len(units) == 1


@settings(deadline=None)
@given(drawn_weights())
def test_a_network_expanded_again_is_the_masked_one(drawn):
    params, mask = drawn
    small = graphs.compact(params, mask, fold=False)
    full = graphs.expand(small.params, params, mask, small.units)
    masked = masks.apply(params, mask)
    for name, layer in full.items():
        for part, leaf in layer.items():
            np.testing.assert_array_equal(leaf, masked[name][part])


def test_training_compact_or_masked_is_the_same():
    random = np.random.default_rng(3)
    widths = (6, 8, 8, 2)
    params = {
        f"Dense_{n}": {
            "kernel": random.normal(size=shape).astype(np.float32) / 2,
            "bias": random.normal(size=shape[1]).astype(np.float32) / 4,
        }
        for n, shape in enumerate(itertools.pairwise(widths))
    }
    weight_scores = scores.random(params, key=jax.random.key(0))
    mask = jax.device_get(prune.global_topk(weight_scores, masks.dense(params), keep=14))
    units = graphs.count(graphs.categories(params, mask).units)
    assert units.inactive > 0
    assert units.zombie > 0
    inputs = random.normal(size=(32, 6)).astype(np.float32)
    targets = random.normal(size=(32, 2)).astype(np.float32)

    def loss(params, mask, inputs):
        hidden = inputs
        masked = masks.apply(params, mask)
        for n in range(3):
            layer = masked[f"Dense_{n}"]
            hidden = hidden @ layer["kernel"] + layer["bias"]
            hidden = jax.nn.relu(hidden) if n < 2 else hidden
        return jnp.mean((hidden - targets) ** 2)

    def trained(params, mask, inputs):
        def step(_, params):
            grads = jax.grad(loss)(params, mask, inputs)
            return jax.tree.map(lambda w, g: w - 0.1 * g, params, grads)

        return jax.device_get(jax.lax.fori_loop(0, 100, step, masks.apply(params, mask)))

    small = graphs.compact(params, mask, fold=False)
    whole = trained(params, mask, inputs)
    part = trained(small.params, small.mask, inputs[:, small.units[0]])
    assert float(loss(whole, mask, inputs)) < 0.9 * float(loss(params, mask, inputs))
    full = graphs.expand(part, masks.apply(params, mask), mask, small.units)
    for name, layer in full.items():
        for kind, leaf in layer.items():
            np.testing.assert_allclose(leaf, whole[name][kind], rtol=1e-4, atol=1e-5)


def test_a_zombie_without_a_bias_to_go_to_is_refused():
    params, mask = net((1, 2, 1), [(0, 0, 0), (1, 0, 0), (1, 1, 0)], biases={1: {1: 0.5}})
    del params["Dense_1"]["bias"], mask["Dense_1"]["bias"]
    with pytest.raises(ValueError, match="'Dense_1/kernel' has no bias"):
        graphs.compact(params, mask, fold=True)


@pytest.mark.parametrize("shapes", [{"w1": (0, 4), "w2": (4, 2)}, {"w1": (3, 0), "w2": (0, 2)}])
@pytest.mark.parametrize("wiring", [None, [[((0,), "w1")], [((1,), "w2")]]])
def test_a_layer_without_units_is_refused_and_named(shapes, wiring):
    params = {name: np.ones(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match="at least one unit to at least one; 'w1' is"):
        graphs.categories(params, masks.dense(params), wiring)


def test_a_network_and_a_mask_in_other_containers_name_the_leaf():
    with pytest.raises(ValueError, match="leaf '0' is a list in `params` but a tuple in `mask`"):
        graphs.categories([np.ones((2, 2))], (np.ones((2, 2), bool),))
