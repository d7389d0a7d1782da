"""`jaxlth report`: what stands on the page, read without a browser."""

import dataclasses
import importlib.util
import json
import math
import pathlib
import re
import shutil
import sys

import browser_pages
import numpy as np
import optax
import pandas as pd
import plotly.graph_objects
import pytest
import tiny
import train_twice
from flax import linen as nn
from matplotlib import colors
from rich.table import Table

from jaxlth import cli, data, models, store, studies
from jaxlth.cli import parsing
from jaxlth.plots import (
    charts,
    html_page,
    html_table,
    network_lines,
    plotly_json,
    table_charts,
    theme,
)
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.studies import STUDIES

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOSTILE = "</script><img src=x onerror=alert(1)>&amp;'\""


COMMAND = [*tiny.COMMAND, "--evaluate-every", "10"]  # so that training has a curve


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run with two networks."""
    out = tmp_path_factory.mktemp("runs")
    tiny.printed(*COMMAND, "--out", out)
    return tiny.only_run(out).path


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    """The page of the run with two networks."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    assert tiny.printed("report", finished, "--file", file) == f"{file}\n"
    return browser_pages.read(file)


def chart_of(*lines, scale="linear", limits=None, title="Accuracy"):
    x, y = Axis("Weights remaining (%)", "density"), Axis("Accuracy (%)", scale, limits)
    return Chart(title, x, y, list(lines))


def line_of(name="ticket", y=(98.0, 97.0), color="#0072B2", **look):
    x = (100.0, 20.0, 5.0)[: len(y)]
    spread = pd.DataFrame({"mean": y, "min": np.subtract(y, 1.0), "max": np.add(y, 1.0)})
    points = charts.points(x, spread, [["level 1"]] * len(y), name=name)
    return ChartLine(name, color, points, "o", **look)


# What the page says.


def test_the_page_has_summary_and_table_of_results(finished, page):
    results = studies.open(finished)
    table, sentence = results.summary().rstrip().rsplit("\n", 1)
    assert sentence in page.text
    numbers = re.findall(r"\d+\.\d\d", table)
    assert len(numbers) == 2
    assert all(number in page.text for number in numbers)
    assert "matches the dense network to within 0.2 points" in page.text


def test_the_page_says_what_was_run(finished, page):
    about = store.about_run(finished)
    (environment,) = about["environments"]
    versions = [f"{name} {version}" for name, version in environment["versions"].items()]
    told = [finished.name, "jaxlth imp", "digits", "20 steps, batches of 50", "2 of 2", *versions]
    told += [environment["device"], f"Python {environment['python']}", "the sum over networks"]
    assert [text for text in told if text not in page.text] == []
    assert environment["host"] not in page.text.split()
    for setting, value in {"model.hidden": "8", "training.steps": "20", "levels": "1"}.items():
        assert f"{setting} {value}" in page.text
    assert "optimizer.lr" not in page.text  # it has its default
    assert "Unfinished" not in page.text


@pytest.mark.slow
def test_parts_of_ones_own_are_called_so_without_the_rate_that_they_do_not_use(tmp_path):
    x = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    arrays = [(part, np.argmax(part, axis=1)) for part in (x[:60], x[60:])]
    experiment = studies.Experiment(
        name="mine",
        model=models.from_linen(nn.Dense(4), x[:1]),
        data=data.from_arrays(*arrays),
        optimizer=optax.adam(0.02),
        steps=4,
        batch_size=20,
    )
    how = {"levels": 1, "replicates": 1, "controls": [], "progress": False}
    results = studies.imp(experiment, out=str(tmp_path), **how)
    text = browser_pages.read(results.report(tmp_path / "report.html")).text
    assert (
        "data own arrays model own network training 4 steps, batches of 20, own optimizer" in text
    )
    assert "0.0012" not in text  # the default rate of the library's optimizers


def test_the_page_draws_accuracy_training_and_layers(finished, page):
    titles = ["Test accuracy by density", "Test accuracy in training", "Train loss in training"]
    names = [f"Lines of: {title}" for title in [*titles, "Density of layers"]]
    assert [each["aria-label"] for each in page.of("div", role="group")] == names
    accuracy, training, _, layers = page.charts
    assert accuracy["layout"]["xaxis"]["type"] == "log"
    first, last = accuracy["layout"]["xaxis"]["range"]
    assert first > last  # dense at the left
    frame = studies.open(finished).table()
    reached = dict(zip(100 * frame["density"], 100 * frame["test_accuracy"], strict=True))
    trace = next(each for each in accuracy["data"] if each["name"] == "ticket")
    assert dict(zip(trace["x"], trace["y"], strict=True)) == pytest.approx(reached)
    assert trace["text"][1].startswith("<b>ticket</b><br>level 1<br>80.1 % of the weights<br>")
    assert [line["name"] for line in training["lines"]] == ["ticket, 100 %", "ticket, 80.1 %"]
    density = frame["layer_densities.Dense_0/kernel"].iloc[1]
    assert layers["data"][0]["y"][0] == pytest.approx(100 * density)


def test_every_chart_is_one_that_plotly_knows(page):
    for chart in page.charts:
        for trace in chart["data"]:
            figure = plotly.graph_objects.Figure(data=[trace], layout=chart["layout"])
            assert figure.data[0].type == "scatter"


def test_a_misspelt_property_of_a_chart_would_be_noticed():
    with pytest.raises(ValueError, match="hovertemplat"):
        plotly.graph_objects.Figure(data=[{"type": "scatter", "hovertemplat": "a"}])


def test_charts_and_tables_have_names_for_those_who_do_not_see_them(page):
    images = page.of("div", role="img")
    assert len(images) == len(page.charts)
    assert all(
        re.fullmatch(r".+\. .+ by .+: .+ from .+ to .+\.", each["aria-label"]) for each in images
    )
    heads = page.of("th", scope="col")
    assert [each["aria-sort"] for each in heads if "aria-sort" in each] == ["none"] * 4
    assert len(page.of("th", scope="row")) > 2
    assert page.of("html") == [{"lang": "en"}]
    assert page.of("table", **{"aria-label": "Results"})


def test_the_page_names_nothing_outside_itself(finished, tmp_path):
    file = tmp_path / "report.html"
    tiny.printed("report", finished, "--file", file)
    text = file.read_text()
    library = re.search(r'id="library">(.*?)</script>', text)[1]
    rest = text.replace(library, "")
    assert re.findall(r"""(?:src|href)=["']?(?!data:)""", rest) == []
    assert "@import" not in rest
    assert "default-src 'none'" in rest
    assert 1.5e6 < len(library) < 2.2e6  # plotly.js, compressed; 4.8 MB as it is


def test_the_same_run_gives_the_same_bytes(finished, tmp_path):
    files = [tmp_path / "a.html", tmp_path / "b.html"]
    for file in files:
        tiny.printed("report", finished, "--file", file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_python_writes_the_page_of_the_command(finished, tmp_path):
    file = studies.open(finished).report(tmp_path / "new" / "a.html")
    assert file == tmp_path / "new" / "a.html"
    tiny.printed("report", finished, "--file", tmp_path / "b.html")
    assert file.read_bytes() == (tmp_path / "b.html").read_bytes()


def test_without_a_file_the_page_lies_in_the_folder_of_the_newest_run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / finished.name)
    file = tmp_path / finished.name / "report.html"
    assert tiny.printed("report", "--out", tmp_path) == f"{file}\n"
    assert tiny.printed("list", "--out", tmp_path).count(finished.name) == 1


def test_a_run_that_was_evaluated_once_says_that_it_has_no_curves(page, tmp_path):
    tiny.printed(*tiny.COMMAND, "--evaluate-every", "20", "--out", tmp_path)
    file = studies.open(tiny.only_run(tmp_path).path).report(tmp_path / "a.html")
    once = browser_pages.read(file)
    assert "No curves of training: networks were evaluated once, at the end." in once.text
    assert len(once.charts) == len(page.charts) - 2
    assert "No curves of training" not in page.text


# Mistakes.


def test_without_plotly_one_line_says_what_to_install(finished, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    file = tmp_path / "report.html"
    assert cli.main(["report", str(finished), "--file", str(file)]) == 2
    line = "jaxlth: A report page needs plotly: run `pip install 'jaxlth[report]'`.\n"
    assert capfd.readouterr().err == line
    with pytest.raises(ValueError, match=r"pip install 'jaxlth\[report\]'"):
        studies.open(finished).report(file)
    assert not file.exists()


@pytest.mark.parametrize("name", ["report", "report.png", ".htmlx"])
def test_another_ending_than_html_is_refused(name, finished, tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"must end in .html; got {name!r}.")):
        studies.open(finished).report(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_named_in_one_line(finished, tmp_path, capfd):
    (tmp_path / "file").touch()
    assert cli.main(["report", str(finished), "--file", str(tmp_path / "file/a.html")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "a.html cannot be written" in line


def test_a_tolerance_beyond_1_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match=r"`tolerance` must lie in \[0, 1\]; got 2"):
        studies.open(finished).report(tmp_path / "a.html", tolerance=2)


# Unfinished runs, several runs, other studies.


def test_an_unfinished_run_says_what_is_missing(finished, tmp_path):
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    (path / "level_01/ticket/replicate_0/record.json").unlink()
    tiny.printed("report", path, "--file", tmp_path / "a.html")
    text = browser_pages.read(tmp_path / "a.html").text
    missing = "1 of 2 results are stored. Missing: level_01/ticket/replicate_0. The command that"
    assert f"Unfinished: {missing} made the run goes on with it." in text
    assert "1 of 2" in text


def test_replicates_that_are_missing_are_named_as_in_the_table(tmp_path, capfd):
    words = [*COMMAND, "--replicates", "2", "--out", tmp_path / "runs"]
    tiny.printed(*words)
    path = tiny.only_run(tmp_path / "runs").path
    (path / "level_01/ticket/replicate_1/record.json").unlink()
    capfd.readouterr()
    tiny.printed("report", path, "--file", tmp_path / "a.html")
    sentence = capfd.readouterr().err.strip()
    assert "Unfinished: replicate 1 (1 of 2) lacks networks that others have." in sentence
    assert sentence in tiny.printed("results", path).replace("\n", " ")
    assert sentence in browser_pages.read(tmp_path / "a.html").text


def test_runs_of_one_study_are_laid_over_each_other(finished, tmp_path):
    words = [*COMMAND, "--rewind-step", "5", "--out", tmp_path / "runs"]
    tiny.printed(*words)
    other = tiny.only_run(tmp_path / "runs").path
    tiny.printed("report", finished, other, "--file", tmp_path / "a.html")
    page = browser_pages.read(tmp_path / "a.html")
    accuracy = page.charts[0]
    names = [line["name"] for line in accuracy["lines"]]
    assert names == [
        *("rewind_step 0: ticket", "rewind_step 0: dense"),
        *("rewind_step 5: ticket", "rewind_step 5: dense"),
    ]
    looks = {line["name"]: line for line in accuracy["lines"]}
    tickets = [looks[f"rewind_step {step}: ticket"] for step in (0, 5)]
    assert tickets[0]["color"] == tickets[1]["color"] == theme.BLUE.lower()
    assert tickets[0]["dash"] != tickets[1]["dash"]
    assert page.text.count("jaxlth imp") == 3  # one section, and a command for each run
    assert "rewind_step 0 5" in page.text  # a row of what was run
    assert "2 runs of jaxlth" in page.text
    results = [studies.open(path) for path in (finished, other)]
    file = results[0].report(tmp_path / "b.html", others=results[1:])
    assert file.read_bytes() == (tmp_path / "a.html").read_bytes()


def test_runs_that_differ_in_too_much_are_numbered(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "again")
    tiny.printed("report", finished, tmp_path / "again", "--file", tmp_path / "a.html")
    page = browser_pages.read(tmp_path / "a.html")
    assert "run 2: ticket" in [line["name"] for line in page.charts[0]["lines"]]


def test_other_studies_come_below_and_one_that_is_added_has_a_page(finished, tmp_path):
    with studies.added(train_twice.STUDY):
        words = ["train-twice", "--data", "moons", "--steps", "20", "--evaluate-every", "10"]
        tiny.printed(*words, "--out", tmp_path / "runs")
        path = tiny.only_run(tmp_path / "runs").path
        tiny.printed("report", finished, path, "--file", tmp_path / "a.html")
    page = browser_pages.read(tmp_path / "a.html")
    assert page.text.index("jaxlth imp") < page.text.index("jaxlth train-twice")
    assert re.search(r"Two orders lead [\d.]+ apart\.", page.text)
    assert "orders" not in page.texts  # it has its default
    assert [each["alt"] for each in page.of("img")] == ["Figure: order-distances"]
    lines = [[line["name"] for line in chart["lines"]] for chart in page.charts]
    assert lines[-2:] == [["order a, network", "order b, network"]] * 2


def test_what_a_study_cannot_draw_yet_is_said(finished, tmp_path, monkeypatch):
    def lacks(*_):
        raise ValueError("There is no ticket yet.")

    monkeypatch.setitem(STUDIES, "imp", dataclasses.replace(STUDIES["imp"], charts=lacks))
    tiny.printed("report", finished, "--file", tmp_path / "a.html")
    page = browser_pages.read(tmp_path / "a.html")
    assert "Not drawn yet: There is no ticket yet." in page.text
    assert len(page.charts) == 3


# Charts as data.


def test_names_are_text_wherever_they_stand():
    chart = chart_of(line_of(HOSTILE), title=HOSTILE)
    table = Table(HOSTILE, HOSTILE, caption="[b]of two[/b]")
    table.add_row("[green]1[/green]", HOSTILE)
    section = html_page.Section(
        title=HOSTILE,
        runs=[HOSTILE, "b"],
        findings={HOSTILE: HOSTILE},
        notices=[HOSTILE],
        facts=[(HOSTILE, [HOSTILE, HOSTILE], True)],
        charts=[chart],
        tables={HOSTILE: html_table.from_rich(table)},
        pictures={HOSTILE: b"<svg/>"},
    )
    page = browser_pages.Page(html_page.render(HOSTILE, [section]))
    assert page.of("img", src="x") == []
    assert page.of("img", onerror="alert(1)") == []
    assert page.text.count(" ".join(HOSTILE.split())) >= 8
    assert page.charts[0]["lines"][0]["name"] == HOSTILE
    assert "<img" not in page.charts[0]["data"][0].get("text", [""])[0]
    assert "<img" not in page.charts[0]["data"][1]["text"][0]
    assert page.of("th", **{"class": "marked"})


def test_the_pointer_is_told_level_density_value_and_range():
    frame = pd.DataFrame({"level": [0, 1] * 2, "replicate": [0, 0, 1, 1], "run": "a"})
    frame = frame.assign(control="ticket", density=[1.0, 0.5] * 2, nan_step=None)
    chart = table_charts.accuracy(frame.assign(test_accuracy=[0.98, 0.96, 0.99, 0.97]))
    told = "<b>ticket</b><br>level 1<br>50 % of the weights<br>96.5 %<br>range 96 to 97 %"
    assert chart.lines[0].points["hover"].tolist()[1] == told
    band, line = plotly_json.figure(chart)["data"][:2]
    assert band["y"] == pytest.approx([99, 97, 96, 98])
    assert line["y"] == pytest.approx([98.5, 96.5])
    assert chart.lines[-1].name == "dense"


def test_without_an_accuracy_the_loss_is_drawn():
    frame = pd.DataFrame({"level": [0, 1], "density": [1.0, 0.5], "test_loss": [0.25, 0.5]})
    frame = frame.assign(control="ticket", nan_step=None, run="a", replicate=0)
    chart = table_charts.accuracy(frame.assign(test_accuracy=None))
    assert chart.y.title == "Test loss"
    assert chart.lines[0].points["y"].tolist() == [0.25, 0.5]
    assert table_charts.accuracy(frame.drop(columns="density")) is None


def test_networks_that_diverged_are_in_no_line():
    frame = pd.DataFrame({"unit": ["level_00/ticket/replicate_0", "level_00/ticket/replicate_1"]})
    frame = frame.assign(level=0, density=1.0, control="ticket", nan_step=[None, 7.0])
    (network,) = network_lines.networks(frame)
    assert network.units == ["level_00/ticket/replicate_0"]


def test_long_curves_are_thinned_and_end_with_the_first_replicate():
    """Neither the first nor the last evaluation is left out."""
    units = ["level_00/ticket/replicate_0", "level_00/ticket/replicate_1"]
    frame = pd.DataFrame({"unit": units, "level": 0, "density": 1.0, "control": "ticket"})
    lengths = dict(zip(units, (1001, 501), strict=True))
    parts = [pd.DataFrame({"unit": unit, "step": range(1, n)}) for unit, n in lengths.items()]
    curves = pd.concat(parts).assign(test_accuracy=0.5)
    chart = table_charts.training(frame, curves, "test_accuracy", {})
    places = chart.lines[0].points["x"]
    assert len(places) == 200
    assert (places.min(), places.max()) == (1, 500)
    assert set(np.diff(places)) == {2, 3}
    assert table_charts.training(frame, curves, "train_loss", {}) is None


def test_of_networks_with_the_same_layers_the_first_in_order_is_drawn():
    names = ["random", "snip-before-once-shuffled", "snip-before-once"]  # as a run lists them
    frame = pd.DataFrame({"control": names, "density": 0.2, "nan_step": None, "level": 1})
    frame["unit"] = [f"density_0.2/{name}/replicate_0" for name in names]
    frame["layer_densities.Dense_0/kernel"] = [0.3, 0.1, 0.1]
    styles = dict.fromkeys(["snip-before-once", "snip-before-once-shuffled", "random"], "#000000")
    chart = table_charts.layers(frame, styles)
    assert [line.name for line in chart.lines] == ["snip-before-once, 20 %", "random, 20 %"]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((["5", "20"], ["0", "5", "10"]), ["0", "5", "10", "20"]),
        ((["Dense_1", "Dense_0"], ["Dense_2"]), ["Dense_1", "Dense_0", "Dense_2"]),
    ],
)
def test_categories_that_are_numbers_come_by_their_size_and_others_as_they_come(runs, expected):
    lines = []
    for names in runs:
        statistics = pd.DataFrame({"mean": np.arange(len(names), dtype=float)})
        points = charts.points(names, statistics, [[]] * len(names), name="dense")
        lines.append(ChartLine("dense", "#000000", points))
    chart = Chart("Barrier", Axis("Step", "category"), Axis("Barrier"), lines)
    assert plotly_json.figure(chart)["layout"]["xaxis"]["categoryarray"] == expected


def drawn_log(y, low, high, **look):
    """Return figure and vertical axis of a line on a logarithmic axis."""
    line = line_of(y=y, **look)
    points = line.points.assign(low=low, high=high)
    figure = plotly_json.figure(chart_of(line._replace(points=points), scale="log"))
    return figure, figure["layout"]["yaxis"]


def test_a_logarithmic_axis_has_0_where_a_line_or_its_range_has_it():
    figure, axis = drawn_log([50.0, 0.5, 0.0], [40.0, 0.0, 0.0], [60.0, 1.0, 0.0])
    band, line = figure["data"]
    assert axis["type"] == "linear"
    places = dict(zip(axis["ticktext"], axis["tickvals"], strict=True))
    assert list(places)[:4] == ["0", "0.1", "0.2", "0.5"]
    assert line["y"] == pytest.approx([places["50"], places["0.5"], places["0"]])
    middle = (places["50"] + math.log10(1.2), places["1"], places["0"])
    assert band["y"] == pytest.approx([*middle, 0, 0, places["50"] - math.log10(1.25)])
    assert places["0"] == 0 < places["0.1"] < places["0.2"]
    assert places["10"] - places["1"] == pytest.approx(places["1"] - places["0.1"]) == 1
    figure, _ = drawn_log([50.0, 0.5, 0.0], [40.0, 0.0, 0.0], [60.0, 1.0, 0.0], has_bars=True)
    errors = figure["data"][0]["error_y"]
    assert errors["arrayminus"] == pytest.approx([math.log10(1.25), places["0.5"], 0])


@pytest.mark.parametrize(("y", "kind"), [([50.0, 0.5], "log"), ([50.0, 20.0, 0.0], None)])
def test_an_axis_without_0_stays_logarithmic_and_one_of_close_numbers_linear(y, kind):
    figure, axis = drawn_log(y, y, y)
    assert axis.get("type") == kind
    assert figure["data"][0]["y"] == y


@pytest.mark.parametrize("count", [2, 9])
def test_each_run_of_a_chart_has_a_dash_of_its_own(count):
    of_runs = {f"run {i}": [chart_of(line_of(), scale="log")] for i in range(count)}
    (chart,) = charts.overlaid(of_runs)
    assert len({line.dash for line in chart.lines}) == count
    assert {line.color for line in chart.lines} == {"#0072B2"}
    plotly.graph_objects.Figure({"data": plotly_json.figure(chart)["data"]})  # it checks dashes


def test_what_is_not_a_number_is_left_out():
    line = line_of(y=(98.0, math.nan))
    assert len(line.points) == 1
    endless = line_of(y=(98.0, math.inf))
    assert len(endless.points) == 1
    json.loads(plotly_json.text(chart_of(line, endless)))


def test_limits_of_charts_laid_over_each_other_hold_both():
    chart = chart_of(line_of(), limits=(90.0, 99.0))
    (both,) = charts.overlaid({"a": [chart], "b": [chart._replace(y=Axis("y", limits=(80, 95)))]})
    assert both.y.limits == (80, 99.0)
    assert [line.name for line in both.lines] == ["a: ticket", "b: ticket"]
    assert both.lines[1].points["hover"][0].startswith("b<br><b>ticket</b>")


@pytest.mark.parametrize(
    "color", [*sorted({line.color for line in theme.STYLE_CYCLE}), "#000000", "#333"]
)
def test_every_colour_is_seen_on_a_dark_page_and_keeps_its_hue(color):
    lighter = charts.on_dark(color)
    lights = [charts._luminance(colors.to_rgb(each)) + 0.05 for each in (lighter, charts.DARK)]
    assert lights[0] / lights[1] >= 4.5
    hues = [colors.rgb_to_hsv(colors.to_rgb(each))[0] for each in (color, lighter)]
    assert hues[0] == pytest.approx(hues[1], abs=0.02)


def test_the_dark_page_is_as_dark_as_colours_are_made_for():
    css = html_page._file("report.css")
    assert css.count(f"--back: {charts.DARK};") == 1


def test_heads_and_cells_of_a_printed_table_are_plain():
    table = Table("re-\ninitialised", "sepa-\nrated", caption="two\nlines")
    table.add_row("[green]98.00*[/green]", "3 of 4")
    table.add_row("97.00", "-", style="green")
    made = html_table.from_rich(table)
    assert made.head == ["reinitialised", "separated"]
    assert made.rows == [["98.00*", "3 of 4"], ["97.00", "-"]]
    assert made.marked == {(0, 0), (1, 0), (1, 1)}
    assert made.caption == "two\nlines"


# The page of the documentation.


def script():
    """Return the module that makes the pictures."""
    file = ROOT / "docs" / "pictures" / "report_pages.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_of_the_documentation_are_read():
    commands = script().commands("runs")
    assert {words[0] for words in commands} == {
        *("imp", "prune-early", "instability", "separation", "report")
    }
    for words in commands:
        assert parsing.parse(words).out == "runs"
    files = {pathlib.Path(words[words.index("--file") + 1]).stem for words in commands[1::2]}
    assert files == {page for page, *_ in script().PICTURES.values()} | {"two"}


def test_the_pictures_of_the_documentation_are_there_and_small():
    text = (ROOT / "docs" / "report_page.md").read_text()
    names = set(re.findall(r"\(pictures/(\w+)\.png\)", text))
    assert names == set(script().PICTURES)
    for name in names:
        size = (ROOT / "docs" / "pictures" / f"{name}.png").stat().st_size
        assert 10_000 < size <= script().LARGEST


def test_the_python_of_the_documentation_runs(finished, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "report_page.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (name,) = re.findall(r'open\("runs/(.*?)"\)', block)
    shutil.copytree(finished, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "report_page.md", "exec"), {})
    assert (tmp_path / "imp.html").exists()


def test_levels_of_one_density_are_a_point_each():
    """As of a tiny network, of which a level prunes less than half a weight."""
    rows = [(0, 1.0, 0.9), (1, 0.5, 0.8), (2, 0.5, 0.6)]
    frame = pd.DataFrame(rows, columns=["level", "density", "test_accuracy"])
    frame = frame.assign(control="ticket", replicate=0, nan_step=None, test_loss=1.0)
    (line, *_) = table_charts.accuracy(frame).lines
    assert line.points["y"].round(6).tolist() == [90, 80, 60]
    told = [re.findall(r"level \d", text) for text in line.points["hover"]]
    assert told == [["level 0"], ["level 1"], ["level 2"]]
