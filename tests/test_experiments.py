"""Each study runs at its smallest scale, twice, the second time training nothing."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def study(name: str | pathlib.Path, *arguments: str, cwd: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "experiments" / name), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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


STAND_IN = """
    import dataclasses
    import runpy
    import sys

    from jaxlth.models import ModelSettings
    from jaxlth.tickets import benchmarks

    large = benchmarks.BENCHMARKS["imagenet_resnet50"]
    small = dataclasses.replace(large, model=ModelSettings(name="mlp", hidden=(8,)))
    benchmarks.BENCHMARKS["imagenet_resnet50"] = small
    benchmarks.ON_THE_FLY["mlp"] = "synthetic"
    runpy.run_path({study!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_imagenet_resnet50_compares_its_rewinding_steps_on_a_small_network(tmp_path):
    path = ROOT / "experiments" / "imagenet_resnet50.py"
    (tmp_path / "study.py").write_text(textwrap.dedent(STAND_IN.format(study=str(path))))
    arguments = ["--results", str(tmp_path / "results")]
    first = study(tmp_path / "study.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    assert {path.stem for path in folder.glob("*.png")} == {"rewinding", "epoch-5", "step-0"}
    table = pd.read_csv(folder / "summary.csv")
    assert set(table["part"]) == {"epoch-5", "step-0"}
    assert set(table["density"].round(2)) == {1.0, 0.3}
    assert len(table) == 2 * (1 + 4)
    stored = records(tmp_path / "runs")
    again = study(tmp_path / "study.py", *arguments, cwd=tmp_path)
    assert concluded(again) == concluded(first)
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
def test_speed_prints_its_tables(tmp_path, real_data):
    arguments = ("--data-dir", str(real_data), "--steps", "60", "--rounds", "1")
    printed = study("speed.py", *arguments, cwd=tmp_path)
    assert "library, pure function" in printed
    assert "14.7 million" in printed


@pytest.mark.slow
def test_streaming_speed_prints_its_tables(tmp_path):
    small = ("--images", "8", "--steps", "3", "--batch-size", "4", "--step-seconds", "0.01")
    printed = study("streaming_speed.py", *small, cwd=tmp_path)
    for row in ("for training", "for testing", "0", "1", "2"):
        assert re.search(rf"^\| {row} \| \d+( %)? \|$", printed, re.MULTILINE)


@pytest.mark.slow
def test_cifar_speed_prints_its_table(tmp_path):
    small = ("--networks", "conv-2", "--batch-size", "4", "--rounds", "1")
    printed = study("cifar_speed.py", *small, cwd=tmp_path)
    assert (
        len(re.findall(r"^\| conv-2 \| .* \| \d+ ms \| \d\.\d\d \|$", printed, re.MULTILINE)) >= 3
    )


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts", "figures"),
    [
        (
            "composite_pruning.py",
            ("schedules", "meta"),
            {f"figure_5-{number}" for number in (1, 2, 3, 4, 5, 6, "7a", "7b", 8, 9)},
        ),
        (
            "composite_pruning.py",
            ("stacks", "weights"),
            {f"figure_5-{number}" for number in (1, 2, 3, 5, 10, 11, 12, 13, 14)},
        ),
        (
            "pruning_at_init.py",
            ("ablations", "steps", "after"),
            {"figure_5-5", "figure_5-6", "figure_5-11", "figure_5-13", "figure_5-14"},
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
def test_variants_of_scores_are_compared_on_the_digits_and_train_nothing_again(tmp_path):
    arguments = ["--networks", "conv-2-digits", "--parts", "variants", "--replicates", "1"]
    arguments += ["--results", str(tmp_path / "results")]
    printed = study("pruning_at_init.py", *arguments, cwd=tmp_path)
    methods = pd.read_csv(tmp_path / "results" / "smoke" / "conv-2-digits" / "methods.csv")
    scores = ("grasp-lowest", "grasp-magnitude", "magnitude-unit-variance", "random")
    assert {f"{score}-uss" for score in scores} <= set(methods["control"])
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
    for name, table, rows in (
        ("adsynflow.py", "momentum-0.1/adsynflow.csv", 2),
        ("dynamic_imp.py", "networks.csv", 5),
    ):
        study(name, *shared, cwd=tmp_path)
        assert len(pd.read_csv(tmp_path / "results" / "smoke" / table)) == rows
        stored = records(tmp_path / "runs")
        study(name, *shared, cwd=tmp_path)
        assert records(tmp_path / "runs") == stored


@pytest.mark.slow
def test_network_separation_draws_its_figures_and_trains_nothing_again(tmp_path):
    arguments = ["--replicates", "1", "--parts", "extension", "grid"]
    arguments += ["--results", str(tmp_path / "results")]
    printed = study("network_separation.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    table = pd.read_csv(folder / "table_4-1.csv")
    assert table[["hidden-2", "param-2"]].iloc[25].tolist() == [1310, 1_723_960]
    assert len(pd.read_csv(folder / "extension_2.csv")) == 3
    assert len(pd.read_csv(folder / "grid.csv")) == 2 * 2
    numbers = {path.stem.partition("-")[2] for path in folder.glob("figure_*.png")}
    assert numbers >= {"4", "5", "11", "12", "15", "16", "17", "18", "19"}
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
    assert numbers == {"20", "21", "22", "23", "24", "25", "26"}
    assert len(pd.read_csv(folder / "mnist_levels.csv")) == 5


@pytest.mark.slow
def test_trained_supermasks_are_drawn_beside_tickets_and_train_nothing_again(tmp_path):
    arguments = ["--replicates", "1", "--results", str(tmp_path / "results")]
    printed = study("trained_supermasks.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke" / "lenet"
    assert {path.stem for path in folder.glob("*.png")} == {"accuracy", "controls", "layers"}
    methods = pd.read_csv(folder / "methods.csv").set_index(["control", "density"])["mean"]
    assert methods["edge-popup", 0.5] > 0.5  # its weights never trained, ten classes
    assert {"gem-miner-finetuned", "bernoulli", "magnitude-iss"} <= set(methods.index.levels[0])
    stored = records(tmp_path / "runs")
    again = study("trained_supermasks.py", "--draw", *arguments, cwd=tmp_path)
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert records(tmp_path / "runs") == stored


@pytest.mark.data
@pytest.mark.slow
def test_compaction_speed_measures_every_level(tmp_path, real_data):
    arguments = ["--levels", "2", "--rounds", "1", "--data-dir", str(real_data)]
    printed = study("compaction_speed.py", *arguments, cwd=tmp_path)
    rows = [line for line in printed.splitlines() if re.match(r"\| \d", line)]
    assert [row.split("|")[1].strip() for row in rows] == ["0", "1", "2"]
    assert rows[0].split("|")[3].strip() == "784 x 300 x 100 x 10"
