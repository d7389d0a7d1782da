"""The study of dynamic sparse training: counts, masks that move, costs, resuming."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from figure_checks import faults
from flax import linen as nn
from matplotlib.colors import to_hex
from tiny import only_run, printed, same, times

from jaxlth import cli, masks, prune, scores, store, studies
from jaxlth.models import ModelConfig
from jaxlth.studies import run_info
from jaxlth.studies.dynamic import artifacts, charts, cost, networks, report
from jaxlth.studies.dynamic import run as dynamic
from jaxlth.studies.dynamic.config import METHODS, SPARSE, DynamicConfig
from jaxlth.studies.dynamic.networks import DynamicNetworks
from jaxlth.studies.lab import Lab
from jaxlth.training import TrainingConfig, optimizers

TINY = ["dynamic", "--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
TINY += ["--update-every", "4", "--train-examples", "100", "--replicates", "2"]
TINY += ["--prune-fraction", "0.5", "--density", "0.3", "0.1"]


def config(**fields):
    model = ModelConfig(name="mlp", hidden=(8,))
    training = TrainingConfig(steps=20, batch_size=50, train_examples=100)
    given = {"model": model, "training": training, "update_every": 4}
    return DynamicConfig(**given | fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of a run of all methods."""
    out = tmp_path_factory.mktemp("runs")
    printed(*TINY, "--out", out)
    return out


def test_a_sparse_network_keeps_its_count_and_pruned_weights_are_0(whole):
    run = only_run(whole)
    for name, record in run.records():
        if not name.startswith("density_0."):
            continue
        density = float(name.split("/")[0].removeprefix("density_"))
        mask, network = (run.load(name, tree) for tree in ("mask", "network"))
        assert record["kept"] == int(masks.kept(mask)) == round(density * record["prunable"])
        for kernel, keep in zip(jax.tree.leaves(mask), _kernels(network), strict=True):
            assert not np.any(np.where(kernel, 0, keep)), name


def _kernels(network):
    return [leaf["kernel"] for _, leaf in sorted(network["params"].items())]


def test_every_method_density_and_replicate_has_a_network(whole):
    run, expected = only_run(whole), config(densities=(0.3, 0.1), replicates=2)
    names = {name for name, record in run.records() if not record.get("link", True)}
    assert names == set(artifacts.networks(expected))
    assert {record["control"] for _, record in run.records() if "control" in record} == {
        "dense",
        *METHODS,
    }


def test_the_total_of_the_progress_counts_networks_on_the_way_from_the_first_line_on(
    tmp_path, capfd
):
    words = [*TINY[:-3], "--density", "0.3", "--replicates", "1"]
    assert cli.main([*tiny.once(words), "--out", str(tmp_path)]) == 0
    told = re.findall(r"(\d+)/(\d+) networks", capfd.readouterr().err)
    assert {total for _, total in told} == {str(len(told_by(tmp_path)))}
    assert told[-1][0] == told[-1][1]


def told_by(out):
    """Return the networks that a run trained and did not only pass by."""
    return [name for name, record in only_run(out).records() if "control" in record]


def test_masks_of_set_and_rigl_move_and_that_of_static_stays(whole, tmp_path):
    run = only_run(whole)
    load = {m: run.load(artifacts.network(0.1, m, 0), "mask") for m in SPARSE}
    with store.open_run(tmp_path, config(), job="none", label="none") as empty:
        networks = DynamicNetworks(Lab(dynamic.prepare(config()), empty))
    first = networks._first_mask(0.1, 1.0, 0)
    assert same(load["static"], first)
    assert not same(load["set"], first)
    assert not same(load["rigl"], first)
    assert not same(load["set"], load["rigl"])
    other = run.load(artifacts.network(0.1, "static", 1), "mask")
    assert not same(load["static"], other)  # each replicate has its own
    for mask in load.values():  # layers keep their counts
        assert masks.layer_densities(mask) == masks.layer_densities(first)


def test_rigl_of_the_study_is_a_plain_loop_of_sparsify(whole):
    """The same steps, in a loop without the library's trainer."""
    run = only_run(whole)
    experiment = dynamic.prepare(config())
    trainer = experiment.compile_training().trainer
    lab = Lab(experiment, run)
    dataset, network = experiment.device_data.dataset, lab.init(0)
    optimizer = prune.sparsify(
        experiment._optimizer(optimizers.schedule(config().optimizer, steps=20)),
        schedule=prune.Schedule(density=0.1, kind="constant", every=4, end=15),
        scope="erdos-renyi-kernel",
        growth="gradient",
        key=lab.key("dynamic mask", 0),
    )
    opt = optimizer.init(network.params)
    params = masks.apply(network.params, prune.current_mask(opt))
    order = trainer.draw_epoch(dataset, lab.key("order", 0), jnp.int32(0)).order

    def loss(params, images, labels):
        inputs = experiment._normalized(images)
        outputs, _ = experiment.prunable.model.apply(network._replace(params=params), inputs, True)
        return jnp.mean(experiment.objective.per_example(outputs, labels))

    @jax.jit
    def one_step(params, opt, step, images, labels):
        grads = jax.grad(loss)(params, images, labels)
        updates, opt = optimizer.update(grads, opt, params, step=step, value=0.0)
        return jax.tree.map(jnp.add, params, updates), opt

    for step in range(20):
        rows = np.asarray(order)[step * 50 : step * 50 + 50]
        batch = dataset.train.images[rows], dataset.train.labels[rows]
        params, opt = one_step(params, opt, np.int32(step), *batch)
    stored = artifacts.network(0.1, "rigl", 0)
    assert same(run.load(stored, "mask"), prune.current_mask(opt))
    for a, b in zip(
        _kernels(run.load(stored, "network")), _kernels({"params": params}), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_levels_of_imp_are_nested_and_end_at_the_densities(whole):
    run = only_run(whole)
    names = ["level_01", "density_0.3", "level_03", "level_04", "density_0.1"]
    chain = [run.load(f"{name}/imp/replicate_0", "mask") for name in names]
    kept = [int(masks.kept(mask)) for mask in chain]
    size = masks.size(chain[0])
    assert kept == [round(d * size) for d in (0.5, 0.3, 0.25, 0.125, 0.1)]
    for before, after in ((0, 1), (0, 2), (2, 3), (3, 4)):
        both = jax.tree.map(np.logical_and, chain[before], chain[after])
        assert same(both, chain[after])


def test_dynamic_imp_is_algorithm_5(whole):
    """Masks are the largest weights of dense networks that trained through the same phase."""
    run = only_run(whole)
    lab = Lab(dynamic.prepare(config()), run)
    dense = lab.load(artifacts.phase(0.1, 1, "dense", 0))
    keep = round(0.1 * masks.size(lab.dense_mask))
    largest = prune.global_topk(scores.magnitude(dense.params), lab.dense_mask, keep=keep)
    last = artifacts.network(0.1, "dynamic-imp", 0)
    assert same(lab.load_mask(last), largest)
    assert run.record(last)["start_step"] == 10
    first = lab.load_mask(artifacts.phase(0.1, 0, "sparse", 0))
    of_step = lab.load(artifacts.state(10, 0)).params
    assert same(first, prune.global_topk(scores.magnitude(of_step), lab.dense_mask, keep=keep))


def test_costs_are_counted_by_hand(whole):
    run = only_run(whole)
    sizes = {"Dense_0/kernel": 64 * 8, "Dense_1/kernel": 8 * 10}  # one multiplication a weight
    experiment = dynamic.prepare(config())
    assert cost.multiplications(experiment) == sizes
    size = sum(sizes.values())

    def flops(name):
        return run.record(name)["flops"]

    kept = round(0.1 * size) / size
    static, rigl, moved, tickets = (artifacts.network(0.1, m, 0) for m in METHODS if m != "set")
    assert flops(artifacts.dense(0)) == 1
    assert flops(static) == pytest.approx(kept)
    assert flops(artifacts.network(0.1, "set", 0)) == pytest.approx(kept)
    due = 4  # of 20 steps: 0, 4, 8, 12; up to 15
    assert flops(rigl) == pytest.approx(((20 - due) * kept + due * (2 * kept + 1) / 3) / 20)
    assert flops(moved) == pytest.approx(1 + kept)
    shares = [round(d * size) / size for d in (1, 0.5, 0.25, 0.125)]
    assert flops(tickets) == pytest.approx(sum(shares) + kept)


def test_each_phase_of_dynamic_imp_costs_what_its_own_mask_multiplies_by(tmp_path):
    """Weights of a convolution cost more than others, so the costs of masks of one size differ."""
    words = "dynamic --model conv-2 --steps 10 --batch-size 20 --train-examples 100 --replicates 1"
    words += " --methods dynamic-imp --density 0.2 --changes 0.2 0.7"
    printed(*words.split(), "--out", tmp_path)
    run = only_run(tmp_path)
    training = TrainingConfig(steps=10, batch_size=20, train_examples=100)
    lab = Lab(dynamic.prepare(config(model=ModelConfig(name="conv-2"), training=training)), run)
    counts = cost.multiplications(lab.experiment)
    names = [artifacts.phase(0.2, number, "sparse", 0) for number in (0, 1)]
    names.append(artifacts.network(0.2, "dynamic-imp", 0))
    shares = [cost.share(lab.load_mask(name), counts) for name in names]
    assert len(set(shares)) == 3
    cumulated = np.cumsum([part * (1 + s) for part, s in zip((0.2, 0.5, 0.3), shares, strict=True)])
    costs = [run.record(name)["flops"] for name in names]
    np.testing.assert_allclose(costs, cumulated, rtol=1e-12)
    of_dense = run.record(artifacts.phase(0.2, 1, "dense", 0))["flops"]
    assert of_dense == pytest.approx(costs[0] + 0.5)


def test_a_convolution_multiplies_at_every_pixel():
    big = config()
    big = dataclasses.replace(big, model=ModelConfig(name="conv-2"))
    counts = cost.multiplications(dynamic.prepare(big))
    assert counts is not None
    assert counts["Conv1_1/kernel"] == 9 * 1 * 64 * 8 * 8  # digits have 8 x 8 pixels
    assert counts["Conv1_2/kernel"] == 9 * 64 * 64 * 8 * 8
    assert counts["Dense_0/kernel"] == 4 * 4 * 64 * 256


def test_multiplications_of_a_scan_are_those_of_all_its_steps():
    def apply(params, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params["w"])[0]

    params = {"w": jnp.ones((5, 3, 3))}
    assert scores.multiplications(apply, params, jnp.ones((2, 3))) == {"w": 5 * 2 * 9}


@pytest.mark.parametrize(
    ("shape", "side", "stride", "counted"),
    [
        ((4, 4, 4), 4, 4, 4 * 4 * 4 * 4 * 4 * 3),  # a weight meets each pixel once, if padded
        ((8, 8, 3), 3, 2, 8 * 8 * 3 * 3 * 3 * 3),
        ((8, 8, 3), 3, 1, 8 * 8 * 3 * 3 * 3 * 3),
    ],
)
def test_zeros_between_pixels_of_a_transposed_convolution_do_not_count(
    shape, side, stride, counted
):
    up = nn.ConvTranspose(3, (side, side), strides=(stride, stride))
    inputs = jnp.ones((1, *shape))
    params = up.init(jax.random.key(0), inputs)["params"]

    def apply(params, inputs):
        return up.apply({"params": params}, inputs)

    assert scores.multiplications(apply, params, inputs)["kernel"] == counted


def test_a_finished_run_trains_nothing_again_and_more_extends_it(tmp_path):
    words = [*TINY[:-3], "--density", "0.3", "--out", tmp_path, "--methods"]
    printed(*words, "set", "imp")
    before = times(tmp_path)
    printed(*words, "set", "imp")
    assert times(tmp_path) == before
    printed(*words, "set", "rigl", "imp", "--lengths", "1", "2")
    after = times(tmp_path)
    assert before.items() < after.items()
    assert sum("rigl-2x" in str(path) for path in after) == 2


def test_an_interrupted_training_goes_on_to_the_same_bits_with_its_mask(tmp_path):
    """The optimizer's state holds the mask, and so does a checkpoint."""
    settings = config(densities=(0.1,), methods=("rigl",), replicates=1)
    often = dataclasses.replace(settings.training, evaluate_every=5)
    settings = dataclasses.replace(settings, training=often)
    experiment = dynamic.prepare(settings)
    name = artifacts.network(0.1, "rigl", 0)
    for folder, cut in (("whole", False), ("cut", True)):
        with store.open_run(tmp_path / folder, settings, job="dynamic", label="x") as run:
            lab = Lab(experiment, run, checkpoint_seconds=0.0)
            events = dynamic.dynamic(lab, settings)
            for event in events:
                if cut and event.artifacts == (name,) and 0 < event.step < 20:
                    with pytest.raises(KeyboardInterrupt):
                        events.throw(KeyboardInterrupt)
                    break
            if cut:
                assert run.latest_step(name, {"parts": ""}) is not None
                for _ in dynamic.dynamic(Lab(experiment, run), settings):
                    pass
    runs = [only_run(tmp_path / folder) for folder in ("whole", "cut")]
    for tree in ("network", "mask"):
        assert same(*(run.load(name, tree) for run in runs))


def test_replicates_side_by_side_are_those_one_by_one(whole, tmp_path):
    """Under vmap each has its own mask and its own random stream of growth."""
    settings = config(densities=(0.1,), methods=("set",), replicates=2)
    experiment = dynamic.prepare(settings)
    with store.open_run(tmp_path, settings, job="none", label="none") as empty:
        networks = DynamicNetworks(Lab(experiment, empty))
    training = networks.compile_sparse("set", 0.1, 1.0)
    states, keys, dense = [], [], experiment.prunable.dense
    for replicate in range(2):
        request = networks.request_sparse("set", "set", 0.1, 1.0, replicate)
        state = training.trainer.start(*request.start())
        states.append(state._replace(opt=request.first_opt(state.opt)))
        keys.append(request.key)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    advance = jax.jit(jax.vmap(training.trainer.advance, in_axes=(0, None, None, 0, None, None)))
    data = experiment.device_data.dataset
    ends = advance(stacked, dense, data, jnp.stack(keys), 0, 20)
    for replicate in range(2):
        stored = only_run(whole).load(artifacts.network(0.1, "set", replicate), "mask")
        moved = jax.tree.map(lambda leaf, r=replicate: leaf[r], prune.current_mask(ends.opt))
        assert same(stored, moved)


def test_tickets_and_trained_networks_are_found_by_density_and_method(whole):
    results = studies.open(only_run(whole).path)
    for method in METHODS:
        ticket = results.ticket(density=0.1, method=method, replicate=1)
        trained = results.trained(density=0.1, method=method, replicate=1)
        assert masks.kept(ticket.mask) == round(0.1 * masks.size(ticket.mask))
        dead = jax.tree.map(np.logical_not, ticket.mask)
        assert not any(map(np.any, jax.tree.leaves(_under(trained.params, dead))))
    for kind in ("accuracy", "flops", "layers", "units", "overlap"):
        assert results.plot(kind).axes
    assert "imp" in results.summary()


def test_the_report_page_has_accuracy_by_density_and_by_cost(whole):
    path = only_run(whole).path
    frame = run_info.results(path)
    by_density, by_cost = charts.charts(frame, store.curves([path]), path)
    titles = [f"Test accuracy by {name}" for name in ("density", "cost")]
    assert [by_density.title, by_cost.title] == titles
    rows = report.summary(frame, tolerance=0.002)
    assert {line.name for line in by_cost.lines} == {*METHODS, "dense"}
    looks = {line.name: (line.color, line.marker, line.dash) for line in by_density.lines}
    assert looks == {line.name: (line.color, line.marker, line.dash) for line in by_cost.lines}
    for line in by_cost.lines[:-1]:
        of_method = rows[rows["control"] == line.name].sort_values("flops")
        for column, name, scale in (("x", "flops", 1), ("y", "mean", 100), ("high", "max", 100)):
            assert line.points[column].tolist() == pytest.approx((scale * of_method[name]).tolist())
        told = [f"{100 * density:g} % of the weights" for density in of_method["density"]]
        assert all(map(str.__contains__, line.points["hover"], told))
    dense = 100 * rows.loc[rows["control"] == "dense", "mean"].item()
    assert by_cost.lines[-1].points["y"].tolist() == pytest.approx([dense, dense])


def test_a_method_has_one_colour_in_all_figures_and_on_the_report_page(whole):
    path = only_run(whole).path
    results, colors = studies.open(path), {method: set() for method in METHODS}
    for kind in ("accuracy", "train-accuracy", "layers", "units", "flops"):
        lines = {line.get_label(): line for line in results.plot(kind).axes[0].get_lines()}
        for method, of_method in colors.items():
            of_method.add(to_hex(lines[method].get_color()))
    for chart in charts.charts(run_info.results(path), results.curves(), path):
        for line in chart.lines:
            colors.get(line.name, set()).add(to_hex(line.color))
    assert all(len(of_method) == 1 for of_method in colors.values())
    assert len(set.union(*colors.values())) == len(METHODS)


def test_without_known_costs_the_report_page_has_no_chart_of_them(whole):
    frame = run_info.results(only_run(whole).path)
    assert charts.by_cost(frame.assign(flops=None)) == []
    with pytest.raises(ValueError, match="no ticket yet whose cost is known"):
        report.flops(frame.assign(flops=None), whole)
    with pytest.raises(ValueError, match="whose training did not diverge"):
        report.flops(frame.assign(nan_step=3), whole)


def test_the_table_tests_against_imp_where_it_is_there(whole):
    path = only_run(whole).path
    frame = run_info.results(path)
    for rows in (frame, frame[frame["control"] != "imp"]):
        table = report.summarize(rows, path, tolerance=0.01, width=80).table
        has_imp = "imp" in set(rows["control"])
        assert ("Welch" in str(table.caption)) == has_imp
        assert ("p" in [column.header for column in table.columns]) == has_imp
    fewer = frame[(frame["control"] != "set") | (frame["replicate"] == 0)]
    table = report.summarize(fewer, path, tolerance=0.01, width=80).table
    assert "mean of 1 to 2 replicates and range." in str(table.caption)


def test_ticks_of_costs_are_numbers_that_do_not_touch(whole):
    frame = run_info.results(only_run(whole).path)
    for spread in (1, 3):
        figure = report.flops(frame.assign(flops=frame["flops"].astype(float) ** spread), whole)
        assert faults(figure) == []


def _under(params, mask):
    return [
        w[keep] for w, keep in zip(_kernels({"params": params}), jax.tree.leaves(mask), strict=True)
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ("rigl", "rigl")}, "`methods`"),
        ({"methods": ("ringl",)}, "`methods` has no value"),
        ({"changes": (0.5, 0.2)}, "`changes` must rise"),
        ({"initial_mask": "a.npz"}, "`initial_mask` a.npz has no effect on dynamic"),
        ({"update_fraction": 1.5}, "`update_fraction`"),
        ({"lengths": (0.0,)}, "`lengths`"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_settings_that_nothing_reads_are_refused():
    for fields in ({"changes": (0.2,)}, {"distribution": "uniform"}, {"lengths": (2.0,)}):
        asked = DynamicConfig(methods=("imp",), **fields)
        with pytest.raises(ValueError, match="has no effect on the methods imp"):
            asked.check_effects()


def test_changes_outside_the_training_are_refused():
    with pytest.raises(ValueError, match="`changes` must be different steps within the 20"):
        dynamic.prepare(config(changes=(0.01,)))
    with pytest.raises(ValueError, match="`rewind_step`"):
        dynamic.prepare(config(rewind_step=20))


@pytest.mark.parametrize("density", [0.64, 0.512, 0.4096])
def test_a_density_that_rounding_alone_tells_from_a_level_of_imp_is_that_level(density):
    """0.8 * 0.8 is 0.6400000000000001."""
    config = DynamicConfig(densities=(density, 0.35))
    levels = networks.between(config)
    assert levels == pytest.approx([0.8, 0.64, 0.512, 0.4096])
    assert density in levels
