"""The tables of the page on speed are those of the files under experiments/results/speed."""

import csv
import re

import pytest
from claims import EXPERIMENTS, ROOT

RESULTS = EXPERIMENTS / "results" / "speed"
PAGE = (ROOT / "docs" / "speed.md").read_text()
NUMBER = re.compile(r"(?<![A-Za-z\d.])\d[\d,]*(?:\.\d+)?")
ORDER = (  # of the tables on the page
    *("compaction", "training", "level_parts", "pruning_before_training", "repeated", "groups"),
    *("sparsify_lenet", "sparsify_resnet_20", "exchange", "selection", "own", "own_memory"),
    *("transformers", "lines", "cifar", "convolution", "convolution_tried", "cifar_benchmarks"),
    *("streaming", "memory_plan", "tpu", "tpu_shared_batch", "tpu_studies", "tpu_changes"),
    *("tpu_side_by_side", "tpu_tried", "precision"),
)
SHARES = {  # table: (measured, its share, row of 1)
    "groups": [("steps_per_second", "share", 0)],
    "sparsify_lenet": [("ms", "share", 0)],
    "sparsify_resnet_20": [("ms", "share", 0)],
    "selection": [(f"ms_{machine}", f"share_{machine}", 0) for machine in ("first", "second")],
    "training": [(f"steps_per_second_{run}", f"share_{run}", 2) for run in ("first", "second")],
    "cifar": [(f"{net}_ms", f"{net}_share", 0) for net in ("resnet_20", "vgg_16", "conv_4")],
}


def rows_of(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of the tables of a page, without their heads and without marks."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = [table.replace("`", "").replace("**", "").splitlines()[2:] for table in found]
    return [[[cell.strip() for cell in line[1:-1].split("|")] for line in table] for table in lines]


def differing(cells: list[str], values: list[str]) -> list[str]:
    """Return the cells of a row that are not what a file has; a cell may hold several numbers."""
    wrong, left = [], list(values)
    for cell in cells:
        if not cell or not re.fullmatch(r"[\d.]+", "".join(left[:1])):  # empty, or text
            numbers, wanted, left = [cell], left[:1], left[1:]
        else:
            numbers = [number.replace(",", "") for number in NUMBER.findall(cell)]
            wanted, left = left[: len(numbers)], left[len(numbers) :]
        wrong += [cell] if numbers != wanted else []
    return wrong + [value for value in left if value]


def interval(text: str) -> tuple[float, float]:
    """Return between which values a number lies that was rounded to these digits."""
    half = 0.5 * 10 ** -len(text.partition(".")[2])
    return float(text) - half, float(text) + half


@pytest.mark.parametrize("name", ORDER)
def test_a_table_of_the_page_has_the_numbers_of_its_file(name):
    table, rows = tables(PAGE)[ORDER.index(name)], rows_of(name)
    assert len(table) == len(rows)
    for cells, row in zip(table, rows, strict=True):
        assert differing(cells, list(row.values())) == []


def test_every_table_has_a_file_that_says_where_it_is_from():
    assert len(tables(PAGE)) == len(ORDER)
    files = {path.stem for path in RESULTS.glob("*.csv")}
    assert files == {*ORDER, "sentences", "about"}
    about = {row["table"]: row for row in rows_of("about")}
    assert set(about) == set(ORDER)
    for row in about.values():
        assert not row["script"] or (EXPERIMENTS / row["script"]).exists()
        assert not row["script"] or f"experiments/{row['script']}" in PAGE


@pytest.mark.parametrize("name", SHARES)
def test_shares_are_those_of_what_was_measured(name):
    rows = rows_of(name)
    for measured, share, first in SHARES[name]:
        least_one, most_one = interval(rows[first][measured])
        for row in rows:
            (least, most), (low, high) = interval(row[measured]), interval(row[share])
            assert low <= most / least_one, row
            assert least / most_one <= high, row


def test_what_a_device_of_a_tpu_holds_is_the_sum_of_its_parts_and_hours_are_those_of_steps():
    parts = ("weights", "mask", "momentum", "images", "activations", "program")
    for row in rows_of("memory_plan"):
        total = sum(int(row[f"{part}_mib"]) for part in parts)
        assert abs(total - int(row["together_mib"])) <= len(parts) / 2
        assert total < int(row["of_mib"])
        hertz = {"v5e-8": 1.5e9, "v4-8": 1.05e9}[row["slice"]]
        hours = 90 * (1_281_167 // 1024) * 1e6 * float(row["million_cycles"]) / hertz / 3600
        assert abs(hours - float(row["hours"])) < 0.06


def test_hours_of_chips_are_hours_by_the_chips_of_a_slice():
    for row in rows_of("tpu") + rows_of("tpu_studies"):
        chips = int(re.match(r"v\de-(\d+)", row["slice"].replace("v4-8", "v4e-4"))[1])
        (least, most), (low, high) = interval(row["hours"]), interval(row["chip_hours"])
        assert chips * least <= high, row
        assert low <= chips * most, row


def test_the_table_of_hours_of_the_tpu_page_has_the_numbers_of_the_same_file():
    page = (ROOT / "tpu" / "README.md").read_text().replace("v5litepod", "v5e")
    checked = 0
    for row in rows_of("tpu"):
        line = rf"^\| `{row['benchmark']}`, 5 replicates \| {row['slice']} \| (\S+) \| (\S+) \|$"
        for hours, chip_hours in re.findall(line, page, re.MULTILINE):
            assert abs(float(hours) - float(row["hours"])) <= 0.05 + 1e-9, row
            assert abs(float(chip_hours) - float(row["chip_hours"])) <= 0.05 + 1e-9, row
            checked += 1
    assert checked == 9


def test_a_cell_that_differs_is_found():
    assert differing(["a", "1,200 ms", "3 (1-5)"], ["a", "1200", "3", "1", "5"]) == []
    assert differing(["a", "1,201 ms"], ["a", "1200"]) == ["1,201 ms"]
    assert differing(["b", ""], ["a", "2"]) == ["b", ""]
    assert differing(["a"], ["a", "2"]) == ["2"]
