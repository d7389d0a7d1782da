"""Each study runs at its smallest scale, twice, the second time training nothing.

Every script of the folder has its test here, or in `test_benchmarks.py`.
"""

import ast
import contextlib
import functools
import importlib
import io
import os
import pathlib
import re
import runpy
import shlex
import sys
import textwrap
from collections.abc import Callable
from typing import get_args
from unittest import mock

import pandas as pd
import pytest
import scripts
import tiny
from scripts import EXPERIMENTS, ROOT

from jaxlth import cli, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.config import run_label
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.training import TrainingConfig


@functools.cache
def entry(script: str) -> Callable[..., None]:
    """The function `main` of a script."""
    with mock.patch.dict(os.environ):
        return importlib.import_module(script.removesuffix(".py")).main


def study(name: str, *arguments: str, cwd: pathlib.Path) -> str:
    """What a script of the folder prints, run within this process, which has imported much."""
    printed, told = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", [name, *arguments]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(told),
    ):
        code = cli.guarded(lambda: cli.call(entry(name)))
    assert code == 0, told.getvalue()
    return printed.getvalue()


@pytest.mark.slow
def test_lenet_mnist_draws_its_figures_and_trains_nothing_again(tmp_path):
    arguments = ("--scale", "smoke", "--results", str(tmp_path / "results"))
    first = study("lenet_mnist.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    figures = {path.stem for path in folder.glob("*.png")}
    assert figures == {f"figure_3-{number}" for number in (1, 2, 3, 5, 7, 8, 9)}
    table = pd.read_csv(folder / "imp.csv")
    assert len(table) == 2 * (4 + 3)  # tickets of all levels, three controls at the last
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("record.json")}
    assert concluded(study("lenet_mnist.py", *arguments, cwd=tmp_path)) == concluded(first)
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("record.json")}
    assert again == stored


def concluded(printed: str) -> str:
    """What a study prints after its runs, which tell more the second time."""
    return printed.rpartition("run: ")[2]


def records(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_lottery_cifar_draws_its_figures_and_trains_nothing_again(tmp_path, real_data):
    arguments = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    first = study("lottery_cifar.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    assert {path.stem for path in folder.rglob("*.png")} == {"figure_3-3", "figure_3-7"}
    table = pd.read_csv(folder / "conv-2" / "imp.csv")
    assert set(table["control"]) == {"ticket", "reinitialized", "random", "random-layerwise"}
    assert len(pd.read_csv(folder / "summary.csv")) == 7
    stored = records(tmp_path / "runs")
    again = study("lottery_cifar.py", *arguments, cwd=tmp_path)
    assert concluded(again) == concluded(first)
    assert records(tmp_path / "runs") == stored


@pytest.mark.slow
def test_parts_of_lottery_cifar_share_their_dense_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXPERIMENTS), *sys.path])
    script = runpy.run_path(str(EXPERIMENTS / "lottery_cifar.py"))
    shared = ImpConfig(
        data=DataConfig(name="digits"),
        model=ModelConfig(name="mlp", hidden=(8,)),
        training=TrainingConfig(steps=20, batch_size=50),
        levels=1,
        replicates=2,
    )
    imp, lrr = (script["PARTS"][part](shared) for part in ("imp", "lrr"))
    first = cli.staged(imp, str(tmp_path))
    script["take_dense"](first, lrr, str(tmp_path))
    run = store.open_readonly(store.folder(tmp_path, lrr, job="imp", label=run_label(lrr)))
    names = [f"level_00/ticket/replicate_{replicate}" for replicate in (0, 1)]
    assert [name for name, _ in run.records()] == names
    before = tiny.times(run.path)
    cli.staged(lrr, str(tmp_path))
    after = tiny.times(run.path)
    assert all(after[file] == time for file, time in before.items())
    alone = store.open_readonly(cli.staged(lrr, str(tmp_path / "alone")))
    for name, record in alone.records():
        assert run.record(name) | {"seconds": 0} == record | {"seconds": 0}
        for tree in ("network", "mask"):
            assert tiny.same(run.load(name, tree), alone.load(name, tree))


STAND_IN = """
    import dataclasses
    import runpy
    import sys

    from jaxlth.models import ModelConfig
    from jaxlth.studies.imp import benchmarks

    large = benchmarks.BENCHMARKS["imagenet_resnet50"]
    small = dataclasses.replace(large, model=ModelConfig(name="mlp", hidden=(8,)))
    benchmarks.BENCHMARKS["imagenet_resnet50"] = small
    benchmarks.ON_THE_FLY["mlp"] = "synthetic"
    runpy.run_path({study!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_imagenet_resnet50_compares_its_rewinding_steps_on_a_small_network(tmp_path):
    path = ROOT / "experiments" / "imagenet_resnet50.py"
    (tmp_path / "study.py").write_text(textwrap.dedent(STAND_IN.format(study=str(path))))
    arguments = ["--results", str(tmp_path / "results")]
    first = scripts.printed(tmp_path / "study.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    assert {path.stem for path in folder.glob("*.png")} == {"rewinding", "epoch-5", "step-0"}
    table = pd.read_csv(folder / "summary.csv")
    assert set(table["part"]) == {"epoch-5", "step-0"}
    assert set(table["density"].round(2)) == {1.0, 0.3}
    assert len(table) == 2 * (1 + 4)
    stored = records(tmp_path / "runs")
    again = scripts.printed(tmp_path / "study.py", *arguments, cwd=tmp_path)
    assert concluded(again) == concluded(first)
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts", "figures"),
    [
        (
            "composite_pruning.py",
            ("schedules", "meta"),
            {f"figure_5-{number}" for number in (1, 2, 3, 4, 5, 6, "7a", "7b", 8, 9)}
            | {"figure_B-1", "jaccard"},
        ),
        (
            "composite_pruning.py",
            ("stacks", "weights"),
            {f"figure_5-{number}" for number in (1, 2, 5, 10, 11, 12, 13, 14)} | {"jaccard"},
        ),
        (
            "pruning_at_init.py",
            ("ablations", "steps", "after"),
            {f"figure_5-{number}" for number in (4, 5, 6, 11, 12, 13, 14)},
        ),
    ],
)
def test_studies_of_early_pruning_draw_from_what_is_stored(
    name, parts, figures, tmp_path, real_data
):
    place = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    printed = study(name, "--parts", *parts, *place, cwd=tmp_path)
    assert {path.stem for path in (tmp_path / "results").rglob("*.png")} == figures
    stored = records(tmp_path / "runs")
    assert len(stored) > 20
    (table,) = (tmp_path / "results").rglob("methods.csv")
    assert pd.read_csv(table)["mean"].between(0, 1).all()
    again = study(name, "--draw", *place, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
def test_imp_in_few_trainings_ends_at_one_density_and_trains_nothing_again(tmp_path, real_data):
    place = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    study("composite_pruning.py", "--parts", "trainings", *place, cwd=tmp_path)
    table = pd.read_csv(tmp_path / "results" / "smoke" / "trainings.csv")
    assert table["trainings"].tolist() == [1, 2]
    assert table["density"].tolist() == pytest.approx([0.1, 0.1], abs=1e-4)
    assert table["count"].tolist() == [2, 2]
    stored = records(tmp_path / "runs")
    assert len(stored) == 2 * (2 + 3)  # replicates, networks of one and of two trainings
    study("composite_pruning.py", "--parts", "trainings", *place, cwd=tmp_path)
    assert records(tmp_path / "runs") == stored


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_variants_of_scores_are_compared_on_the_digits_and_train_nothing_again(tmp_path):
    arguments = ["--networks", "conv-2-digits", "--parts", "variants", "--replicates", "1"]
    arguments += ["--results", str(tmp_path / "results")]
    printed = study("pruning_at_init.py", *arguments, cwd=tmp_path)
    methods = pd.read_csv(tmp_path / "results" / "smoke" / "conv-2-digits" / "methods.csv")
    scores = ("grasp-lowest", "grasp-magnitude", "magnitude-unit-variance", "random")
    assert {f"{score}-before-once" for score in scores} <= set(methods["control"])
    stored = records(tmp_path / "runs")
    again = study("pruning_at_init.py", "--draw", *arguments, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
def test_linear_mode_connectivity_draws_its_figures_and_trains_nothing_again(tmp_path, real_data):
    arguments = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    arguments += ["--parts", "dense", "tickets"]
    first = study("linear_mode_connectivity.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke" / "mlp-cifar"
    numbers = {path.stem.partition("-")[2] for path in folder.glob("*.png")}
    assert numbers == {"2", "3", "6", "7", "14", "15", "16", "22", "25", "31", "33"}
    table = pd.read_csv(folder / "summary.csv")
    assert len(table) == 2 * 4  # steps, networks
    stored = records(tmp_path / "runs")
    assert concluded(study("linear_mode_connectivity.py", *arguments, cwd=tmp_path)) == concluded(
        first
    )
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
def test_adsynflow_and_dynamic_imp_end_in_tables_and_train_nothing_again(tmp_path, real_data):
    shared = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    for name, words, table, rows in (
        ("adsynflow.py", [], "momentum-0.1/adsynflow.csv", 2),
        ("dynamic_imp.py", ["--ablations", "--levels", "2"], "networks.csv", 11),
    ):
        study(name, *words, *shared, cwd=tmp_path)
        networks = pd.read_csv(tmp_path / "results" / "smoke" / table)
        assert len(networks) == rows
        stored = records(tmp_path / "runs")
        study(name, *words, *shared, cwd=tmp_path)
        assert records(tmp_path / "runs") == stored
    by_name = networks.set_index("network")
    assert by_name["density"].drop("dense").round(4).eq(0.1).all()
    shared_masks = by_name["shared_with_last"]
    assert shared_masks["at least 80 % of the mask shared"] >= 0.8 > shared_masks["dynamic"]
    assert shared_masks["at least 100 % of the mask shared"] == 1
    for name in ("regrown weights drawn again", "grown by the gradient", "grown by chance"):
        assert shared_masks[name] == pytest.approx(shared_masks["dynamic"])


@pytest.mark.data
@pytest.mark.slow
def test_dynamic_sparse_has_a_row_for_each_method_and_density(tmp_path, real_data):
    shared = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    study("dynamic_sparse.py", "--replicates", "1", *shared, cwd=tmp_path)
    table = pd.read_csv(tmp_path / "results" / "smoke" / "methods.csv")
    sparse = {"IMP", "SynFlow", "random", "static", "SET", "RigL", "RigL 5x", "dynamic IMP"}
    assert set(zip(table["density"], table["method"], strict=True)) == {
        (1.0, "dense"),
        *((density, method) for density in (0.1, 0.02) for method in sparse),
    }
    assert (table["flops"] >= table["density"]).all()


@pytest.mark.slow
def test_a_tree_is_selected_from_as_numpy_counts(tmp_path):
    printed = study("large_tree.py", "--side", "300", cwd=tmp_path)
    assert "270000 weights, 202500 asked for: 202500 kept, density 0.7500000" in printed
    assert "weights that NumPy selects otherwise: 0" in printed
    left_out = study("large_tree.py", "--side", "1000000", cwd=tmp_path)
    assert left_out.startswith("Left out: needs ")


@pytest.mark.slow
def test_network_separation_draws_its_figures_and_trains_nothing_again(tmp_path):
    arguments = ["--replicates", "1", "--parts", "extension", "grid"]
    arguments += ["--results", str(tmp_path / "results")]
    printed = study("network_separation.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    table = pd.read_csv(folder / "table_4-1.csv")
    assert table[["hidden-2", "param-2"]].iloc[25].tolist() == [1310, 1_723_960]
    assert table[["hidden-3", "param-3"]].iloc[0].tolist() == [6, 108]
    assert len(pd.read_csv(folder / "extension_2.csv")) == 3
    assert len(pd.read_csv(folder / "grid.csv")) == 2 * 2
    part = ["--draw", *arguments[:2], "--parts", "grid", "--widths", "10", "--prunings", "1"]
    study("network_separation.py", *part, *arguments[-2:], cwd=tmp_path)
    assert len(pd.read_csv(folder / "grid_part.csv")) == 1
    numbers = {path.stem.partition("-")[2] for path in folder.glob("figure_*.png")}
    assert numbers >= {"1", "2", "4", "5", "11", "12", "15", "16", "17", "18", "19"}
    stored = records(tmp_path / "runs")
    again = study("network_separation.py", "--draw", *arguments, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
def test_network_separation_on_images_ends_in_pictures(tmp_path, real_data):
    arguments = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    study("network_separation.py", "--parts", "mnist", "pixels", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    numbers = {path.stem.partition("-")[2] for path in folder.glob("figure_*.png")}
    assert numbers == {"3", "20", "21", "22", "23", "24", "25", "26"}
    assert len(pd.read_csv(folder / "mnist_levels.csv")) == 5


@pytest.mark.slow
def test_trained_supermasks_are_drawn_beside_tickets_and_train_nothing_again(tmp_path):
    arguments = ["--replicates", "1", "--results", str(tmp_path / "results")]
    printed = study("trained_supermasks.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke" / "lenet"
    assert {path.stem for path in folder.glob("*.png")} == {"accuracy", "controls", "layers"}
    table = pd.read_csv(folder / "methods.csv")
    assert set(table["n"]) == {1}, "networks that several runs share count once"
    methods = table.set_index(["control", "density"])["mean"]
    assert methods["edge-popup", 0.5] > 0.5  # its weights never trained, ten classes
    assert {"gem-miner-finetuned", "bernoulli", "magnitude-iterative-once"} <= set(
        methods.index.levels[0]
    )
    stored = records(tmp_path / "runs")
    again = study("trained_supermasks.py", "--draw", *arguments, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vit-tiny", "gpt-mini"])
@pytest.mark.usefixtures("narrow")
def test_transformers_end_in_tables_and_figures_and_train_nothing_again(network, tmp_path):
    arguments = ["--networks", network, "--results", str(tmp_path / "results")]
    printed = study("transformers.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke" / network
    figures = {path.stem for path in folder.glob("*.png")}
    of_imp = {f"{p}_{name}" for p in ("imp", "layerwise") for name in ("accuracy", "loss")}
    assert figures == of_imp | {"instability", "interpolation"}
    alike = pd.read_csv(folder / "layerwise_layers.csv")["level_1"]
    assert alike.tolist() == pytest.approx([0.5] * len(alike), abs=1e-3)
    summary = pd.read_csv(folder / "imp_summary.csv")
    assert set(summary["control"]) == {"ticket", "reinitialized", "random"}
    assert (summary["test_error"] + summary["test_accuracy"]).tolist() == pytest.approx([1] * 4)
    assert ("bits_per_character" in summary) == (network == "gpt-mini")
    assert pd.read_csv(folder / "instability.csv")["step_k"].tolist() == [0, 1]
    made = pd.read_csv(folder / "imp_about.csv", index_col="what")["value"]
    assert made["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]
    stored = records(tmp_path / "runs")
    again = study("transformers.py", "--draw", *arguments, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


@pytest.mark.slow
def test_supermask_tickets_draws_its_figures_and_trains_nothing_again(tmp_path):
    arguments = ["--replicates", "1", "--no-search", "--results", str(tmp_path / "results")]
    printed = study("supermask_tickets.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke" / "validation"
    assert {path.stem for path in folder.glob("*.png")} >= {"figure_1", "figure_2", "figure_3"}
    numbers = pd.read_csv(folder / "numbers.csv").set_index("number")["mean"]
    assert numbers["untrained accuracy at the best t"] > 20  # ten classes
    stored = records(tmp_path / "runs")
    again = study("supermask_tickets.py", "--draw", *arguments, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


def test_every_script_of_the_folder_has_a_test_here():
    here = pathlib.Path(__file__)
    trees = [ast.parse(path.read_text()) for path in (here, here.with_name("test_benchmarks.py"))]
    named = {
        node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)
    }
    assert set(scripts.NAMES) - named == set()


def commands() -> list[str]:
    """The commands of scripts that the pages on them and the scripts themselves name."""
    docs = EXPERIMENTS.parent / "docs"
    pages = [*sorted((docs / "papers").glob("*.md")), docs / "speed.md"]
    text = " ".join(" ".join(page.read_text() for page in pages).split())
    named = re.findall(r"`(python experiments/[^`]+|\.\.\. [^`]+)`", text)
    for place, command in enumerate(named):  # "..." stands for the script of the row above
        if command.startswith("... "):
            named[place] = f"{' '.join(named[place - 1].split()[:2])} {command[4:]}"
    for name in scripts.NAMES:
        text = (EXPERIMENTS / name).read_text()
        named += re.findall(r"^    (python experiments/.*?)(?:  +#.*)?$", text, re.MULTILINE)
    return named


@pytest.mark.parametrize("script", scripts.NAMES)
def test_every_command_that_is_named_has_the_options_of_its_script(script, monkeypatch):
    main = entry(script)
    own = [shlex.split(line) for line in commands() if line.split()[1] == f"experiments/{script}"]
    assert own
    for _, _, *options in own:
        monkeypatch.setattr(sys, "argv", [script, *options])
        assert cli.call(functools.wraps(main)(lambda *_, **__: 0)) == 0, options


def test_networks_of_chapter_5_are_looked_at_where_they_match(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    networks, study_of = (
        importlib.import_module(name) for name in ("early_networks", "pruning_at_init")
    )
    expected = {"resnet-20": 0.262, "vgg-16": 0.069, "resnet-18": 0.035, "resnet-50": 0.328}
    for network, density in expected.items():
        shared = networks.settings(network, "paper", data_dir=None)
        assert max(shared.densities) == 0.8
        assert min(shared.densities) == 0.018
        assert networks.matching(network, shared) == density
        later = study_of.of_part("steps", shared, network, "paper")
        assert {config.densities for config in later} == {(density,)}
    shared = networks.settings("resnet-20", "paper", data_dir=None)
    assert {36_000, 48_000, 63_000} < set(networks.steps(shared, "paper"))
    after = study_of.of_part("after", shared, "resnet-20", "paper")
    rounds = [config.scores for config in after if config.schedules == ("after-rounds",)]
    assert rounds == [("snip", "grasp", "synflow")]


def test_replications_ask_for_what_the_tables_of_the_thesis_have(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    replications = importlib.import_module("pruning_replications")
    asked = {}
    for network in get_args(replications.Name):
        shared = replications.settings(network, "paper", data_dir=None)
        for part in ("snip", "grasp", "synflow"):
            configs = list(replications.of_part(part, shared, network, "paper"))
            asked[network, part] = [config.densities for config in configs]
            rows = [row for row in replications.ROWS if row[:2] == (network, part)]
            assert bool(configs) == bool(rows) or network in replications.OF_FIGURE
    assert asked["wrn-32-2", "grasp"] == [(0.1, 0.05, 0.02)]
    assert asked["vgg2-16", "snip"] == [(0.05,)]
    assert [len(densities) for densities in asked["vgg-11", "synflow"]] == [10, 10]
    rows = [("dense", 1.0, 0.93), ("snip-before-once", 0.05, 0.92)]
    frame = pd.DataFrame(rows, columns=["control", "density", "test_accuracy"]).assign(
        **dict.fromkeys(["score", "schedule", "ablation"], "none"),
        **{"weights": "standard", "prune_step": 0, "level": [0, 1], "replicate": 0, "link": False},
        **{"unit": ["density_1/dense/0", "density_0.05/snip/0"], "nan_step": None},
    )
    table = replications.beside(frame, "vgg2-16").set_index("control")
    assert table["thesis"].tolist() == [93.5, 92.3]
    assert table["paper"].tolist() == [93.2, 92.9]


def test_inverted_tickets_have_a_panel_of_their_own(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    study_of = importlib.import_module("pruning_at_init")
    tickets = [
        (f"snip-{ablation}", ablation, density, accuracy)
        for ablation, accuracy in (("none", 0.95), ("shuffled", 0.94), ("inverted", 0.1))
        for density in (0.1, 0.01)
    ]
    columns = ["control", "ablation", "density", "test_accuracy"]
    frame = pd.DataFrame([("dense", "none", 1.0, 0.96), *tickets], columns=columns)
    frame = frame.assign(
        **{"method": "snip before-once", "weights": "standard", "replicate": 0, "link": False},
        **{"level": (frame["density"] < 1).astype(int), "nan_step": None},
        unit="density_" + frame["density"].astype(str) + "/" + frame["control"] + "/0",
    )
    inverted, others = study_of.ablations(frame).axes
    assert {line.get_label() for line in others.get_lines()} == {"as found", "shuffled", "dense"}
    assert {line.get_label() for line in inverted.get_lines()} == {"snip before-once", "dense"}
    assert others.get_ylim()[0] > 90


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_replications_end_in_a_table_beside_the_numbers_of_the_thesis(tmp_path, real_data):
    place = ["--data-dir", str(real_data), "--results", str(tmp_path / "results")]
    study("pruning_replications.py", "--parts", "synflow", *place, cwd=tmp_path)
    table = pd.read_csv(tmp_path / "results" / "smoke" / "replications.csv")
    assert table["control"].tolist() == ["dense", "synflow-before-rounds"]
    assert table["thesis"][0] == 92.0


@pytest.mark.data
@pytest.mark.slow
def test_at_once_snip_does_not_depend_on_rounding(tmp_path, real_data):
    few = ["--densities", "0.1", "--replicates", "1", "--rounds", "2"]
    place = ["--data-dir", str(real_data), "--results", str(tmp_path)]
    study("snip_rounding.py", *few, *place, cwd=tmp_path)
    (row,) = pd.read_csv(tmp_path / "rounding.csv").to_dict("records")
    assert row["once"] == 1
    assert 0.5 < row["rounds"] <= 1
