"""Figures as papers print them: colours, fonts, sizes, nothing covered, nothing without a label."""

import itertools
import pathlib
import re
import zlib

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_checks import faults
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxlth import cli, studies
from jaxlth.plots import control_styles, figures, mask_plots, outcome_plots, theme
from jaxlth.studies import STUDIES, method_figures, method_styles, report_page
from jaxlth.studies.dynamic import report as dynamic

# ---- colours

# Machado, Oliveira and Fernandes 2009, at full severity, for linear RGB.
VISION = {
    "all colours": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # of linear sRGB
WHITE = np.array([0.9505, 1.0, 1.089])
APART = 12.0  # distance in CIELAB; 2 is just noticeable side by side
TABLES = {
    "runs": theme.STYLE_CYCLE,
    "controls": [control_styles.line_style(name) for name in control_styles.CONTROL_STYLES],
    "outcomes": list(outcome_plots.OUTCOME_STYLES.values()),
    "weights": list(outcome_plots.CATEGORY_STYLES.values()),
}


def seen(color, vision):
    """Return a colour in CIELAB as somebody sees it."""
    values = np.array(to_rgb(color))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / WHITE
    f = [np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one, other, vision):
    return float(np.linalg.norm(seen(one, vision) - seen(other, vision)))


def test_red_and_green_are_close_in_deuteranopia_and_no_other_vision():
    apart = {vision: distance("#B05000", "#608000", vision) for vision in VISION}
    assert apart["deuteranopia"] < APART < apart["all colours"]
    assert apart["tritanopia"] > APART


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("table", TABLES)
def test_colours_of_a_table_are_apart_for_every_eye(table, vision):
    for one, other in itertools.combinations(TABLES[table], 2):
        assert distance(one.color, other.color, vision) > APART, (one, other)


@pytest.mark.parametrize("vision", VISION)
def test_lines_of_two_scores_differ_in_colour_or_in_marker(vision):
    tickets = ("none", "imp")  # drawn as they are everywhere
    styles = {name: line for name, line in method_styles.LINE_STYLES.items() if name not in tickets}
    for one, other in itertools.combinations(styles.values(), 2):
        is_apart = distance(one.color, other.color, vision) > APART
        assert is_apart or one.marker != other.marker, (one, other)


def test_lines_of_as_many_methods_as_a_panel_has_differ_in_colour_or_in_marker():
    styles = list(method_styles.line_styles([f"own{i}" for i in range(12)]).values())
    assert len({(style.color, style.marker) for style in styles}) == 12
    assert len({style.marker for style in styles}) == 12


def methods_of(*parts):
    """Return a table of results: dense, and (score, schedule, ablation) of each part at 20 %."""
    rows = []
    for place, (score, schedule, ablation) in enumerate([("none", "none", "none"), *parts]):
        control = "-".join(part for part in (score, schedule, ablation) if part != "none")
        control, density = control or "dense", 0.2 if control else 1.0
        rows.append(
            {
                **{"unit": f"density_{density:g}/{control}/replicate_0", "replicate": 0},
                **{"control": control, "level": int(density < 1), "density": density},
                **{"score": score, "schedule": schedule, "ablation": ablation, "link": False},
                **{"weights": "standard", "prune_step": 0, "nan_step": None},
                **{"test_accuracy": 0.9 - place / 100, "flops": density},
                **{"layer_densities.Dense_0/kernel": density - place / 100},
            }
        )
    return pd.DataFrame(rows).sort_values("unit", ignore_index=True)  # as a run lists them


ONCE = [(score, "before-once", "none") for score in ("mine", "snip", "yours")]
SHUFFLED = [(score, "before-once", "shuffled") for score in ("mine", "snip")]
ROUNDS = [(score, "before-rounds", "none") for score in ("snip", "mine")]
TABLES_OF_METHODS = {
    "ablations": methods_of(*ONCE, *SHUFFLED),
    "schedules": methods_of(*ROUNDS, *ONCE),
    "scores": methods_of(*ONCE),
}


def lines_of(figure):
    """Return the colour of each line of the first panel of a figure, or of a chart."""
    if isinstance(figure, Figure):
        lines = figure.axes[0].get_lines()
        return {line.get_label(): line.get_color() for line in lines if line.get_label()[0] != "_"}
    return {re.sub(", 20 %$", "", line.name): line.color for line in figure.lines}


@pytest.mark.parametrize("name", TABLES_OF_METHODS)
def test_a_method_has_one_colour_in_all_figures_and_charts_of_a_run(name):
    frame, path = TABLES_OF_METHODS[name], pathlib.Path()
    styles = {method: style.color for method, style in method_styles.of_run(frame).items()}
    assert len(set(styles.values())) == len(styles) == len(frame)
    densities = dict.fromkeys(sorted(styles.keys() - {"dense"}), np.array([0.5]))
    run = report_page.StoredRun(path, STUDIES["dynamic"], {}, frame, pd.DataFrame())
    charts, lacking = report_page._charts(run)
    assert [chart.title for chart in charts][1:] == ["Test accuracy by cost", "Density of layers"]
    assert lacking == []
    units = mask_plots.unit_sparsities(densities, method_styles.of_run(frame))
    for drawn in [method_figures.layers(frame), dynamic.flops(frame, path), units, *charts]:
        colors = lines_of(drawn)
        dashed = colors.pop("dense", None)
        assert {method: styles[method] for method in colors} == colors
        assert dashed in (None, theme.GRAY if isinstance(drawn, Figure) else styles["dense"])
    of_panel = lines_of(method_figures.accuracy(frame))
    scores = [method.removesuffix("-before-once") for method in styles if "shuffled" not in method]
    for score in (score for score in scores if score in of_panel and score != "dense"):
        assert of_panel[score] == styles[f"{score}-before-once"]
    if name == "ablations":
        assert of_panel["mine, shuffled"] == styles["mine-before-once-shuffled"]


def test_runs_on_one_page_have_one_colour_for_each_method():
    first, second = methods_of(*ONCE), methods_of(*ONCE[2:], *SHUFFLED)
    both = [*method_styles.of_run(first), *method_styles.of_run(second)]
    with method_styles.shared(both):
        one, other = method_styles.of_run(first), method_styles.of_run(second)
    colors = {method: style.color for method, style in [*one.items(), *other.items()]}
    assert one["yours-before-once"] == other["yours-before-once"]
    assert len(set(colors.values())) == len(colors) == 6
    alone = method_styles.of_run(second)["mine-before-once-shuffled"]
    assert alone == one["mine-before-once"] != other["mine-before-once-shuffled"]


def test_a_page_of_a_figure_of_twins_has_the_colours_of_all():
    rows = [(control, kind) for control in ("mine", "yours") for kind in ("twin", "pair")]
    frame = pd.DataFrame(rows, columns=["control", "kind"])
    page = frame[(frame["kind"] != "pair") | (frame["control"] == "yours")]
    assert method_styles.of_run(page) == method_styles.of_run(frame)


def test_more_methods_than_colours_differ_in_their_markers():
    styles = list(method_styles.line_styles([f"own{i}" for i in range(24)]).values())
    assert len(set(styles)) == 24


# ---- styles


def results():
    rows = []
    for level, control, replicate in itertools.product(range(5), ("ticket", "random"), range(2)):
        if level or control == "ticket":
            rows.append(
                {
                    "run": "run",
                    "replicate": replicate,
                    "level": level,
                    "control": control,
                    "density": 0.5**level,
                    "test_accuracy": 0.9 - 0.02 * level * (1 + (control == "random")),
                    "nan_step": np.nan,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(params=theme.STYLES)
def drawn(request):
    with theme.style(request.param):
        figure = figures.accuracy(results())
    theme.wrap_labels(figure)
    return request.param, figure


def test_a_figure_has_no_faults_in_any_style(drawn):
    _, figure = drawn
    assert faults(figure) == []


def test_a_figure_for_a_paper_has_the_width_of_a_column_and_serif_fonts(drawn):
    style, figure = drawn
    families = {text.get_fontfamily()[0] for text in figure.findobj(Text) if text.get_text()}
    assert figure.get_figwidth() == {"screen": 6.5, "paper": 3.25}[style]
    assert families == {{"screen": "sans-serif", "paper": "STIXGeneral"}[style]}


@pytest.mark.parametrize("panels", [2, 3, 4, 10])
def test_panels_for_a_paper_are_no_wider_than_its_text(panels):
    with theme.style("paper"), theme.applied():
        figure, _ = theme.new_figure(panels=panels)
    assert figure.get_figwidth() <= 6.75
    assert theme.new_figure(panels=3)[0].get_figwidth() == 12.75  # as wide as before


def test_a_note_leaves_those_before_it_and_is_not_repeated():
    _, axes = plain()
    for text in ("1 of 3 networks diverged", "", "2 are not drawn", "1 of 3 networks diverged"):
        theme.note(axes, text)
    assert axes.get_title(loc="right") == "1 of 3 networks diverged\n2 are not drawn"


def test_a_style_ends_with_its_context_and_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    with pytest.raises(ValueError, match="`metric`"), theme.style("paper"):
        figures.accuracy(results(), metric="none")
    assert figures.accuracy(results()).get_figwidth() == 6.5
    assert dict(matplotlib.rcParams) == before


def test_a_figure_does_not_follow_a_matplotlibrc_but_the_program(tmp_path, monkeypatch):
    def drawn():
        figure = figures.accuracy(results())
        figures.save(figure, tmp_path / "a.svg")
        return (tmp_path / "a.svg").read_bytes()

    of_file = {
        "text.usetex": True,  # LaTeX may be missing
        "axes.prop_cycle": matplotlib.cycler(color=["red"]),
        "font.family": ["serif"],
        "savefig.bbox": "tight",
    }
    plain = drawn()
    with matplotlib.rc_context(of_file):
        monkeypatch.setattr(matplotlib, "rcParamsOrig", matplotlib.rcParams.copy())
        assert drawn() == plain
        matplotlib.rcParams["savefig.bbox"] = None  # set by the program, to the default by chance
        assert theme.without_file().keys() == of_file.keys() - {"savefig.bbox"}


def test_text_of_a_pdf_is_text_in_truetype_fonts(drawn, tmp_path):
    style, figure = drawn
    figures.save(figure, tmp_path / "figure.pdf")
    content = (tmp_path / "figure.pdf").read_bytes()
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    whole = content + b"".join(filter(None, map(unpacked, parts)))
    assert b"/CIDFontType2" in whole
    assert b"/Type3" not in whole
    assert {"screen": b"DejaVuSans", "paper": b"STIX"}[style] in whole


def unpacked(part):
    try:
        return zlib.decompress(part)
    except zlib.error:
        return None


def test_a_figure_is_saved_by_a_user_as_matplotlib_does(drawn, tmp_path):
    _, figure = drawn
    figure.savefig(tmp_path / "own.png", dpi=50)
    assert plt.imread(tmp_path / "own.png").shape[1] == int(50 * figure.get_figwidth())


@pytest.mark.parametrize("kind", ["style", "file"])
def test_an_unknown_style_or_ending_is_refused_in_one_line(kind, capsys):
    words = {"style": ["--style", "papers"], "file": ["--file", "figure.eps"]}[kind]
    assert cli.main(["figure", *words]) == cli.MISTAKEN
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    for there in {"style": ("screen", "paper"), "file": (".png", ".pdf", ".svg")}[kind]:
        assert there in told


@pytest.mark.slow
def test_a_run_is_drawn_in_a_style_by_command_and_from_python(tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert cli.main(["imp", "--levels", "1", "--epochs", "0.2", "--replicates", "1", *out]) == 0
    file = tmp_path / "paper.svg"
    assert cli.main(["figure", *out, "--style", "paper", "--file", str(file)]) == 0
    assert 'width="234pt"' in file.read_text()  # 3.25 inches
    (path,) = tmp_path.glob("imp-*")
    run = studies.open(path)
    figure = run.plot("training", style="paper")
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == 3.25
    assert faults(figure) == []
    with pytest.raises(ValueError, match="`style` has no value 'poster'"):
        run.plot(style="poster")


# ---- the checks themselves


def plain():
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], label="line")
    axes.set(xlabel="Step", ylabel="Accuracy (%)")
    return figure, axes


SPOILED = {
    "a legend covers a panel": lambda axes: axes.legend(loc="center"),
    "the y axis has no label": lambda axes: axes.set_ylabel(""),
    "of ticks overlap": lambda axes: axes.set_xticks([0.5, 0.51], ["0.50", "0.51"]),
    "pixels lie beyond the figure": lambda axes: axes.figure.text(0.95, 0.5, "beyond the edge"),
    "has 4.0 points": lambda axes: axes.set_title("small", fontsize=4),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_fault_of_a_figure_is_found(fault):
    figure, axes = plain()
    assert faults(figure) == []
    SPOILED[fault](axes)
    (told,) = faults(figure)
    assert fault in told
