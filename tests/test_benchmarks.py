"""Each script that measures runs with few rounds: what it prints is there, not how fast it was."""

import importlib.util
import pathlib
import re

import pytest
import scripts
from scripts import refused


def benchmark(name: str, *arguments: str, cwd: pathlib.Path) -> str:
    """Return what a script of the folder prints."""
    return scripts.printed(scripts.EXPERIMENTS / name, *arguments, cwd=cwd)


@pytest.mark.data
@pytest.mark.slow
def test_speed_prints_its_tables(tmp_path, real_data):
    arguments = ("--data-dir", str(real_data), "--steps", "60", "--rounds", "1")
    printed = benchmark("speed.py", *arguments, cwd=tmp_path)
    assert "library, pure function" in printed
    assert "14.7 million" in printed


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vit-tiny", "gpt-mini"])
def test_speed_compares_a_transformer_with_its_bare_scan(model, tmp_path):
    printed = benchmark("speed.py", "--model", model, "--steps", "1", "--rounds", "1", cwd=tmp_path)
    assert len(re.findall(r"^\| .+ \| [\d.]+ steps/s \| \d\.\d\d \|$", printed, re.M)) == 6


@pytest.mark.data
@pytest.mark.slow
def test_own_speed_compares_networks_and_arrays_of_ones_own(tmp_path, real_data):
    small = ["--steps", "20", "--rounds", "1", "--data-dir", str(real_data)]
    printed = benchmark("own_speed.py", *small, cwd=tmp_path)
    assert len(re.findall(r"^\| .+ \| [\d.]+ steps/s \| \d+\.\d\d \|$", printed, re.M)) == 5
    peaks = re.findall(r"^\| (.+) \| \d+ MB \| \d\.\d\d \| \d+ MB \|$", printed, re.M)
    assert peaks == ["mnist", "own arrays"]


@pytest.mark.slow
def test_streaming_speed_prints_its_tables(tmp_path):
    small = ("--images", "8", "--steps", "3", "--batch-size", "4", "--step-seconds", "0.01")
    printed = benchmark("streaming_speed.py", *small, cwd=tmp_path)
    for row in ("for training", "for testing", "0", "1", "2"):
        assert re.search(rf"^\| {row} \| \d+( %)? \|$", printed, re.MULTILINE)


@pytest.mark.slow
def test_cifar_speed_prints_its_table(tmp_path):
    small = ("--networks", "conv-2", "--batch-size", "4", "--rounds", "1")
    printed = benchmark("cifar_speed.py", *small, cwd=tmp_path)
    assert (
        len(re.findall(r"^\| conv-2 \| .* \| \d+ ms \| \d\.\d\d \|$", printed, re.MULTILINE)) >= 3
    )


@pytest.mark.slow
def test_sparsify_speed_prints_its_tables(tmp_path):
    printed = benchmark("sparsify_speed.py", "--steps", "1", "--rounds", "1", cwd=tmp_path)
    plain = re.findall(r"^\| (.*) \| \d+\.\d\d \| 1\.00 \| 1\.00 \|$", printed, re.MULTILINE)
    assert plain.count("plain") == 2
    assert len(re.findall(r"^\| .* \| \d.* \|$", printed, re.MULTILINE)) == 2 * 4 + 2


@pytest.mark.slow
def test_repeated_speed_compiles_nothing_again(tmp_path):
    printed = benchmark("repeated_speed.py", "--steps", "20", "--rounds", "1", cwd=tmp_path)
    rows = re.findall(r"^\| ([a-z-]+) \| [\d.]+ s \| (\d+) \| [\d.]+ s \| 0 \|$", printed, re.M)
    assert [name for name, programs in rows if int(programs)] == [
        "imp",
        "instability",
        "prune-early",
        "dynamic",
        "train-supermasks",
    ]


@pytest.mark.slow
def test_selection_speed_compares_with_a_partition_of_numpy(tmp_path):
    printed = benchmark("selection_speed.py", "--rounds", "1", "--divide", "16", cwd=tmp_path)
    assert re.search(r"^\| np\.partition of the scores \| \d+ \| 1\.00 \|$", printed, re.MULTILINE)
    assert len(re.findall(r"^\| .* \| \d+ \| \d+\.\d\d \|$", printed, re.MULTILINE)) == 6


@pytest.mark.data
@pytest.mark.slow
def test_compaction_speed_measures_every_level(tmp_path, real_data):
    arguments = ["--levels", "2", "--rounds", "1", "--data-dir", str(real_data)]
    printed = benchmark("compaction_speed.py", *arguments, cwd=tmp_path)
    rows = [line for line in printed.splitlines() if re.match(r"\| \d", line)]
    assert [row.split("|")[1].strip() for row in rows] == ["0", "1", "2"]
    assert rows[0].split("|")[3].strip() == "784 x 300 x 100 x 10"


@pytest.mark.slow
def test_precision_has_a_row_for_each_variant(tmp_path):
    small = "--networks lenet-300-100 --steps 4 --split-step 1 --replicates 1 --scores snip"
    words = [*small.split(), "--variants", "highest", "--out", str(tmp_path)]
    header, _, *rows = benchmark("precision.py", *words, cwd=tmp_path).splitlines()
    assert [row.split(" | ")[1] for row in rows] == ["highest"]
    assert all(re.fullmatch(r"\| .* \|", row) for row in [header, *rows])
    assert rows[0].endswith("| 0.00 | 1.000 |")


@pytest.mark.data
@pytest.mark.slow
def test_groups_speed_compares_groups_of_networks(tmp_path, real_data):
    small = ["--steps", "20", "--rounds", "1", "--networks-per-device", "1", "2"]
    printed = benchmark("groups_speed.py", *small, "--data-dir", str(real_data), cwd=tmp_path)
    assert len(re.findall(r"^\| .* core.* \| \d+ \| \d+\.\d\d \|$", printed, re.MULTILINE)) == 3


@pytest.mark.data
@pytest.mark.slow
def test_line_speed_finds_the_errors_of_the_barest_loop_in_every_way(tmp_path, real_data):
    small = ["--points", "3", "--rounds", "1", "--data-dir", str(real_data)]
    printed = benchmark("line_speed.py", *small, cwd=tmp_path)  # it compares the errors itself
    rows = re.findall(r"^\| (.*) \| \d+\.\d\d s \| (\d+) \| ", printed, re.MULTILINE)
    assert [int(images) for _, images in rows] == [10_000, 10_000, 20_000]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "compaction_speed.py",
        "groups_speed.py",
        "line_speed.py",
        "own_speed.py",
        "speed.py",
    ],
)
def test_a_benchmark_without_data_says_so_in_one_line(name, tmp_path):
    assert "give the option `--data-dir DIR`" in refused(name, cwd=tmp_path)
    assert "Did you mean --rounds?" in refused(name, "--round", "1", cwd=tmp_path)


@pytest.mark.data
@pytest.mark.slow
def test_lenet_in_pytorch_prints_its_accuracies_or_that_it_needs_pytorch(tmp_path, real_data):
    small = ["--steps", "20", "--seeds", "0", "--data-dir", str(real_data)]
    if importlib.util.find_spec("torch") is None:
        line = "jaxlth: This needs PyTorch: pip install torch."
        assert refused("lenet_pytorch.py", *small, cwd=tmp_path) == line
    else:
        printed = benchmark("lenet_pytorch.py", *small, cwd=tmp_path)
        assert re.fullmatch(r"seed 0: [\d.]+ at the end; before:( [\d.]+){20}\n", printed)


@pytest.mark.slow
def test_memory_plan_prints_its_table_or_that_it_needs_the_compiler_of_tpus(tmp_path):
    small = ["--slices", "v4-8", "--dtypes", "bfloat16", "--batch-size", "4"]
    if importlib.util.find_spec("libtpu") is None:
        line = "jaxlth: This needs the TPU's compiler: pip install 'jax[tpu]'."
        assert refused("memory_plan.py", *small, cwd=tmp_path) == line
    else:
        printed = benchmark("memory_plan.py", *small, cwd=tmp_path)
        assert re.search(
            r"^\| v4-8 \| 4 \| bfloat16 \| .* \| 32768 \| [\d.]+ \| [\d.]+ \|$",
            printed,
            re.MULTILINE,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "row"),
    [
        (
            "tpu_speed.py",
            ("--benchmarks", "mnist_lenet_300_100", "--slices", "v5e-8"),
            "mnist_lenet_300_100 | v5e-8 | 5 | 1",
        ),
        (
            "tpu_studies.py",
            ("--studies", "instability, LeNet", "--slices", "v5e-16"),
            "instability, LeNet | v5e-16 | 75",
        ),
    ],
)
def test_tpu_speed_prints_a_row_or_that_it_needs_the_compiler_of_tpus(script, words, row, tmp_path):
    if importlib.util.find_spec("libtpu") is None:
        line = "jaxlth: This needs the TPU's compiler: pip install 'jaxlth[tpu]'."
        assert refused(script, *words, cwd=tmp_path) == line
    else:
        printed = benchmark(script, *words, cwd=tmp_path)
        (found,) = re.findall(rf"^\| {re.escape(row)} \| .*$", printed, re.M)
        assert 20_000 < int(found.split(" | ")[6].replace(",", "")) < 46_406  # cycles, until then
