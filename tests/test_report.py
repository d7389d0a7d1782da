"""Tables and figures from stored results: literal tables with known means, and what axes show."""

import contextlib
import csv
import io
import itertools
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import time

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from rich.console import Console

from jaxlth.cli import formats
from jaxlth.plots import figures, table_charts
from jaxlth.plots.control_styles import CONTROL_STYLES
from jaxlth.plots.theme import BLUE, GREEN, ORANGE
from jaxlth.studies import progress, tables
from jaxlth.studies.controls import CONTROLS as KNOWN
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp import sentences
from jaxlth.studies.train import Progress

CONTROLS = ("reinitialized", "shuffled", "random-layerwise", "random")
KNEES = {"ticket": 0.03, "reinitialized": 0.25, "shuffled": 0.22, "random-layerwise": 0.35}


def table(accuracies, *, nan=()):
    """Return results from {control: [accuracies of all replicates at level 0, at level 1, ...]}."""
    rows = []
    for control, levels in accuracies.items():
        for level, values in enumerate(levels):
            for replicate, value in enumerate(values or ()):
                rows.append(
                    {
                        **{"replicate": replicate, "level": level, "control": control},
                        **{"density": 0.5**level, "kept": 800 // 2**level, "start_step": 0},
                        **{"test_accuracy": value, "train_accuracy": value},
                        "best_step": 100.0 * (1 + level),
                        "best_test_accuracy": value,
                        "nan_step": 7 if (control, level, replicate) in nan else None,
                    }
                )
    return pd.DataFrame(rows)


def lenet(*, levels=16, replicates=5, controls=CONTROLS, seed=0):
    """Return results that look like LeNet-300-100 on MNIST in Frankle 2023."""
    rng = np.random.default_rng(seed)
    rows = []
    for level in range(levels):
        density = 0.8**level
        for control in ("ticket", *(controls if level else ())):
            drop = 0.0075 * max(0.0, math.log(KNEES.get(control, 0.5) / density)) ** 1.2
            for replicate in range(replicates):
                value = 0.983 - drop + rng.normal(0, 0.0006)
                rows.append(
                    {
                        **{"replicate": replicate, "level": level, "control": control},
                        **{"density": density, "kept": round(266_200 * density)},
                        **{"test_accuracy": value, "train_accuracy": min(1.0, value + 0.017)},
                        "best_step": round(3000 * (0.4 + 0.6 * density) + rng.normal(0, 100)),
                        "best_test_accuracy": value - 0.001,
                        "nan_step": None,
                    }
                )
    return pd.DataFrame(rows)


def say(accuracies, *, tolerance=0.01, rewind_step=0, nan=()):
    summary = tables.summary(table(accuracies, nan=nan), tolerance=tolerance)
    return sentences.sentence(summary, tolerance=tolerance, rewind_step=rewind_step)


def text(table, *, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def labels_of(axes):
    return [entry.get_text() for entry in axes.get_legend().get_texts()]


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


# ---- summary


def test_summary_has_mean_min_max_and_count_of_each_level():
    results = table({"ticket": [[0.90, 0.92], [0.88, 0.94]], "random": [None, [0.50, 0.70]]})
    summary = tables.summary(results, tolerance=0.0)
    assert list(summary["level"]) == [0, 1]
    assert list(summary["density"]) == [1.0, 0.5]
    assert list(summary["kept"]) == [800, 400]
    dense, first = summary.to_dict("records")
    assert dense["ticket_mean"] == pytest.approx(0.91)
    assert (first["ticket_min"], first["ticket_max"], first["ticket_n"]) == (0.88, 0.94, 2)
    assert first["random_mean"] == pytest.approx(0.6)
    assert first["matches"]
    assert not first["random_matches"]
    assert pd.isna(dense["random_matches"])
    assert dense["random_n"] == 0


def test_matching_allows_the_tolerance_and_its_rounding():
    results = table({"ticket": [[0.982], [0.980], [0.9799]]})
    assert list(tables.summary(results, tolerance=0.002)["matches"]) == [True, True, False]


def test_diverged_networks_are_left_out_of_means_and_counted():
    results = table(
        {"ticket": [[0.9, 0.9], [0.1, 0.9], [0.1, 0.1]]},
        nan=[("ticket", 1, 0), ("ticket", 2, 0), ("ticket", 2, 1)],
    )
    summary = tables.summary(results, tolerance=0.0)
    assert list(summary["ticket_n"]) == [2, 1, 0]
    assert list(summary["ticket_failed"]) == [0, 1, 2]
    assert summary["ticket_mean"][1] == 0.9
    assert math.isnan(summary["ticket_mean"][2])
    assert list(summary["matches"]) == [True, True, False]
    rendered = text(tables.render(summary, tolerance=0.0))
    assert "failed" in rendered
    assert "diverged: 3 ticket" in rendered


def test_ends_are_the_first_and_last_level_in_percent_of_what_trained_undilated():
    results = table(
        {"ticket": [[0.9, 0.8], [0.7, 0.7], [0.5, 0.1]], "random": [None, [0.6], [0.2]]},
        nan=[("ticket", 2, 1)],
    ).assign(dilation=1.0)
    longer = results.assign(dilation=2.0, test_accuracy=0.0)
    last_rows = tables.ends(pd.concat([results, longer]))
    assert last_rows.values.tolist() == [
        [0, 1.0, "ticket", 85.0, 80.0, 90.0, 2],
        [2, 0.25, "random", 20.0, 20.0, 20.0, 1],
        [2, 0.25, "ticket", 50.0, 50.0, 50.0, 1],
    ]
    assert list(last_rows) == ["level", "density", "control", "mean", "min", "max", "n"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[r["level"] > 0], "hold no dense network"),
        (lambda r: pd.concat([r, r]), "must be of one run"),
        (lambda r: r.assign(density=np.linspace(1, 0.5, len(r))), "must be of one run"),
        (lambda r: r.assign(test_accuracy=None), "`test_accuracy` is missing in every row"),
    ],
)
def test_results_that_cannot_be_summed_up_are_refused(change, message):
    results = table({"ticket": [[0.9, 0.9], [0.8, 0.8]]})
    with pytest.raises(ValueError, match=message):
        tables.summary(change(results), tolerance=0.0)


def test_wrong_metric_and_tolerance_are_refused():
    results = table({"ticket": [[0.9]]})
    with pytest.raises(ValueError, match="`metric` must be one of test_accuracy"):
        tables.summary(results, metric="test_loss", tolerance=0.0)
    with pytest.raises(ValueError, match="`tolerance` must be"):
        tables.summary(results, tolerance=2)


# ---- render


@pytest.mark.parametrize("controls", [(), ("reinitialized", "random"), CONTROLS])
def test_table_fits_into_80_columns_uncut(controls):
    summary = tables.summary(lenet(controls=controls), tolerance=0.002)
    rendered = text(tables.render(summary, tolerance=0.002))
    assert max(len(row) for row in rendered.splitlines()) <= 80
    assert "…" not in rendered
    assert "3.5 %" in rendered
    assert "* matches the dense network to within 0.2 points" in " ".join(rendered.split())


def test_cells_hold_percent_range_and_mark():
    results = table({"ticket": [[0.981, 0.983], [0.981, 0.983]], "random": [None, [0.5, 0.7]]})
    rendered = text(tables.render(tables.summary(results, tolerance=0.0), tolerance=0.0))
    assert "98.20  (98.10-98.30)" in rendered
    assert "98.20* (98.10-98.30)" in rendered
    assert "60.00  (50.00-70.00)" in rendered
    assert "50 %" in rendered
    assert "400" in rendered


def test_one_replicate_shows_no_range():
    results = table({"ticket": [[0.9], [0.9]]})
    rendered = text(tables.render(tables.summary(results, tolerance=0.0), tolerance=0.0))
    assert "90.00*" in rendered
    assert "(" not in rendered
    assert "one replicate" in " ".join(rendered.split())


# ---- sentence


def test_sentence_names_the_sparsest_matching_level_of_each_control():
    told = say(
        {
            "ticket": [[0.978], [0.978], [0.978], [0.978], [0.9]],
            "reinitialized": [None, [0.978], [0.978], [0.9], [0.9]],
            "random": [None, [0.978], [0.9], [0.9], [0.9]],
        }
    )
    assert told == (
        "Winning tickets match the dense network (97.80 %) to within 1 point down to 12.5 % of the "
        "weights; reinitialised tickets do so only down to 25 %, randomly pruned networks only "
        "down to 50 %."
    )


def test_tickets_are_winning_only_from_step_0():
    accuracies = {"ticket": [[0.9], [0.9]]}
    assert say(accuracies).startswith("Winning tickets match")
    assert say(accuracies, rewind_step=5).startswith("Tickets rewound to step 5 match")
    assert say(accuracies, rewind_step=None).startswith("Tickets match")


def test_sentence_when_no_level_matches():
    told = say({"ticket": [[0.9], [0.7], [0.8]], "random": [None, [0.5], [0.4]]}, tolerance=0)
    assert told == (
        "No ticket matches the dense network (90.00 %): the best, at 25 % of the weights, reaches "
        "80.00 %; randomly pruned networks do so at no level."
    )


def test_sentence_when_only_a_control_matches():
    told = say({"ticket": [[0.9], [0.7]], "random": [None, [0.9]]}, tolerance=0)
    assert told.endswith("reaches 70.00 %; randomly pruned networks do so down to 50 %.")


def test_sentence_when_all_levels_match():
    told = say({"ticket": [[0.9]] * 3, "random": [None, [0.9], [0.9]]}, tolerance=0)
    assert told == (
        "Winning tickets match the dense network (90.00 %) at every level, down to 25 % of the "
        "weights; randomly pruned networks do so also down to 25 %."
    )


def test_levels_between_that_fail_are_named_or_counted():
    assert "down to 12.5 % of the weights (but not at 50 %)." in say(
        {"ticket": [[0.9], [0.8], [0.9], [0.9], [0.1]]}, tolerance=0
    )
    assert "down to 6.2 % of the weights (but not at 3 denser levels)." in say(
        {"ticket": [[0.9], [0.8], [0.8], [0.8], [0.9]]}, tolerance=0
    )


def test_control_trained_at_fewer_levels_is_not_said_to_fail_beyond_them():
    told = say({"ticket": [[0.9]] * 4, "random": [None, [0.9], None, None]}, tolerance=0)
    assert told.endswith("randomly pruned networks do so at every level tried, down to 50 %.")


def test_control_sparser_than_the_ticket():
    told = say({"ticket": [[0.9], [0.9], [0.8]], "random": [None, [0.9], [0.9]]}, tolerance=0)
    assert told.endswith("randomly pruned networks do so even down to 25 %.")


def test_sentence_of_the_dense_network_alone_and_of_a_failed_one():
    assert say({"ticket": [[0.9]]}) == "Only the dense network (90.00 %) has been trained."
    told = say({"ticket": [[0.1], [0.1]]}, nan=[("ticket", 0, 0)])
    assert told == "The dense network did not train (1 of 2 networks diverged and is left out)."


def test_unknown_controls_are_named():
    assert "networks of the control 'mirrored' do so only" not in say(
        {"ticket": [[0.9], [0.9]], "mirrored": [None, [0.1]]}
    )
    assert "networks of the control 'mirrored' do so at no level" in say(
        {"ticket": [[0.9], [0.9]], "mirrored": [None, [0.1]]}
    )


def test_a_level_whose_networks_differ_in_size_is_one_row_and_one_point():
    results = table({"ticket": [[0.9, 0.9, 0.9], [0.5, 0.7, 0.9]]})
    results.loc[results["level"] == 1, "kept"] = [4, 12, 12]
    results = results.assign(density=results["kept"] / 800, run="a")
    summary = tables.summary(results, tolerance=0.01)
    assert summary["kept"].tolist() == [800, 12]
    assert summary["density"].tolist() == [1, 0.015]
    printed = text(tables.render(summary, tolerance=0.01), width=120)
    assert re.search(r"1 +1\.5 % +4-12 +70\.00 +\(50\.00-90\.00\)", printed)
    assert "Networks of a level differ in size: the density is the median." in " ".join(
        printed.split()
    )
    ends = tables.ends(results)
    assert ends[["density", "n"]].to_numpy().tolist() == [[1, 3], [0.015, 3]]
    (axes,) = figures.accuracy_of({"a": results}, metrics=["test_accuracy"]).axes
    assert line(axes, "a").get_xdata().tolist() == [100, 1.5]
    chart = table_charts.accuracy(results)
    (ticket,) = (line for line in chart.lines if line.name == "ticket")
    assert ticket.points["x"].tolist() == [100, 1.5]
    assert ticket.points["y"].tolist() == pytest.approx([90, 70])


def test_densities_of_one_level_stay_apart_in_a_study_of_ones_own():
    results = table({"ticket": [[0.9], [0.8, 0.4]]})
    results.loc[results["level"] == 1, ["density", "replicate"]] = [[0.5, 0], [0.1, 0]]
    chart = table_charts.accuracy(results)
    (ticket,) = (line for line in chart.lines if line.name == "ticket")
    assert ticket.points["x"].tolist() == [100, 50, 10]


# ---- output formats


def test_json_is_valid_and_has_null_for_what_is_missing():
    frame = pd.DataFrame(
        {"level": [0, 1], "best_step": [120.0, np.nan], "loss": [math.inf, 0.5], "nan_step": None}
    )
    assert json.loads(formats.to_json(frame)) == [
        {"level": 0, "best_step": 120, "loss": None, "nan_step": None},
        {"level": 1, "best_step": None, "loss": 0.5, "nan_step": None},
    ]
    assert json.loads(formats.to_json(frame[:0])) == []
    lists = pd.DataFrame({"widths": [[3, 2], None], "shares": [[0.5, math.nan], [math.inf]]})
    assert json.loads(formats.to_json(lists)) == [
        {"widths": [3, 2], "shares": [0.5, None]},
        {"widths": None, "shares": [None]},
    ]


def test_json_and_csv_keep_every_digit():
    frame = lenet(levels=2)
    assert [row["test_accuracy"] for row in json.loads(formats.to_json(frame))] == list(
        frame["test_accuracy"]
    )
    again = csv.DictReader(io.StringIO(formats.to_csv(frame)))
    assert [float(row["test_accuracy"]) for row in again] == list(frame["test_accuracy"])


def test_summary_goes_through_both_formats():
    summary = tables.summary(lenet(levels=3), tolerance=0.002)
    assert json.loads(formats.to_json(summary))[0]["random_matches"] is None
    assert json.loads(formats.to_json(summary))[1]["matches"] is True
    assert formats.to_csv(summary).startswith("level,density,kept,ticket_mean,")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_table_comes_back_from_its_file(tmp_path, suffix):
    frame = lenet(levels=2).assign(nan_step=[3, *[None] * (len(lenet(levels=2)) - 1)])
    file = tmp_path / "new" / f"table{suffix}"
    formats.write(frame, file)
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[suffix]
    again = read(file)
    assert list(again.columns) == list(frame.columns)
    assert list(again["test_accuracy"]) == pytest.approx(list(frame["test_accuracy"]), abs=1e-10)
    assert again["nan_step"][0] == 3
    assert again["nan_step"].isna().sum() == len(frame) - 1
    assert list(file.parent.iterdir()) == [file]


def test_a_table_is_written_as_it_is_printed(tmp_path):
    frame = lenet(levels=2)
    formats.write(frame, tmp_path / "table.csv")
    formats.write(frame, tmp_path / "table.json")
    assert (tmp_path / "table.csv").read_text() == formats.to_csv(frame)
    assert (tmp_path / "table.json").read_text() == formats.to_json(frame) + "\n"


def test_a_table_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in \.csv, \.json, \.parquet; got .*table\.xls"):
        formats.write(lenet(levels=2), tmp_path / "table.xls")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'jaxlth\[parquet\]'"):
        formats.write(lenet(levels=2), tmp_path / "table.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_table_with_a_folder_in_its_way_names_the_file_that_was_meant(tmp_path, suffix):
    file = tmp_path / f"table{suffix}"
    file.mkdir()
    with pytest.raises(OSError, match="Is a directory|directory") as caught:
        formats.write(lenet(levels=2), file)
    assert caught.value.filename == str(file)
    assert list(tmp_path.iterdir()) == [file]


# ---- figures


def test_a_control_of_a_few_levels_is_dotted_with_bars_for_its_range():
    results = lenet(levels=6, replicates=2)
    results = results[(results["control"] != "random") | results["level"].isin((1, 5))]
    (axes,) = figures.accuracy(results).axes
    styles = {name: line(axes, name).get_linestyle() for name in ("ticket", "random", "shuffled")}
    assert styles == {"ticket": "-", "random": ":", "shuffled": "-"}
    bars = [lines for lines in axes.collections if isinstance(lines, LineCollection)]
    assert [len(lines.get_segments()) for lines in bars] == [2]


def test_accuracy_draws_means_against_density_from_dense_to_sparse():
    figure = figures.accuracy(table({"ticket": [[0.9, 0.92], [0.88, 0.94]]}))
    (axes,) = figure.axes
    drawn = line(axes, "ticket")
    assert list(drawn.get_xdata()) == [100.0, 50.0]
    assert list(drawn.get_ydata()) == pytest.approx([91.0, 91.0])
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] > 100 > 50 > axes.get_xlim()[1]
    assert line(axes, "dense").get_linestyle() == "--"


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (16, ["100", "51.2", "26.2", "13.4", "6.9", "3.5"]),
        (3, ["100", "80", "64"]),
        (1, ["100"]),
        (14, ["100", "64", "41", "26.2", "16.8", "10.7", "6.9"]),
    ],
)
def test_ticks_are_plain_numbers_of_levels_that_exist(levels, expected):
    (axes,) = figures.accuracy(lenet(levels=levels)).axes
    axes.figure.canvas.draw()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == expected


def test_tick_labels_of_close_densities_do_not_overlap():
    results = lenet()
    results["density"] = results["density"].where(results["level"] != 4, 0.8**3 * 0.99)
    (axes,) = figures.accuracy(results).axes
    axes.figure.canvas.draw()
    boxes = [tick.get_window_extent() for tick in axes.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_each_control_has_its_colour_and_the_legend_follows_the_lines():
    (axes,) = figures.accuracy(lenet()).axes
    for control, shown in CONTROL_STYLES.items():
        if control in (*CONTROLS, "ticket"):
            assert to_hex(line(axes, shown.label).get_color()) == shown.color.lower()
    names = labels_of(axes)
    ends = [line(axes, name).get_ydata()[-1] for name in names]
    assert len(names) == 6
    assert ends == sorted(ends, reverse=True)


def test_every_control_of_tickets_has_names_a_colour_and_a_marker_of_its_own():
    assert {TICKET, *KNOWN} <= set(CONTROL_STYLES)
    styles = CONTROL_STYLES.values()
    for field in ("label", "subject", "color", "marker"):
        assert len({getattr(style, field) for style in styles}) == len(CONTROL_STYLES), field
    assert all(len(row) <= 12 for style in styles for row in style.narrow_label.splitlines())


def test_a_line_of_which_nothing_is_seen_says_so_in_the_legend():
    results = lenet()
    results.loc[results["control"] == "random", "test_accuracy"] = 0.11
    results.loc[results["control"] == "shuffled", "nan_step"] = 5
    (axes,) = figures.accuracy(results).axes
    assert line(axes, "random").get_ydata().max() < axes.get_ylim()[0]
    names = labels_of(axes)
    assert {"random (below the axis)", "shuffled (all diverged)"} <= set(names)
    assert not {"random", "shuffled"} & set(names)
    assert "ticket" in names


def test_labels_replace_names():
    (axes,) = figures.accuracy(lenet(levels=3), labels={"ticket": "LRR"}).axes
    assert "LRR" in labels_of(axes)
    assert "ticket" not in labels_of(axes)


def test_one_failed_network_does_not_squeeze_the_rest():
    results = lenet()
    odd = (results["control"] == "random") & (results["level"] == 9) & (results["replicate"] == 2)
    results.loc[odd, "test_accuracy"] = 0.1
    (axes,) = figures.accuracy(results).axes
    low, high = axes.get_ylim()
    assert 90 < low < 96
    assert high < 99.5
    assert axes.get_title(loc="right") == "1 point below the axis"


def test_collapsed_controls_are_cut_off_but_tickets_never_near_dense():
    results = lenet()
    collapsed = (results["control"] == "random") & (results["level"] > 10)
    results.loc[collapsed, "test_accuracy"] = 0.11
    (axes,) = figures.accuracy(results).axes
    assert axes.get_ylim()[0] > 90
    assert axes.get_ylim()[0] < line(axes, "ticket").get_ydata().min()
    assert axes.get_title(loc="right") == "5 points below the axis"


def test_everything_shows_where_nothing_is_far_away():
    (axes,) = figures.accuracy(lenet()).axes
    assert axes.get_ylim()[0] < 100 * lenet()["test_accuracy"].min()
    assert axes.get_title(loc="right") == ""


def test_noise_is_not_blown_up():
    (axes,) = figures.accuracy(lenet(levels=2)).axes
    assert np.ptp(axes.get_ylim()) >= 1


def test_accuracies_of_0_and_early_steps_of_0_have_axes_with_a_span():
    nothing = lenet(levels=2).assign(test_accuracy=0.0, best_step=0, best_test_accuracy=0.0)
    for axes in (*figures.accuracy(nothing).axes, *figures.early_stopping(nothing).axes):
        assert np.ptp(axes.get_ylim()) >= 1


def test_diverged_networks_are_noted_and_break_the_line():
    results = lenet(controls=("random",))
    lost = (results["control"] == "random") & (results["level"] == 15)
    results.loc[lost, "nan_step"] = 3
    (axes,) = figures.accuracy(results).axes
    assert math.isnan(line(axes, "random").get_ydata()[-1])
    assert axes.get_title(loc="right") == "5 of 155 networks diverged"
    assert labels_of(axes)[-1] == "random"


def test_a_figure_is_made_even_where_everything_diverged(tmp_path):
    results = lenet(levels=3).assign(nan_step=1)
    figures.save(figures.accuracy(results), tmp_path / "empty.png")


def test_early_stopping_is_drawn_even_where_everything_diverged():
    frame = lenet(levels=2, controls=()).assign(nan_step=3)
    frame = frame.assign(best_step=None, best_test_accuracy=None)
    left, right = figures.early_stopping(frame).axes
    assert left.get_ylim() == (0, 1)
    assert "networks diverged" in right.get_title(loc="right")


def test_runs_lie_over_each_other_in_two_panels():
    runs = {
        "iterative": lenet(),
        "one-shot": lenet(seed=1),
        "random": lenet().query("control == 'random'"),
    }
    left, right = figures.accuracy_of(runs).axes
    assert left.get_ylabel() == "Test accuracy (%)"
    assert right.get_ylabel() == "Train accuracy (%)"
    assert sorted(labels_of(left)) == ["dense", "iterative", "one-shot", "random"]
    colors = [to_hex(line(right, name).get_color()) for name in runs]
    assert colors == [c.lower() for c in (BLUE, ORANGE, GREEN)]
    with pytest.raises(ValueError, match="one control each"):
        figures.accuracy_of({"both": lenet(), "x": lenet().query("control != 'ticket'")})


def test_only_networks_that_are_drawn_are_counted_as_diverged():
    first, second = lenet(levels=3), lenet(levels=3)
    second.loc[second["control"] == "random", "nan_step"] = 3
    for axes in figures.accuracy_of({"a": first, "b": second}).axes:
        assert "diverged" not in axes.get_title(loc="right")
    tickets = second.index[(second["control"] == "ticket") & (second["level"] == 2)]
    second.loc[tickets[:2], "nan_step"] = 3
    drawn = 2 * (second["control"] == "ticket").sum()
    for axes in figures.accuracy_of({"a": first, "b": second}).axes:
        assert f"2 of {drawn} networks diverged" in axes.get_title(loc="right")
    controls = second[second["control"] == "random"]
    (axes, _) = figures.accuracy_of({"a": first, "b": controls}).axes
    drawn = (first["control"] == "ticket").sum() + len(controls)
    assert f"{len(controls)} of {drawn} networks diverged" in axes.get_title(loc="right")


@pytest.mark.parametrize("count", [9, 20])
def test_runs_laid_over_each_other_differ_in_colour_or_marker(count):
    (axes, _) = figures.accuracy_of({f"run {i}": lenet(levels=1) for i in range(count)}).axes
    lines = [line for line in axes.get_lines() if str(line.get_label()).startswith("run")]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == count


def test_early_stopping_shows_steps_and_accuracy_there():
    left, right = figures.early_stopping(lenet(levels=11)).axes
    assert left.get_ylim()[0] == 0
    assert line(left, "ticket").get_ydata().max() > 2500
    assert right.get_ylim()[1] <= 100.2
    with pytest.raises(ValueError, match="validation split"):
        figures.early_stopping(lenet(levels=3).assign(best_test_accuracy=np.nan))


def curves(*, replicates=3, levels=(0, 1, 2), controls=("ticket", "reinitialized")):
    rows = [
        {
            **{"replicate": replicate, "level": level, "control": control, "step": step},
            "test_accuracy": (0.98 if control == "ticket" else 0.96) - 0.8 * math.exp(-step / 80),
            "test_loss": 0.1,
        }
        for replicate in range(replicates)
        for level in levels
        for control in controls
        for step in range(0, 1001, 100)
        if level or control == "ticket"
    ]
    return pd.DataFrame(rows)


def test_training_draws_one_line_a_level_and_controls_dashed():
    figure = figures.training(curves(), levels=[0, 2], densities={0: 1.0, 2: 0.64})
    (axes,) = figure.axes
    assert labels_of(axes) == ["100 %", "64 %", "ticket", "reinitialised"]
    assert [drawn.get_linestyle() for drawn in axes.get_lines()] == ["-", "-", "--"]
    ticket, reinitialized = axes.get_lines()[1:]
    assert ticket.get_color() is not None
    assert np.array_equal(ticket.get_color(), reinitialized.get_color())
    assert axes.get_ylim()[0] > 80


def test_training_leaves_out_a_replicate_that_diverged_and_ends_with_the_first():
    broken = curves(controls=("ticket",), levels=(0,))
    broken.loc[(broken["replicate"] == 0) & (broken["step"] > 300), "test_loss"] = math.inf
    broken = broken[(broken["replicate"] != 1) | (broken["step"] <= 700)]
    (axes,) = figures.training(broken).axes
    assert axes.get_lines()[0].get_xdata().max() == 700
    with pytest.raises(ValueError, match=r"not among them: \[9\]"):
        figures.training(broken, levels=[9])


def test_training_draws_no_dilated_networks_and_no_diverged_ones():
    plain = curves(levels=(0, 1))
    longer = plain.assign(step=2 * plain["step"], test_accuracy=0.5, dilation=2.0)
    both = figures.training(pd.concat([plain.assign(dilation=1.0), longer])).axes[0]
    for mine, wanted in zip(
        both.get_lines(), figures.training(plain).axes[0].get_lines(), strict=True
    ):
        np.testing.assert_array_equal(mine.get_xydata(), wanted.get_xydata())
    diverged = figures.training(plain.assign(test_loss=np.nan)).axes[0]
    assert not diverged.get_lines()[2:]


def test_a_curve_of_one_evaluation_is_seen():
    frame = curves(replicates=2, levels=(0,), controls=("ticket",))
    (axes,) = figures.training(frame[frame["step"] == frame["step"].max()]).axes
    (line,) = axes.get_lines()
    assert len(line.get_xdata()) == 1
    assert line.get_marker() == "o"
    (line,) = figures.training(frame).axes[0].get_lines()
    assert line.get_marker() == "None"


def test_dilation_shows_what_never_matched():
    frame = pd.DataFrame(
        [
            *[(d, "ticket", r, s) for d, s in ((1, 1.0), (0.5, 0.8), (0.25, 0.6)) for r in (0, 1)],
            *[(0.5, "random", 0, 1.9), (0.5, "random", 1, None)],
            *[(0.25, "random", 0, None), (0.25, "random", 1, None)],
        ],
        columns=["density", "control", "replicate", "d_star"],
    )
    (axes,) = figures.dilation(frame).axes
    axes.figure.canvas.draw()
    assert axes.get_yticklabels()[-1].get_text() == "never"
    crosses = [drawn for drawn in axes.get_lines() if drawn.get_marker() == "x"]
    assert [list(drawn.get_xdata()) for drawn in crosses] == [[25.0]]
    hollow = [drawn for drawn in axes.get_lines() if drawn.get_markerfacecolor() == "white"]
    assert [list(drawn.get_ydata()) for drawn in hollow if len(drawn.get_xdata())] == [[1.9]]
    assert line(axes, "dense").get_ydata()[0] == 1.0


def test_dilation_without_any_match():
    frame = pd.DataFrame(
        {"density": [1.0], "control": ["ticket"], "replicate": [0], "d_star": [np.nan]}
    )
    (axes,) = figures.dilation(frame).axes
    axes.figure.canvas.draw()
    assert "ticket (never)" in labels_of(axes)
    assert axes.get_yticklabels()[-1].get_text() == "never"


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_saved_figure_has_the_same_bytes_again(tmp_path, suffix):
    for name in ("a", "b"):
        figures.save(figures.accuracy(lenet(levels=3)), tmp_path / "new" / f"{name}{suffix}")
    first, second = ((tmp_path / "new" / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert len(first) > 1000


def test_a_figure_that_cannot_be_written_leaves_the_one_before_it(tmp_path, file_size_limit):
    file = tmp_path / "a.png"
    figures.save(figures.accuracy(lenet(levels=2)), file)
    before = file.read_bytes()
    with file_size_limit(1000), pytest.raises(OSError, match=f"File too large: '{file}'"):
        figures.save(figures.accuracy(lenet(levels=3)), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def file_size_limit():
    """Return a context in which no file gets larger, as on a full disk."""

    @contextlib.contextmanager
    def limited(size):
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    return limited


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf or \.svg"):
        figures.save(figures.accuracy(lenet(levels=2)), tmp_path / "a.bmp")


def test_figures_leave_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    figures.accuracy(lenet(levels=2))
    assert dict(matplotlib.rcParams) == before


def test_figures_import_neither_jax_nor_pyplot():
    code = (
        "import sys; from jaxlth.plots import figures; "
        "assert not {'jax', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


# Progress.


def events(count):
    """Yield what a job tells of two networks trained in one group, step by step."""
    units = ("level_01/random/replicate_0", "level_01/random/replicate_1")
    for step in range(0, 100, 100 // count):
        yield Progress(units, step, 100, 2 * 100 // count, (), 6)
    yield Progress(units, 100, 100, 0, ({"nan_step": None},) * 2, 4)


def test_a_terminal_shows_a_bar_with_level_replicates_speed_and_time_left(monkeypatch):
    monkeypatch.setattr(progress, "SHORTEST", 0.0)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with progress.shown(console, finished=2) as show:
        for event in events(10):
            show(event)
            time.sleep(0.05)
    text = screen.getvalue()
    assert "level 1 random 0, 1" in text
    assert re.search(r"2/8 networks, [\d,]+ steps/s, \d+ s left", text)
    assert "\x1b[2K" in text.rsplit("networks", 1)[1]  # the bar is wiped away at the end


@pytest.mark.parametrize("console", [{}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_elsewhere_there_is_one_plain_line_a_level(console):
    paper = io.StringIO()
    with progress.shown(Console(file=paper, width=100, **console), finished=2) as show:
        for event in events(10):
            show(event)
    assert paper.getvalue() == "level 1 done, 4/8 networks\n"
