"""What became of networks with several tasks: tables by hand, what figures and drawings show."""

import contextlib
import io
import itertools
import math
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import separation_outcomes as outcomes
from matplotlib.colors import to_hex
from rich.console import Console

from jaxlth import cli, graphs, store
from jaxlth.plots import network_drawings, network_layout, outcome_plots, pixel_maps
from jaxlth.studies import STUDIES
from jaxlth.studies.separation import figures as levels
from jaxlth.studies.separation import summary as report

LONG = {"i": "interconnected", "s": "separated", "d": "degraded"}


def network(states, *, run="a", replicate=0, width=10, active=0.8, nan=(), **more):
    """Return the rows of a network with the states "iis", one a level, from 160 weights halved."""
    rows = []
    for level, letter in enumerate(states):
        kept = 160 // 2**level
        used = round(active * kept)
        accuracy = 0.9 - 0.1 * level + 0.02 * replicate
        rows.append(
            {
                **{"run": run, "job": "separation", "replicate": replicate, "level": level},
                **{"density": 0.5**level, "kept": kept, "state": LONG[letter]},
                **{
                    "weights.active": used,
                    "weights.inactive": kept - used,
                    "weights.zombie": level,
                },
                **{"test_accuracy": accuracy, "test_loss": 1.0 + level, "validation_loss": 0.1},
                **{"tasks.moons.test_accuracy": accuracy + 0.05},
                **{"tasks.circles.test_accuracy": accuracy - 0.05},
                **{"widths": [4, width, width, 2], "nan_step": 7 if level in nan else None},
                "decided_by_outputs": [0.0, 0.25 * level, 0.5, 1.0],
                "decided_by_inputs": [1.0, 0.5, 0.25 * level, None if level == 1 else 0.0],
                **more,
            }
        )
    return rows


def table(*networks):
    """Return results: strings are states of the replicates of one run, lists rows of others."""
    rows = []
    for replicate, each in enumerate(networks):
        rows += network(each, replicate=replicate) if isinstance(each, str) else each
    return pd.DataFrame(rows)


def extended():
    """Return two networks of each of three extension levels."""
    states = {0: ("ii", "ii"), 1: ("is", "ii"), 3: ("isd", "iss")}
    return table(
        *(
            network(each, run=f"ext-{level}", replicate=replicate, extension=level)
            for level, both in states.items()
            for replicate, each in enumerate(both)
        )
    )


def text(table, *, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def points(axes, label):
    return sorted(zip(*line(axes, label).get_data(), strict=True))


def named(axes):
    """Return the labels of the lines that the legend has."""
    return [each.get_label() for each in axes.get_lines() if each.get_label()[0] != "_"]


def bars(axes, label):
    """Return x, mean, min and max of a line with bars."""
    drawn = next(each for each in axes.containers if each.get_label() == label)
    middle, _, (vertical,) = drawn.lines
    ends = [segment[:, 1] for segment in vertical.get_segments()]
    x, y = middle.get_data()
    return [tuple(np.round([a, b, *c], 6).tolist()) for a, b, c in zip(x, y, ends, strict=True)]


# ---- tables


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("i", "interconnected"),
        ("iis", "separated"),
        ("iss", "separated"),
        ("isd", "separated-degraded"),
        ("iid", "degraded"),
    ],
)
def test_outcome_sums_up_states(states, expected):
    assert report.outcome([LONG[letter] for letter in states]) == expected


@pytest.mark.parametrize("states", [[], ["dense"]])
def test_outcome_refuses_what_are_no_states(states):
    with pytest.raises(ValueError, match="`states` must be some of interconnected, separated"):
        report.outcome(states)


def test_outcomes_tell_the_first_separated_level_of_each_network():
    outcome_table = report.outcomes(table("iiss", "ii", "isd"))
    assert list(outcome_table["outcome"]) == ["separated", "interconnected", "separated-degraded"]
    assert list(outcome_table["levels"]) == [3, 1, 2]
    first, never, third = outcome_table.to_dict("records")
    assert (first["level"], first["kept"], first["active"]) == (2, 40, 32)
    assert (first["last_kept"], first["last_active"]) == (20, 16)
    assert first["test_accuracy"] == pytest.approx(0.7)
    assert first["tasks.moons.test_accuracy"] == pytest.approx(0.75)
    assert first["test_loss"] == 3.0
    assert first["widths"] == [4, 10, 10, 2]
    assert pd.isna(never["level"])
    assert math.isnan(never["test_accuracy"])
    assert (third["level"], third["test_accuracy"]) == (1, pytest.approx(0.84))
    assert outcome_table["level"].dtype == "Int64"


def test_outcomes_keep_the_order_of_runs_and_sort_levels():
    results = pd.concat([table(network("is", run="ext-9")), table(network("is", run="ext-10"))])
    outcome_table = report.outcomes(results.iloc[::-1].reset_index(drop=True))
    assert list(outcome_table["run"]) == ["ext-10", "ext-9"]
    assert list(outcome_table["outcome"]) == ["separated", "separated"]


def test_a_network_that_diverges_first_is_no_interconnected_one():
    results = table(network("ii", nan=(1,)), network("is", replicate=1, nan=(1,)))
    outcome_table = report.outcomes(results)
    assert list(outcome_table["outcome"]) == ["diverged", "separated"]
    assert outcome_table["test_accuracy"].isna().all()
    assert report.sentence(results).endswith("available; 1 diverged.")


def test_summary_counts_states_and_averages_by_level():
    summary = report.summary(table("iis", "id", network("iii", replicate=2, active=0.5, nan=(2,))))
    assert list(summary["kept"]) == [160, 80, 40]
    assert list(summary["density"]) == [1.0, 0.5, 0.25]
    assert summary["active"].tolist() == pytest.approx(
        [(128 + 128 + 80) / 3, (64 + 64 + 40) / 3, 26]
    )
    assert summary[list(report.STATES)].to_numpy().tolist() == [[3, 0, 0], [2, 0, 1], [1, 1, 0]]
    assert summary["test_accuracy"].tolist() == pytest.approx([0.92, 0.82, 0.7])
    assert summary["tasks.circles.test_accuracy"].tolist() == pytest.approx([0.87, 0.77, 0.65])
    assert list(summary["failed"]) == [0, 0, 1]


def test_the_table_is_in_percent_and_fits_a_terminal():
    printed = text(report.render(report.summary(table("iis", "iii"))))
    assert "1 of 2" in printed
    assert "25 %" in printed
    assert "71.00" in printed
    assert "moons" in printed
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (
            ("iss", "iis", "iis", "iii"),
            "3 of 4 networks separated, first at level 1 with 64 active weights of 80 available; "
            "1 stayed interconnected.",
        ),
        (("is",), "The network separated at level 1 with 64 active weights of 80 available."),
        (
            ("isd",),
            "The network separated at level 1 with 64 active weights of 80 available; it degraded "
            "later.",
        ),
        (
            ("is", "iis"),
            "Both networks separated, first at level 1 with 64 active weights of 80 available.",
        ),
        (
            ("isd", "isd"),
            "Both networks separated, first at level 1 with 64 active weights of 80 available; "
            "both degraded later.",
        ),
        (
            ("ii", "isd", "id"),
            "1 of 3 networks separated, at level 1 with 64 active weights of 80 available; 1 of "
            "these degraded later; 1 stayed interconnected and 1 degraded before "
            "separating.",
        ),
        (
            ("ii", "ii", "id"),
            "None of 3 networks separated; 2 stayed interconnected and 1 degraded.",
        ),
        (("ii",), "The network stayed interconnected; it did not separate."),
        (("id",), "The network degraded; it did not separate."),
        (
            (network("is", active=1 / 80),),
            "The network separated at level 1 with 1 active weight of 80 available.",
        ),
    ],
)
def test_sentence_counts_what_separated(networks, expected):
    assert report.sentence(table(*networks)) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.assign(job="tickets"), "must be of `jaxlth separation`; got rows of tickets"),
        (lambda r: r.drop(columns="state"), "they lack the column 'state'"),
        (lambda r: r.iloc[:0], "no trained network yet"),
        (lambda r: pd.concat([r, r]), "have a network twice"),
        (lambda r: r.assign(state="dense"), "`state` must be one of .*; got 'dense'"),
        (lambda r: pd.concat([r, r.assign(run="b")]), "must be of one run; got 2"),
    ],
)
def test_summary_refuses_other_tables(change, message):
    with pytest.raises(ValueError, match=message):
        report.summary(change(table("is")))


# ---- figures


def test_areas_are_the_shares_of_outcomes():
    shares = outcomes.shares(extended())
    assert list(shares) == ["separated", "separated-degraded", "interconnected"]
    assert shares.index.tolist() == [0, 1, 3]
    assert shares.to_numpy().tolist() == [[0, 0, 1], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    (axes,) = outcomes.areas(extended()).axes
    assert [each.get_label() for each in axes.collections] == list(shares)
    first = axes.collections[0].get_paths()[0].vertices
    assert first[:, 1].max() == 50
    colors = [to_hex(each.get_facecolor()[0]).upper() for each in axes.collections]
    assert colors == [outcome_plots.OUTCOME_STYLES[name].color for name in shares]


def test_extension_levels_come_from_a_mapping_too():
    given = {"ext-0": 0, "ext-1": 1, "ext-3": 3}
    assert outcomes.shares(extended(), by=given).equals(outcomes.shares(extended()))


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("depth", "`by` must be a column of `results` or {run: number}; got 'depth'"),
        (
            {"ext-0": 0, "ext-1": 1},
            "`by` must have one number for each run; it has none for 'ext-3",
        ),
        ("level", "it has none for 'ext-0'"),
        ("state", "it has none for 'ext-0'"),
    ],
)
def test_extension_levels_must_be_numbers_of_runs(by, message):
    with pytest.raises(ValueError, match=message):
        outcomes.areas(extended(), by)


def test_active_share_at_the_end_is_in_percent_by_outcome():
    (axes,) = outcomes.active_at_end(extended()).axes
    assert points(axes, "interconnected") == [(0, 80), (0, 80), (1, 80)]
    assert points(axes, "separated-degraded") == [(3, 80)]
    assert line(axes, "separated").get_color() == outcome_plots.OUTCOME_STYLES["separated"].color


def test_weights_at_separation_are_means_with_bars():
    results = table(
        network("iis", extension=2),
        network("is", replicate=1, active=0.5, extension=2),
        network("ii", replicate=2, extension=2),
    )
    (axes,) = outcomes.at_separation(results).axes
    assert bars(axes, "Available weights") == [(2, 60, 40, 80)]
    assert bars(axes, "Active weights") == [(2, 36, 32, 40)]
    assert axes.get_yscale() == "log"
    with pytest.raises(ValueError, match="no network that separates"):
        outcomes.at_separation(results[results["replicate"] == 2])


def test_sizes_draw_hidden_widths_by_outcome():
    results = table(network("is", width=31), network("ii", run="b", width=57))
    (axes,) = outcomes.sizes(results).axes
    assert points(axes, "separated") == [(64, 31)]
    assert points(axes, "interconnected") == [(64, 57)]


def test_rates_stand_above_the_levels_of_each_size():
    results = table(
        network("ii", run="short"),
        network("iss", run="long"),
        network("i", run="b", width=57),
    )
    small, large = outcomes.rates(results).axes
    assert points(small, "interconnected") == [(1, 64)]
    assert points(small, "separated") == [(2, 32)]
    assert small.get_xlabel() == "Pruning levels, network (4, 10, 10, 2)"
    assert points(large, "interconnected") == [(0, 128)]
    (upper,) = small.child_axes
    assert [each.get_text() for each in upper.get_xticklabels()] == ["0.50", "0.50"]


def test_degrees_leave_out_the_layer_that_tasks_are_told_from():
    results = table("iis")
    by_outputs, by_inputs = levels.degrees(results, 0).axes
    assert points(by_outputs, "hidden 1") == [(0, 0), (1, 25), (2, 50)]
    assert points(by_outputs, "hidden 2") == [(0, 50), (1, 50), (2, 50)]
    assert named(by_outputs) == ["inputs", "hidden 1", "hidden 2"]
    assert math.isnan(line(by_inputs, "outputs").get_ydata()[1])
    assert named(by_inputs) == ["hidden 1", "hidden 2", "outputs"]
    colors = {line(axes, "hidden 2").get_color() for axes in (by_outputs, by_inputs)}
    assert len(colors) == 1
    with pytest.raises(ValueError, match="`replicate` must be one of 0; got 5"):
        levels.degrees(results, 5)


def test_losses_are_drawn_by_state_without_those_that_diverged():
    results = table("isd", network("is", replicate=1, nan=(1,)))
    (axes,) = outcomes.losses(results, metric="test_loss").axes
    assert points(axes, "separated") == [(64, 2)]
    assert points(axes, "degraded") == [(32, 3)]
    assert points(axes, "interconnected") == [(128, 1), (128, 1)]
    assert axes.get_title(loc="right") == "1 of 5 networks not shown"
    with pytest.raises(ValueError, match="missing in every row. Ask for `test_loss`"):
        outcomes.losses(results.assign(validation_loss=None))


@pytest.mark.parametrize(
    ("category", "relative", "expected"),
    [
        ("inactive", False, [(80, 28), (160, 56)]),
        ("inactive", True, [(80, 35), (160, 35)]),
        ("zombie", False, [(80, 1), (160, 0)]),
        ("zombie", True, [(80, 1.25), (160, 0)]),
    ],
)
def test_unused_weights_are_means_by_available_weights(category, relative, expected):
    results = table(network("ii", extension=4), network("ii", replicate=1, active=0.5, extension=4))
    (axes,) = outcomes.unused(results, category, relative=relative).axes
    assert points(axes, "4") == [pytest.approx(each) for each in expected]
    assert axes.xaxis_inverted()


def test_performance_marks_separation_with_a_star():
    (axes,) = levels.performance(table("iis", "ii")).axes
    assert points(axes, "replicate 1") == [pytest.approx((80, 82)), pytest.approx((160, 92))]
    star = line(axes, "separated (1 of 2)")
    assert star.get_marker() == "*"
    assert points(axes, "separated (1 of 2)") == [pytest.approx((40, 70))]


def test_performance_of_tasks_has_each_task_and_their_mean():
    (axes,) = levels.performance_of_tasks(table("is", "ii")).axes
    assert bars(axes, "moons") == [(160, 96, 95, 97), (80, 86, 85, 87)]
    assert bars(axes, "mean of tasks") == [(160, 91, 90, 92), (80, 81, 80, 82)]
    alone = table("is").drop(columns=["tasks.moons.test_accuracy", "tasks.circles.test_accuracy"])
    with pytest.raises(ValueError, match="lack the columns `tasks.NAME.test_accuracy`"):
        levels.performance_of_tasks(alone)


def test_overview_has_accuracies_and_weights_by_level():
    left, right = levels.overview(table("is", "ii")).axes
    assert bars(left, "circles") == [(0, 86, 85, 87), (1, 76, 75, 77)]
    assert bars(right, "inactive") == [(0, 32, 32, 32), (1, 16, 16, 16)]
    assert points(left, "separated (1 of 2)") == [pytest.approx((1, 80))]
    assert points(right, "separated (1 of 2)") == [(1, 64)]


@pytest.mark.parametrize("accuracy", [0.804, 0.954, 0.974])
def test_bars_are_drawn_where_the_mean_of_equal_accuracies_is_rounded(accuracy):
    results = table("ii", "ii", "ii")
    names = [name for name in results if name.endswith("test_accuracy")]
    results[names] = accuracy
    left, _ = levels.overview(results).axes
    for label in ("moons", "circles"):
        assert [bar[1:] for bar in bars(left, label)] == [(round(100 * accuracy, 6),) * 3] * 2


def test_unused_weights_of_a_run_are_by_level_in_number_and_share():
    number, share = levels.unused(table("ii", network("ii", replicate=1, active=0.5))).axes
    assert bars(number, "inactive") == [(0, 56, 32, 80), (1, 28, 16, 40)]
    assert bars(number, "zombie") == [(0, 0, 0, 0), (1, 1, 1, 1)]
    assert bars(share, "inactive") == [(0, 35, 20, 50), (1, 35, 20, 50)]


def test_many_networks_are_not_named_one_by_one():
    (axes,) = levels.performance(table(*["is"] * 13)).axes
    assert named(axes) == ["separated (13 of 13)"]
    assert len(axes.get_lines()) == 14
    assert levels.performance(table(*["ii"] * 13)).axes[0].get_legend() is None


@pytest.mark.parametrize(
    ("networks", "expected"), [(("ii", "iis", "is"), 1), (("ii", "id"), 0), (("is", "is"), 0)]
)
def test_the_example_of_a_run_is_its_first_network_that_separated(networks, expected):
    assert report.example(table(*networks)) == expected


# ---- stored runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with three levels of one network, and what the command printed."""
    out, printed = tmp_path_factory.mktemp("runs"), io.StringIO()
    command = ["separation", "--hidden", "8", "8", "--levels", "2", "--stop", "never"]
    command += ["--epochs", "3", "--patience", "3", "--replicates", "1", "--out", str(out)]
    with contextlib.redirect_stdout(printed):
        assert cli.main(command) == 0
    (info,) = store.runs(out)
    return info.path, printed.getvalue()


def test_a_run_ends_with_its_table_sentence_and_figure(run):
    path, printed = run
    assert "Available weights" in printed
    assert report.sentence(store.table([path])) in printed
    assert (path / "separation.png").stat().st_size > 10_000


@pytest.mark.parametrize("kind", STUDIES["separation"].figures.kinds)
def test_each_kind_of_figure_is_drawn_by_command(run, kind, tmp_path):
    file = tmp_path / f"{kind}.png"
    assert cli.main(["figure", str(run[0]), "--kind", kind, "--file", str(file)]) == 0
    assert file.stat().st_size > 10_000


def test_a_picture_of_a_run_has_the_levels_asked_for_or_all_that_can_be_drawn(
    run, monkeypatch, tmp_path, capsys
):
    kept = store.table([run[0]]).sort_values("level")["weights.active"].tolist()
    monkeypatch.setattr(network_drawings, "MAX_ACTIVE_WEIGHTS", kept[1])
    assert titles(run[0], "network", tmp_path) == [f"Level {level}" for level in (1, 2)]
    assert titles(run[0], "pixels", tmp_path) == [f"Level {level}" for level in (0, 1, 2)]
    assert titles(run[0], "network", tmp_path, "--levels", "2") == ["Level 2"]
    for level, told in {
        "0": f"Level 0 has {kept[0]} active weights; a picture may have {kept[1]}",
        "7": "`levels` must be among those of replicate 0, 0..2; got 7",
    }.items():
        assert cli.main(["figure", str(run[0]), "--kind", "network", "--levels", level]) == 2
        assert told in capsys.readouterr().err
    monkeypatch.setattr(network_drawings, "MAX_ACTIVE_WEIGHTS", 1)
    assert cli.main(["figure", str(run[0]), "--kind", "network"]) == 2
    assert "active weights; a picture may have 1" in capsys.readouterr().err


def titles(path, kind, folder, *more):
    """Return the panels of a figure drawn by command."""
    file = folder / "figure.svg"
    assert cli.main(["figure", str(path), "--kind", kind, "--file", str(file), *more]) == 0
    return re.findall(r"<!-- (Level \d+) -->", file.read_text())


# ---- pixels


def test_statistics_are_mean_and_variance_of_pixels():
    images = np.arange(5000 * 6, dtype=np.uint8).reshape(5000, 2, 3, 1)
    mean, variance, *_ = report_images(pixel_maps.statistics(images))
    np.testing.assert_allclose(mean, images.mean(0)[..., 0])
    np.testing.assert_allclose(variance, images.astype(float).var(0)[..., 0])
    with pytest.raises(ValueError, match=r"`images` must be of shape .*; got \(2, 2\)"):
        pixel_maps.statistics(np.zeros((2, 2)))


def report_images(figure):
    return [each.get_images()[0].get_array() for each in figure.axes if each.get_images()]


def test_connections_add_the_weights_of_a_pixel():
    mask = np.zeros((2 * 3 * 2, 4), bool)
    mask[0], mask[1, 0], mask[11, :2] = True, True, True
    figure = pixel_maps.connections({3: mask, 0: np.ones_like(mask)}, (2, 3, 2))
    dense, pruned = report_images(figure)
    assert dense.tolist() == [[8, 8, 8], [8, 8, 8]]
    assert pruned.tolist() == [[5, 0, 0], [0, 0, 2]]
    assert figure.axes[1].get_title(loc="left") == "Level 3"
    assert figure.axes[1].get_title(loc="right") == "4 of 6 without a weight"
    with pytest.raises(ValueError, match=r"`shape` \(2, 3, 1\); got \(12, 4\)"):
        pixel_maps.connections({0: mask}, (2, 3, 1))
    with pytest.raises(ValueError, match="the mask of one level at least"):
        pixel_maps.connections({}, (2, 3, 1))


# ---- drawings

TASKS = {"moons": graphs.Task((0, 1), (0,)), "circles": graphs.Task((2, 3), (1,))}


def chain(widths, *, density, seed=0):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    params = {f"w{place}": np.ones(pair) for place, pair in enumerate(pairs)}
    return params, {name: rng.random(leaf.shape) < density for name, leaf in params.items()}


def apart():
    """Return a network that is separated, with an inactive and a zombie weight besides."""
    params, mask = chain((4, 5, 4, 2), density=0)
    for kernel, source, target in [
        *[("w0", 0, 0), ("w0", 1, 0), ("w0", 2, 1), ("w0", 3, 2)],
        *[("w1", 0, 0), ("w1", 1, 1), ("w1", 2, 1), ("w2", 0, 0), ("w2", 1, 1)],
        *[("w0", 0, 3), ("w1", 4, 0)],
    ]:
        mask[kernel][source, target] = True
    return params, mask


def drawn(axes, label):
    return next(each for each in axes.collections if each.get_label() == label)


@pytest.mark.parametrize("widths", [(4, 8, 8, 2), (4, 90, 70, 2), (4, 2)])
def test_a_picture_has_a_line_for_each_active_weight(widths):
    params, mask = chain(widths, density=0.2, seed=1)
    count = graphs.count(graphs.categories(params, mask).weights)
    (axes,) = network_drawings.network(params, mask, tasks=TASKS).axes
    segments = drawn(axes, "_active").get_segments()
    assert len(segments) == count.active > 0
    assert np.isfinite(np.concatenate(segments)).all()
    faint = len(drawn(axes, "_faint").get_segments())
    if max(widths) <= network_layout.MAX_COMPLETE_LAYER:
        assert faint == count.inactive + count.zombie
    assert axes.get_title(loc="right").startswith(f"{count.active} active, ")


def test_weights_have_the_colour_of_the_task_of_their_subnetwork():
    params, mask = apart()
    (axes,) = network_drawings.network(params, mask, tasks=TASKS, title="Level 9").axes
    lines = drawn(axes, "_active")
    colors = [to_hex(color) for color in lines.get_colors()]
    shades = [to_hex(outcome_plots.task_style(place).color) for place in range(2)]
    assert [colors.count(shade) for shade in shades] == [4, 5]
    assert len(drawn(axes, "_faint").get_segments()) == 2
    heights = {shade: [] for shade in shades}
    for color, segment in zip(colors, lines.get_segments(), strict=True):
        heights[color] += segment[:, 1].tolist()
    assert min(heights[shades[0]]) > max(heights[shades[1]])  # subnetworks lie apart


def test_a_subnetwork_that_joins_tasks_is_gray():
    params, mask = apart()
    mask["w1"][0, 1] = True
    (axes,) = network_drawings.network(params, mask, tasks=TASKS).axes
    assert {to_hex(color) for color in drawn(axes, "_active").get_colors()} == {"#666666"}


def test_several_drawings_are_in_the_order_of_levels():
    params, mask = apart()
    dense = {name: np.ones_like(each) for name, each in mask.items()}
    figure = network_drawings.network_at_levels(params, {9: mask, 0: dense}, tasks=TASKS)
    assert [each.get_title(loc="left") for each in figure.axes] == ["Level 0", "Level 9"]
    assert len(drawn(figure.axes[0], "_active").get_segments()) == 4 * 5 + 5 * 4 + 4 * 2
    assert len(drawn(figure.axes[1], "_active").get_segments()) == 9


def test_a_network_without_an_active_weight_can_be_drawn():
    params, mask = chain((4, 70, 2), density=0)
    (axes,) = network_drawings.network(params, mask, tasks=TASKS).axes
    assert drawn(axes, "_active").get_segments() == []


def test_drawings_refuse_what_they_cannot_show(monkeypatch):
    params, mask = apart()
    with pytest.raises(ValueError, match="Task 0 has no outputs"):
        network_drawings.network(params, mask, tasks={"moons": graphs.Task((0,), ())})
    with pytest.raises(ValueError, match="the mask of one level at least"):
        network_drawings.network_at_levels(params, {}, tasks=TASKS)
    monkeypatch.setattr(network_drawings, "MAX_ACTIVE_WEIGHTS", 5)
    with pytest.raises(ValueError, match="The network has 9 active weights; a picture may have 5"):
        network_drawings.network(params, mask, tasks=TASKS)


def test_figures_leave_the_settings_of_matplotlib_as_they_were():
    before = dict(matplotlib.rcParams)
    levels.overview(table("is"))
    network_drawings.network(*apart(), tasks=TASKS)
    assert dict(matplotlib.rcParams) == before
