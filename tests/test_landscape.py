"""Lines between networks and distances of networks, on trees of any kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxlth import landscape, masks
from jaxlth.data import Dataset, Split, normalize
from jaxlth.training import evaluation


def trees(seed):
    """Return a tree of two kernels, a bias, and a counter."""
    random = np.random.default_rng(seed)
    kernels = [random.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4, 2))]
    return {"in": {"kernel": kernels[0], "bias": random.normal(size=4)}, "out": kernels[1], "n": 3}


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


@pytest.fixture(scope="module")
def pair():
    """Two networks for the tiny data, their model and the data."""
    model = tiny.model(8)
    return model, tiny.dataset(), tiny.network(model, 0), tiny.network(model, 1)


def error_fn(model, data):
    """Return network -> error on the test split."""

    def error(network):
        inputs = normalize(jnp.asarray(data.test.images), data.mean, data.std)
        logits, _ = model.apply(network, inputs, False)
        return jnp.mean(jnp.argmax(logits, -1) != data.test.labels)

    return error


def test_the_ends_of_a_line_are_its_networks_to_the_bit():
    a, b = trees(0), trees(1)
    tiny.assert_same(landscape.interpolate(a, b, 0.0), jax.tree.map(jnp.asarray, a))
    tiny.assert_same(landscape.interpolate(a, b, 1.0), jax.tree.map(jnp.asarray, b))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.7])
def test_a_point_is_the_weighted_mean_and_equal_weights_stay(alpha):
    a, b = trees(0), trees(1)
    point = landscape.interpolate(a, b, alpha)
    np.testing.assert_allclose(flat(point), (1 - alpha) * flat(a) + alpha * flat(b), atol=1e-6)
    tiny.assert_same(landscape.interpolate(a, a, alpha), jax.tree.map(jnp.asarray, a))


def test_what_is_pruned_in_both_stays_pruned():
    a, b = trees(0), trees(1)
    mask = tiny.half(a)
    a, b = masks.apply(a, mask), masks.apply(b, mask)
    for alpha in landscape.alphas(30):
        point = landscape.interpolate(a, b, alpha)
        tiny.assert_same(point, masks.apply(point, mask))


def test_the_errors_of_a_line_agree_with_numpy(pair):
    model, data, a, b = pair
    errors = landscape.errors_along(error_fn(model, data), a, b, points=7)
    images = (data.test.images.reshape(12, -1) - data.mean) / data.std
    for alpha, error in zip(np.linspace(0, 1, 7), errors, strict=True):
        weights = [
            (1 - alpha) * np.asarray(x, np.float64) + alpha * np.asarray(y, np.float64)
            for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
        ]
        hidden = np.maximum(images @ weights[1] + weights[0], 0)
        classes = (hidden @ weights[3] + weights[2]).argmax(1)
        assert float(error) == pytest.approx(np.mean(classes != data.test.labels))


@pytest.mark.parametrize("batch_size", [None, 1, 4, 7, 30])
def test_side_by_side_gives_the_same_errors(pair, batch_size):
    model, data, a, b = pair
    along = {"points": 7, "batch_size": batch_size}
    errors = landscape.errors_along(error_fn(model, data), a, b, **along)
    jitted = jax.jit(lambda a, b: landscape.errors_along(error_fn(model, data), a, b, **along))
    one_by_one = [
        error_fn(model, data)(landscape.interpolate(a, b, alpha)) for alpha in landscape.alphas(7)
    ]
    np.testing.assert_allclose(errors, np.array(one_by_one), atol=1e-6)
    np.testing.assert_allclose(jitted(a, b), errors, atol=1e-6)


def test_a_network_has_no_barrier_with_itself(pair):
    model, data, a, _ = pair
    assert float(landscape.barrier(landscape.errors_along(error_fn(model, data), a, a))) == 0.0


def test_the_barrier_of_a_quadratic_is_the_closed_form():
    """Of 1 - w.w from a to b: the best of the curve is where w is nearest to 0."""
    a, b = jnp.array([0.6, 0.0]), jnp.array([0.0, 0.6])
    errors = landscape.errors_along(lambda w: 1 - jnp.sum(w * w), a, b, points=101)
    # At the middle |w|^2 = 0.18, at the ends 0.36.
    assert float(landscape.barrier(errors)) == pytest.approx(0.18, abs=1e-6)


def test_a_barrier_counts_from_the_mean_of_ends_and_never_below_zero():
    assert float(landscape.barrier(jnp.array([0.5, 0.1, 0.3]))) == pytest.approx(0.1)
    assert float(landscape.barrier(jnp.array([0.2, 0.1, 0.2]))) == 0.0


def trained(model, data, *, steps):
    """Return a network trained by full-batch gradient descent."""

    def loss(network):
        inputs = normalize(jnp.asarray(data.train.images), data.mean, data.std)
        logits, _ = model.apply(network, inputs, False)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(logits)), data.train.labels])

    def step(_, network):
        return jax.tree.map(lambda w, g: w - 0.3 * g, network, jax.grad(loss)(network))

    return jax.jit(lambda network: jax.lax.fori_loop(0, steps, step, network))(tiny.network(model))


def quadrants(count, *, seed):
    """Return points whose label says in which pair of opposite quadrants they lie."""
    images = np.random.default_rng(seed).normal(size=(count, 2, 2, 1)).astype(np.float32)
    return Split(images, (images[:, 0, 0, 0] * images[:, 0, 1, 0] > 0).astype(np.int32))


def test_a_permuted_copy_is_as_good_and_lies_beyond_a_barrier():
    model = tiny.model(16)
    mean_std = np.zeros(1, np.float32), np.ones(1, np.float32)
    data = Dataset(quadrants(400, seed=0), None, quadrants(400, seed=1), *mean_std)
    network = trained(model, data, steps=1500)
    order = np.random.default_rng(0).permutation(16)
    first, last = network.params["Dense_0"], network.params["Dense_1"]
    permuted = network._replace(
        params={
            "Dense_0": {"kernel": first["kernel"][:, order], "bias": first["bias"][order]},
            "Dense_1": {"kernel": last["kernel"][order], "bias": last["bias"]},
        }
    )
    errors = landscape.errors_along(error_fn(model, data), network, permuted)
    assert float(errors[0]) == pytest.approx(float(errors[-1]), abs=1e-6)
    assert float(errors[0]) < 0.1
    assert float(landscape.barrier(errors)) > 0.1


def test_the_average_is_the_mean_and_that_of_one_is_itself():
    a, b, c = (trees(seed) for seed in range(3))
    mean = flat(landscape.average([a, b, c]))
    np.testing.assert_allclose(mean, (flat(a) + flat(b) + flat(c)) / 3, atol=1e-6)
    np.testing.assert_allclose(flat(landscape.average([a])), flat(a), atol=1e-6)


def test_distances_agree_with_numpy():
    a, b = trees(0), trees(1)
    x, y = flat(a), flat(b)
    assert float(landscape.l2_distance(a, b)) == pytest.approx(np.linalg.norm(x - y), rel=1e-5)
    cosine = 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert float(landscape.cosine_distance(a, b)) == pytest.approx(cosine, rel=1e-4)
    assert float(landscape.l2_distance(a, a)) == float(landscape.cosine_distance(a, a)) == 0.0


@pytest.mark.parametrize("jit", [lambda function: function, jax.jit])
def test_opposite_networks_are_at_distance_2_and_no_further(jit):
    distance = jit(landscape.cosine_distance)
    for seed in range(20):
        weights = jax.random.normal(jax.random.key(seed), (7, 11))
        opposite = float(distance({"w": weights}, {"w": -3.3 * weights}))
        assert 2 - 1e-5 < opposite <= 2


def test_small_angles_keep_their_digits():
    a = {"w": np.ones(1000, np.float32)}
    b = {"w": a["w"] + np.where(np.arange(1000) % 2, 1e-5, -1e-5).astype(np.float32)}
    assert float(landscape.cosine_distance(a, b)) == pytest.approx(5e-11, rel=0.1)


def test_distances_under_a_mask_are_those_of_masked_weights():
    a, b = trees(0), trees(1)
    mask = tiny.half(a)
    for distance in (landscape.l2_distance, landscape.cosine_distance):
        measured = distance(a, b, mask=mask)
        masked = distance(masks.apply(a, mask), masks.apply(b, mask))
        assert float(measured) == float(masked) != float(distance(a, b))


def test_sums_over_batches_are_the_distances_of_outputs(pair):
    model, data, a, b = pair
    mask, mean_std = masks.dense(a.params), (data.mean, data.std)
    differences = evaluation.disagreement(
        evaluation.Classifier(model, normalize), (a, b), mask, data.test, mean_std
    )
    inputs = normalize(jnp.asarray(data.test.images), data.mean, data.std)
    logits = [model.apply(network, inputs, False)[0] for network in (a, b)]
    losses = [-jax.nn.log_softmax(each)[jnp.arange(len(each)), data.test.labels] for each in logits]
    assert int(differences.classes) == int(landscape.classification_differences(*logits)) > 0
    assert float(differences.losses) ** 0.5 == pytest.approx(
        float(landscape.loss_l2_distance(*losses))
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: landscape.alphas(1), r"`points` must be at least 2, .*; got 1\."),
        (lambda: landscape.errors_along(jnp.sum, 0.0, 1.0, points=1), "`points` must be at least"),
        (
            lambda: landscape.errors_along(jnp.sum, 0.0, 1.0, batch_size=0),
            "`batch_size` must be at",
        ),
        (lambda: landscape.barrier(jnp.zeros(1)), r"`errors` must be of shape \(points,\)"),
        (lambda: landscape.interpolate({"w": 0.0}, {"v": 0.0}, 0.5), "'w'|'v'"),
        (lambda: landscape.l2_distance(jnp.zeros(2), jnp.zeros(3)), "has shape"),
        (lambda: landscape.average([]), "at least one tree"),
        (lambda: landscape.loss_l2_distance(jnp.zeros(2), jnp.zeros(3)), "one shape"),
        (lambda: landscape.classification_differences(jnp.zeros(2), jnp.zeros(2)), "one shape"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


FLOATS = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64]


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_infinities_in_both_stay_and_ends_are_kept_to_the_bit(kind, alpha):
    a = {"w": jnp.array([0.0, -np.inf, np.inf, -0.0, 1.0, np.nan, -np.inf]).astype(kind)}
    b = {"w": jnp.array([0.0, -np.inf, np.inf, 1.0, np.inf, 2.0, np.inf]).astype(kind)}
    point = np.asarray(landscape.interpolate(a, b, alpha)["w"])
    assert point.dtype == kind
    if alpha in (0, 1):
        assert point.tobytes() == np.asarray((a, b)[int(alpha)]["w"]).tobytes()
    np.testing.assert_array_equal(point[:3], np.asarray(a["w"][:3]))
    if 0 < alpha < 1:
        assert np.isinf(point[4])
        assert np.isnan(point[5:]).all()  # no number lies between


@pytest.mark.parametrize("kind", FLOATS)
def test_between_finite_ends_all_is_finite(kind):
    most = jnp.finfo(kind).max
    low, high = jnp.array([-most], kind), jnp.array([most], kind)
    expected = [float(most) * part for part in (-1, -0.5, 0, 0.5, 1)]
    result = [landscape.interpolate(low, high, alpha)[0].real for alpha in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_allclose(np.array(result, float), expected, rtol=1e-2)


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
def test_narrow_types_are_rounded_once(kind):
    x, y = (np.random.default_rng(seed).normal(size=99).astype(kind) for seed in (0, 1))
    at = landscape.alphas(30)[7]
    exact = (1 - float(at)) * x.astype(float) + float(at) * y.astype(float)
    result = np.asarray(landscape.interpolate(x, y, at)).astype(float)
    # Half a unit in the last place, and the rounding of float32.
    np.testing.assert_allclose(
        result, exact, rtol=float(jnp.finfo(kind).eps) / 2 * 1.001, atol=1e-7
    )


@pytest.mark.parametrize("kind", [jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_lines_of_float8_are_those_of_float32_rounded_once(kind):
    a, b = (np.random.default_rng(seed).normal(size=99).astype(kind) for seed in (0, 1))
    a[:2], b[0] = [-0.0, 0.0], -0.0
    wide = a.astype(np.float32), b.astype(np.float32)
    for alpha in (0.0, 0.25, 0.9, 1.0):
        point = np.asarray(landscape.interpolate(a, b, alpha))
        assert point.dtype == kind
        assert point.tobytes() == landscape.interpolate(*wide, alpha).astype(kind).tobytes()
    mean = landscape.average([a, b])
    assert mean.tobytes() == landscape.average(wide).astype(kind).tobytes()


def test_lines_of_float32_have_the_bits_that_they_had():
    x, y = (np.random.default_rng(seed).normal(size=999).astype(np.float32) for seed in (0, 1))
    for at in landscape.alphas(7)[1:-1]:
        old = jax.jit(
            lambda x, y, at: jnp.where(at < 0.5, x + at * (y - x), y - (1 - at) * (y - x))
        )
        new = jax.jit(landscape.interpolate)
        np.testing.assert_array_equal(new(x, y, at), old(x, y, at))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_gradients_along_a_line_are_the_weights_of_its_ends_where_both_are_equal_too(alpha):
    ends = jnp.array([0.0, 2.0]), jnp.array([0.0, 5.0])
    by_a, by_b = jax.grad(lambda a, b: jnp.sum(landscape.interpolate(a, b, alpha)), (0, 1))(*ends)
    assert (by_a.tolist(), by_b.tolist()) == ([1 - alpha] * 2, [alpha] * 2)


def test_an_average_of_large_numbers_is_finite():
    most = float(jnp.finfo(jnp.float32).max)
    mean = landscape.average([{"w": np.array([most, np.inf], np.float32)}] * 3)["w"]
    np.testing.assert_allclose(mean, [most, np.inf], rtol=1e-6)


def test_a_barrier_of_large_float16_errors_is_never_negative():
    assert float(landscape.barrier(jnp.array([6e4, 6e4, 6e4], jnp.float16))) == 0


def test_distances_are_computed_in_float64_where_numbers_are():
    with jax.enable_x64(True):
        a, b = {"w": jnp.array([1.0, 1.0])}, {"w": jnp.array([1.0, 1.0 + 1e-12])}
        assert landscape.l2_distance(a, b).dtype == jnp.float64
        assert float(landscape.l2_distance(a, b)) == pytest.approx(1e-12, rel=1e-3)
        assert float(landscape.cosine_distance(a, b)) == pytest.approx(0.25e-24 / 2, rel=1e-3)
        losses = landscape.loss_l2_distance(a["w"], b["w"])
        assert float(losses) == pytest.approx(1e-12, rel=1e-3)
        single = {"w": jnp.ones(2, jnp.float32)}
        assert landscape.l2_distance(single, single).dtype == jnp.float32


def test_distances_of_complex_weights_are_those_of_two_real_ones():
    a, b = {"w": jnp.array([3 + 4j, 1j])}, {"w": jnp.array([0j, 1.0])}
    real = [{"w": jnp.stack([p["w"].real, p["w"].imag])} for p in (a, b)]
    for distance in (landscape.l2_distance, landscape.cosine_distance):
        assert float(distance(a, b)) == pytest.approx(float(distance(*real)), rel=1e-6)
    assert float(landscape.l2_distance(a, b)) == pytest.approx(27**0.5)


def test_distances_of_whole_numbers_are_exact_before_they_are_rounded():
    a, b = {"n": jnp.array([2**24 + 1, -(2**31)])}, {"n": jnp.array([2**24, 2**31 - 1])}
    assert float(landscape.l2_distance(a, b)) == pytest.approx(2**32, rel=1e-6)
    a, b = {"n": jnp.array([2**24 + 1])}, {"n": jnp.array([2**24])}
    assert float(landscape.l2_distance(a, b)) == 1
    small, large = {"n": np.array([3], np.uint8)}, {"n": np.array([5], np.uint8)}
    assert float(landscape.l2_distance(small, large)) == 2


def test_distances_do_not_overflow_nor_vanish_and_equal_infinities_are_at_none():
    a, b = {"w": np.array([3e38, -np.inf, 0.0])}, {"w": np.array([0.0, -np.inf, 3e38])}
    with np.errstate(all="ignore"):
        assert float(landscape.l2_distance(a, a)) == 0
    assert float(landscape.l2_distance({"w": np.array([np.inf])}, {"w": np.ones(1)})) == np.inf
    a, b = {"w": np.full(4, 3e38)}, {"w": np.array([3e38, 3e38, 3e38, -3e38])}
    assert float(landscape.cosine_distance(a, b)) == pytest.approx(0.5, rel=1e-5)
    for scale in (1e-30, 1.0, 1e30):
        losses = np.array([3.0, 0.0]) * scale, np.array([0.0, 4.0]) * scale
        assert float(landscape.loss_l2_distance(*losses)) == pytest.approx(5 * scale, rel=1e-5)
    losses = jnp.array([300.0, 0.0], jnp.float16), jnp.array([0.0, 400.0], jnp.float16)
    assert float(landscape.loss_l2_distance(*losses)) == 500


@pytest.mark.parametrize("jit", [lambda function: function, jax.jit])
@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [1e-30, 1.0, 8e37, 9e37, 2e38])
def test_distances_of_numbers_near_the_end_of_float32_are_right(size, kind, jit):
    a, b = jnp.full(2, size, kind), jnp.zeros(2, kind)
    right = pytest.approx(2**0.5 * float(a[0]), rel=1e-6)
    assert float(jit(landscape.l2_distance)({"w": a}, {"w": b})) == right
    assert float(jit(landscape.loss_l2_distance)(a, b)) == right


def test_leaves_without_elements_change_nothing():
    a, b = ({"w": np.full(2, x), "e": np.ones((0, 3))} for x in (1.0, 2.0))
    assert landscape.interpolate(a, b, 0.5)["w"].tolist() == [1.5, 1.5]
    assert landscape.average([a, b])["e"].shape == (0, 3)
    assert float(landscape.l2_distance(a, b)) == pytest.approx(2**0.5)
    assert float(landscape.l2_distance({}, {})) == 0
    assert landscape.errors_along(lambda w: jnp.mean(w["w"]), a, b, points=3).tolist() == [
        1,
        1.5,
        2,
    ]


def test_lines_and_distances_of_other_containers_name_the_leaf():
    for function in (landscape.l2_distance, lambda a, b: landscape.interpolate(a, b, 0.5)):
        with pytest.raises(ValueError, match="leaf 'w/0' is a list in `a` but a tuple in `b`"):
            function({"w": [1.0]}, {"w": (1.0,)})


@pytest.mark.parametrize("value", [2.5, 3.0, "3", True, [3], np.array([3]), np.float32(3)])
def test_counts_of_points_and_networks_are_whole_numbers(value):
    with pytest.raises(TypeError, match="`points` must be a whole number; got"):
        landscape.alphas(value)
    with pytest.raises(TypeError, match="`points` must be a whole number; got"):
        landscape.errors_along(jnp.abs, jnp.array(0.0), jnp.array(1.0), points=value)
    with pytest.raises(TypeError, match="`batch_size` must be a whole number; got"):
        landscape.errors_along(jnp.abs, jnp.array(0.0), jnp.array(1.0), points=3, batch_size=value)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, jnp.int32])
def test_whole_numbers_of_any_type_count_points_and_networks(kind):
    assert landscape.alphas(kind(3)).tolist() == [0, 0.5, 1]
    ends = jnp.array(0.0), jnp.array(1.0)
    errors = landscape.errors_along(jnp.abs, *ends, points=kind(3), batch_size=kind(2))
    assert errors.tolist() == [0, 0.5, 1]
