"""`experiments/stable_and_matching.py`: which networks are stable, and which match."""

import importlib.util
import pathlib

import numpy as np
import pandas as pd
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1] / "experiments"
RESULTS = ROOT / "results" / "linear_mode_connectivity" / "cpu"
IN_POINTS = {"threshold": 2, "tolerance": 0.2}


@pytest.fixture(scope="module")
def cells():
    spec = importlib.util.spec_from_file_location("cells", ROOT / "stable_and_matching.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pairs(cell, instability, error):
    """Return the pairs of a cell: a row a replicate and pair of twins."""
    control, density, step = cell
    shared = {"kind": "pair", "control": control, "level": int(control != "dense")}
    shared |= {"density": density, "step_k": step, "length": "remaining", "compared_step": 9}
    shared |= {"at_end": True, "points": 3, "estimated": False, "asked_density": None}
    numbers = np.array(instability).size
    return pd.DataFrame(
        {
            "test_instability": np.ravel(instability) / 100,
            "train_instability": 0.0,
            "test_error": np.ravel(error) / 100,
            "train_error": 0.0,
            "replicate": np.repeat(np.arange(numbers // 2), 2),
            "twins": ["0-1", "0-2"] * (numbers // 2),
        }
    ).assign(**shared)


@pytest.fixture(scope="module")
def table():
    """Three replicates of two pairs; tickets match and are stable from step 5 on."""
    return pd.concat(
        [
            pairs(("dense", 1.0, 0), [[30, 40], [30, 30], [20, 30]], [[9, 11], [20, 20], [30, 30]]),
            pairs(("dense", 1.0, 5), [[3, 3], [4, 2], [3, 3]], [[9, 9], [19, 19], [28, 30]]),
            pairs(("ticket", 0.5, 0), [[9, 9], [8, 8], [7, 7]], [[12, 12], [21, 23], [35, 35]]),
            pairs(("ticket", 0.5, 5), [[1, 3], [0, 0], [0, 2]], [[10, 10], [20, 20], [30, 30]]),
            pairs(("ticket", 0.5, 7), [[1, 1], [0, 0], [0, 0]], [[9, 9], [18, 18], [27, 27]]),
            pairs(("shuffled", 0.5, 5), [[9, 9], [9, 9], [9, 9]], [[11, 11], [22, 22], [33, 33]]),
        ]
    )


def test_a_cell_is_compared_with_the_dense_twins_of_its_initialisation(cells, table):
    got = cells.cells(cells.replicates(table), **IN_POINTS)
    got = got.set_index(["control", "step_k"])
    assert got.loc[("ticket", 0), ["lost", "gained"]].tolist() == pytest.approx([3, 0])
    assert got["stable"].tolist() == [False, False, False, True, True, False]
    assert got["matches"].tolist() == [True, True, False, True, True, False]
    shuffled = got.loc[("shuffled", 5)]
    assert shuffled["below_ticket"] == pytest.approx(2)  # 1, 2 and 3: t = 2 / (1 / sqrt(3))
    assert shuffled["p_below_ticket"] == pytest.approx(1 - 12**0.5 / 14**0.5)
    # t = 3 / (sqrt(3) / sqrt(3)) = 3 at two degrees of freedom; p = 1 - t / sqrt(t^2 + 2).
    assert got.loc[("ticket", 0), "p_lost"] == pytest.approx(1 - 3 / 11**0.5)
    assert got.loc[("ticket", 0), "instability"] == pytest.approx(8)
    assert np.isnan(got.loc[("dense", 0), "p_lost"])


def test_stable_and_matching_cells_are_counted_and_ranked_in_each_replicate(cells, table):
    got = cells.association(cells.replicates(table), **IN_POINTS).set_index("networks")
    counts = ["both", "only_stable", "only_matching", "none"]
    assert got.loc["ticket", counts].tolist() == [2, 0, 0, 1]
    assert got.loc["dense", counts].tolist() == [0, 0, 1, 0]
    assert got.loc["all sparse", counts].tolist() == [2, 0, 0, 2]
    ranks = [[9, 2, 1], [8, 0, 0], [7, 1, 0]], [[2, 0, -1], [2, 0, -2], [5, 0, -3]]
    expected = [pd.Series(a).corr(pd.Series(b), "spearman") for a, b in zip(*ranks, strict=True)]
    assert got.loc["ticket", "rank_correlation"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("network", ["resnet-8", "mlp-small"])
def test_the_committed_tables_follow_from_the_pairs_beside_them(cells, network):
    folder = RESULTS / network
    table = pd.read_csv(folder / "pairs.csv").assign(asked_density=None)
    rows = cells.replicates(table)
    for name, compute in (("matching", cells.cells), ("association", cells.association)):
        expected, got = pd.read_csv(folder / f"{name}.csv"), compute(rows, **IN_POINTS)
        pd.testing.assert_frame_equal(got, expected, check_dtype=False, atol=1e-3, rtol=1e-3)
