"""IMP from the command line to stored tickets, on a tiny network."""

import itertools
import json
import pathlib
import re

import jax
import numpy as np
import pandas as pd
import pytest
import tiny
from tiny import only_run, printed, same, times

from jaxlth import cli, keys, masks, models, prune, settings, store, trees
from jaxlth.studies import STUDIES, level_artifacts, run_info
from jaxlth.studies.controls import CONTROLS
from jaxlth.studies.imp import learning
from jaxlth.studies.imp import report as imp_report
from jaxlth.studies.imp.config import ImpConfig, network_names, stages
from jaxlth.studies.prune_early import report as early_report
from jaxlth.studies.prune_early.config import Method
from jaxlth.studies.threshold_masks import report as masks_report
from jaxlth.studies.train_supermasks import report as supermask_report
from jaxlth.studies.train_supermasks.config import Wanted

TINY = ["imp", "--model", "mlp", "--hidden", "8", "--steps", "30", "--batch-size", "50"]
TINY += ["--levels", "2", "--replicates", "2"]


def trained(run, level, control="ticket", replicate=0):
    return run.load(level_artifacts.network(level, control, replicate), "network")


def mask(run, level, control="ticket", replicate=0):
    return run.load(level_artifacts.network(level, control, replicate), "mask")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with every control, and what the command printed."""
    out = tmp_path_factory.mktemp("finished")
    output = printed(*TINY, "--controls", *CONTROLS, "--out", str(out))
    return out, output


@pytest.mark.parametrize(
    ("asked", "expected"),  # levels and levels of controls; controls asked for stage by stage
    [
        ((3, ()), [{}, {3: 2}, {1: 2, 2: 2, 3: 2}]),
        ((15, (3, 9)), [{}, {9: 2}, {3: 2, 9: 2}]),
        ((1, ()), [{}, {1: 2}]),
        ((0, ()), [{}]),
    ],
    ids=str,
)
def test_stages_ask_for_ever_more_and_for_nothing_else(asked, expected):
    levels, at = asked
    config = ImpConfig(levels=levels, control_levels=at, replicates=1)
    result = []
    for stage in stages(config):
        units = network_names(stage, levels=levels)
        places = [unit.split("/")[0] for unit in units if "/ticket/" not in unit]
        result.append({int(place[-2:]): places.count(place) for place in places})
        assert len(units) - len(places) == levels + 1
        assert set(units) <= set(network_names(config, levels=levels))
    assert result == expected
    assert stages(config)[-1] == config


def test_it_prints_table_sentence_and_files(finished):
    _, output = finished
    assert "64 %" in output
    assert "matches the dense network" in output
    for line in ("figure:", "table:", "run:"):
        (named,) = [row.split()[-1] for row in output.splitlines() if row.startswith(line)]
        assert pathlib.Path(named).exists()


def test_called_again_it_trains_nothing_and_prints_the_same(finished):
    out, output = finished
    before = times(out)
    assert printed(*TINY, "--controls", *CONTROLS, "--out", str(out)) == output
    assert times(out) == before


def test_its_settings_file_finds_the_same_run(finished):
    out, output = finished
    before = times(out)
    file = only_run(out).path / "settings.toml"
    assert printed("imp", "--settings", str(file), "--out", str(out)) == output
    assert times(out) == before


def test_levels_keep_exact_counts_and_are_nested(finished):
    look = only_run(finished[0])
    counts = prune.keep_counts(masks.size(mask(look, 0)), levels=2, fraction=0.2)
    for replicate in (0, 1):
        levels = [mask(look, level, replicate=replicate) for level in range(3)]
        assert [int(masks.kept(each)) for each in levels] == counts
        for denser, sparser in itertools.pairwise(levels):
            for a, b in zip(jax.tree.leaves(denser), jax.tree.leaves(sparser), strict=True):
                assert not np.any(b & ~a)


def test_a_level_prunes_the_least_magnitudes_of_the_trained_ticket(finished):
    look = only_run(finished[0])
    weights = np.concatenate(
        [
            np.abs(leaf)[keep]
            for leaf, keep, after in _kernels(trained(look, 0), mask(look, 0), mask(look, 1))
            for keep in [keep & ~after]
        ]
    )
    survivors = np.concatenate(
        [
            np.abs(leaf)[after]
            for leaf, _, after in _kernels(trained(look, 0), mask(look, 0), mask(look, 1))
        ]
    )
    assert weights.max() <= survivors.min()


def _kernels(network, before, after):
    params = trees.named(network["params"] if isinstance(network, dict) else network[0])
    return [
        (np.asarray(params[name]), np.asarray(keep), np.asarray(trees.named(after)[name]))
        for name, keep in trees.named(before).items()
    ]


def test_pruned_weights_of_every_network_are_zero(finished):
    look = only_run(finished[0])
    for name, record in look.records():
        network, kept = look.load(name, "network"), look.load(name, "mask")
        for weights, keep, _ in _kernels(network, kept, kept):
            assert not np.any(weights[~keep]), name
        assert record["kept"] == int(masks.kept(kept))


def test_tickets_start_from_the_initial_weights(finished):
    look = only_run(finished[0])
    first, later = (imp_report.find(look, level, "ticket", 0).network for level in (0, 2))
    assert same(first, later)


CLAIMS = {  # control -> same weights as the ticket, same mask, same counts per layer
    "reinitialized": (False, True, True),
    "shuffled": (True, False, True),
    "shuffled-globally": (True, False, False),
    "random": (False, False, False),
    "random-layerwise": (False, False, True),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_changes_what_it_says_and_nothing_else(finished, control):
    look = only_run(finished[0])
    ticket, changed = imp_report.find(look, 2, "ticket", 1), imp_report.find(look, 2, control, 1)
    weights, places, layers = CLAIMS[control]
    assert same(ticket.network, changed.network) is weights
    assert same(ticket.mask, changed.mask) is places
    assert int(masks.kept(ticket.mask)) == int(masks.kept(changed.mask))
    if layers:
        assert masks.layer_densities(ticket.mask) == masks.layer_densities(changed.mask)


def test_controls_draw_from_streams_of_their_own(finished):
    look = only_run(finished[0])
    starts = [
        imp_report.find(look, level, control, replicate).mask
        for control in ("shuffled", "random-layerwise")
        for level in (1, 2)
        for replicate in (0, 1)
    ]
    assert not any(same(a, b) for at, a in enumerate(starts) for b in starts[:at])


def test_more_levels_replicates_and_controls_extend_a_run(tmp_path):
    printed(*TINY, "--levels", "1", "--replicates", "1", "--controls", "--out", str(tmp_path))
    before = times(tmp_path)
    assert len(before) == 2
    printed(*TINY, "--controls", "random", "--control-levels", "2", "--out", str(tmp_path))
    after = times(tmp_path)
    assert len(after) == 2 * (1 + 2) + 2
    assert all(after[file] == time for file, time in before.items())


def test_results_have_a_row_with_every_number_for_every_network(finished):
    out, _ = finished
    rows = json.loads(printed("results", "--format", "json", "--out", str(out)))
    assert len(rows) == 2 * (1 + 2 * (1 + len(CONTROLS)))
    wanted = {"level", "density", "kept", "test_accuracy", "test_loss", "best_step", "control"}
    assert all(wanted | {"replicate"} <= row.keys() for row in rows)
    lines = printed("results", "--format", "csv", "--out", str(out)).splitlines()
    assert len(lines) == len(rows) + 1
    curves = json.loads(printed("results", "--format", "json", "--curves", "--out", str(out)))
    assert {row["step"] for row in curves} == {15, 30}


@pytest.mark.parametrize("kind", ["accuracy", "train-accuracy", "training", "early-stopping"])
def test_every_kind_of_figure_is_drawn(finished, kind, tmp_path):
    file = tmp_path / "figure.png"
    printed("figure", "--kind", kind, "--file", str(file), "--out", str(finished[0]))
    assert file.stat().st_size > 10_000


def test_list_shows_state_progress_and_size(finished):
    output = printed("list", "--out", str(finished[0]))
    assert "finished" in output
    networks = 2 * (1 + 2 * (1 + len(CONTROLS)))
    assert f"{networks}/{networks}" in output
    assert "B" in output


def test_an_exported_ticket_comes_back(finished, tmp_path):
    out, file = finished[0], tmp_path / "ticket.safetensors"
    printed("export", str(file), "--level", "2", "--replicate", "1", "--out", str(out))
    loaded = store.load_ticket(file)
    ticket = imp_report.find(only_run(out), 2, "ticket", 1)
    assert same(loaded.params, ticket.network.params)
    assert same(loaded.mask, ticket.mask)
    assert loaded.stats == ticket.network.stats == {}
    assert loaded.metadata["level"] == 2
    assert loaded.metadata["kept"] == int(masks.kept(ticket.mask))
    assert loaded.metadata["density"] == pytest.approx(0.64, abs=0.01)


def test_a_trained_ticket_is_exported_under_its_mask(finished, tmp_path):
    out, file = finished[0], tmp_path / "trained.safetensors"
    printed("export", str(file), "--level", "2", "--weights", "trained", "--out", str(out))
    loaded, run = store.load_ticket(file), only_run(out)
    network = run.load(level_artifacts.network(2, "ticket", 0), "network")
    assert same(loaded.params, network["params"])
    assert same(loaded.mask, imp_report.find(run, 2, "ticket", 0).mask)
    assert same(masks.apply(loaded.params, loaded.mask), loaded.params)
    assert loaded.metadata["weights"] == "trained"


def test_a_ticket_is_exported_for_pytorch_with_pruned_weights_zero(finished, tmp_path, capsys):
    out, file = finished[0], tmp_path / "torch.safetensors"
    words = ["--level", "2", "--layout", "torch", "--out", str(out)]
    printed("export", str(file), *words)
    run = only_run(out)
    config, images = run_info.read_config(run, ImpConfig)
    loaded = models.load_torch(file, models.build(config.model, **images))
    ticket = imp_report.find(run, 2, "ticket", 0)
    assert same(loaded.params, masks.apply(ticket.network.params, ticket.mask))
    about = store.load_network(file).metadata
    assert about["names"]["Dense_0.weight"] == "Dense_0/kernel"
    assert (about["level"], about["weights"]) == (2, "start")
    assert cli.main(["export", str(tmp_path / "torch.npz"), *words]) == 2
    assert "A file for PyTorch must end in .safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("report", "arguments"),
    [
        (imp_report, (1, "ticket", 0)),
        (early_report, (0.5, Method("snip", "before-once"), 0)),
        (supermask_report, (Wanted("edge-popup", 0.5), 0)),
        (masks_report, (0,)),
    ],
)
def test_a_name_or_path_where_a_run_is_needed_is_answered_with_open(report, arguments):
    with pytest.raises(TypeError, match=r"got 'runs/a'.*studies\.open\(folder\)"):
        report.find("runs/a", *arguments)


def test_a_ticket_is_found_without_its_data(finished, monkeypatch):
    monkeypatch.setattr("jaxlth.data.load", None)
    start = imp_report.find(only_run(finished[0]), 2, "random", 0)
    assert same(start.mask, mask(only_run(finished[0]), 2, "random", 0))


def test_rewinding_to_a_later_step_restores_the_dense_network_of_that_step(tmp_path):
    short = [*TINY, "--levels", "1", "--replicates", "1", "--controls"]
    printed(*short, "--rewind-step", "7", "--out", str(tmp_path / "rewound"))
    printed(*short, "--out", str(tmp_path / "plain"))
    rewound, plain = (only_run(tmp_path / name) for name in ("rewound", "plain"))
    assert same(trained(rewound, 0), trained(plain, 0))
    snapshot = rewound.load(level_artifacts.rewound(0), "network")
    assert same(imp_report.find(rewound, 1, "ticket", 0).network, snapshot)
    assert not same(snapshot, imp_report.find(plain, 0, "ticket", 0).network)
    assert rewound.record(level_artifacts.network(1, "ticket", 0))["start_step"] == 7
    assert len(store.table([rewound.path])) == 2
    printed(
        *TINY,
        "--levels",
        "0",
        "--replicates",
        "1",
        "--steps",
        "7",
        "--out",
        str(tmp_path / "seven"),
    )
    assert same(trained(only_run(tmp_path / "seven"), 0), snapshot)


def test_a_network_that_stopped_before_the_rewind_step_is_what_tickets_restart_from(tmp_path):
    stopping = ["--evaluate-every", "1", "--patience", "1", "--lr", "0.5", "--rewind-step", "25"]
    printed(*TINY, *stopping, "--controls", "--replicates", "1", "--out", str(tmp_path))
    look = only_run(tmp_path)
    assert look.record(level_artifacts.network(0, "ticket", 0))["stopped_step"] < 25
    assert same(look.load(level_artifacts.rewound(0), "network"), trained(look, 0))
    assert look.has(level_artifacts.network(1, "ticket", 0))


@pytest.mark.parametrize(
    ("more", "before"),
    [
        (["--after-pruning", "learning-rate"], {1: 0, 2: 1}),
        (["--after-pruning", "fine-tune"], {1: 0, 2: 1}),
        (["--after-pruning", "learning-rate", "--one-shot"], {1: 0, 2: 0}),
    ],
)
def test_trained_weights_go_on_where_they_are_not_rewound(tmp_path, more, before):
    printed(*TINY, "--controls", "--replicates", "1", *more, "--out", str(tmp_path))
    look = only_run(tmp_path)
    for level, pruned in before.items():
        start = imp_report.find(look, level, "ticket", 0).network
        assert same(start, trained(look, pruned))


def test_one_shot_masks_come_from_the_dense_network(tmp_path):
    printed(*TINY, "--one-shot", "--controls", "--replicates", "1", "--out", str(tmp_path))
    look = only_run(tmp_path)
    dense = trained(look, 0)
    params = dense["params"] if isinstance(dense, dict) else dense[0]
    scores = jax.tree.map(np.abs, params)
    keep = int(masks.kept(mask(look, 2)))
    assert same(prune.global_topk(scores, mask(look, 0), keep=keep), mask(look, 2))


def test_layerwise_scope_prunes_each_layer_alike_and_a_tensor_can_be_left_out(tmp_path):
    arguments = ["--controls", "--replicates", "1", "--levels", "1"]
    printed(*TINY, *arguments, "--scope", "layerwise", "--out", str(tmp_path / "layers"))
    densities = masks.layer_densities(mask(only_run(tmp_path / "layers"), 1))
    assert all(abs(density - 0.8) < 0.01 for density in densities.values())
    printed(*TINY, *arguments, "--exclude", "Dense_1/*", "--out", str(tmp_path / "left"))
    assert list(masks.layer_densities(mask(only_run(tmp_path / "left"), 1))) == ["Dense_0/kernel"]


def test_it_stops_at_a_density_and_at_lost_accuracy(tmp_path):
    arguments = ["--controls", "--replicates", "1", "--levels", "6"]
    printed(*TINY, *arguments, "--stop-density", "0.65", "--out", str(tmp_path / "density"))
    assert len(times(tmp_path / "density")) == 3
    lost = ["--stop-lost-accuracy", "0.2", "--prune-fraction", "0.9", "--levels", "2"]
    printed(*TINY, *arguments, *lost, "--out", str(tmp_path / "lost"))
    assert len(times(tmp_path / "lost")) == 2


def test_the_least_dilation_is_the_first_that_reaches_the_dense_accuracy(tmp_path, capsys):
    arguments = ["--levels", "1", "--controls", "--dilations", "0.1", "4.0"]
    printed(*TINY, *arguments, "--out", str(tmp_path))
    told = re.findall(r"(\d+)(?: of at most |/)(\d+) networks", capsys.readouterr().err)
    totals = [int(total) for _, total in told]
    assert totals == sorted(totals, reverse=True)  # a total is a bound, and never grows
    assert totals[0] == 2 * 2 * 3
    assert totals[-1] == int(told[-1][0])
    (info,) = store.runs(tmp_path)
    table = store.table([info.path])
    for kind in ("training", "dilation", "accuracy"):
        file = tmp_path / f"{kind}.png"
        printed("figure", "--kind", kind, "--file", str(file), "--out", str(tmp_path))
        assert file.stat().st_size > 10_000
    curves = store.curves([info.path])
    assert set(curves["dilation"]) == {0.1, 1.0, 4.0}
    least = learning.least_dilations(table)
    assert len(least) == 4
    dense = table[(table["level"] == 0) & (table["dilation"] == 1)]["test_accuracy"].mean()
    for row in least.itertuples():
        mine = table[(table["level"] == row.level) & (table["replicate"] == row.replicate)]
        enough = mine[mine["test_accuracy"] >= dense]["dilation"]
        assert row.d_star == enough.min() or (np.isnan(row.d_star) and enough.empty)
    dense = table[table["level"] == 0]
    sparse = table.query("level == 1 and dilation == 1").assign(test_accuracy=0.0)
    worse = [dense, *(sparse.assign(dilation=dilation) for dilation in (0.1, 1.0, 4.0))]
    for rows, is_whole in ((pd.concat(worse), True), (pd.concat(worse[:-1]), False)):
        (axes,) = STUDIES["imp"].draw("dilation", rows, info.path).axes
        axes.figure.canvas.draw()
        assert (axes.get_yticklabels()[-1].get_text() == "never") == is_whole
        assert ("1 point is not drawn" in axes.get_title(loc="right")) != is_whole
    before = times(tmp_path)
    printed(*TINY, *arguments, "--out", str(tmp_path))
    assert times(tmp_path) == before


def test_a_dilation_that_was_not_trained_yet_is_not_taken_for_one_that_does_not_match():
    trained = {  # replicate of a level: accuracy by dilation; the dense mean is 0.9
        (0, 0): {1.0: 0.9},
        (1, 0): {1.0: 0.8, 2.0: 0.9},
        (1, 1): {1.0: 0.8, 2.0: 0.8},  # never, if the longest is 2
        (2, 0): {1.0: 0.9},
        (2, 1): {1.0: 0.8},
        (3, 0): {1.0: 0.8, 3.0: 0.9},
    }
    rows = [
        (level, 0.5**level, "ticket", replicate, dilation, accuracy, np.nan)
        for (level, replicate), by_dilation in trained.items()
        for dilation, accuracy in by_dilation.items()
    ]
    names = ["level", "density", "control", "replicate", "dilation", "test_accuracy", "nan_step"]
    frame = pd.DataFrame(rows, columns=names)

    def known(*dilations):
        least = learning.least_dilations(frame, dilations)
        pairs = zip(least["level"], least["replicate"], strict=True)
        return dict(zip(pairs, least["d_star"].fillna(-1), strict=True)), least

    found, least = known(2.0)
    assert found == {(0, 0): 1, (1, 0): 2, (1, 1): -1, (2, 0): 1}
    drawn, unknown = learning.without_unknown(least, frame)
    assert drawn["level"].tolist() == [0, 1, 1]
    assert unknown == 2
    assert known(2.0, 3.0)[0] == known()[0] == {(0, 0): 1, (1, 0): 2, (2, 0): 1}
    assert known(3.0)[0] == {(0, 0): 1, (1, 0): 2, (2, 0): 1, (3, 0): 3}


def test_a_replicate_that_diverges_is_told_with_its_step(tmp_path, capfd):
    arguments = ["--optimizer", "sgd", "--lr", "1e9", "--levels", "1", "--out", str(tmp_path)]
    assert cli.main(tiny.once([*TINY, *arguments])) == 0
    told = capfd.readouterr().err
    assert "the loss is not finite from step" in " ".join(told.split())


def test_more_levels_and_other_seeds_need_no_more_compilations(compiled, tmp_path):
    def compilations(levels, seed):
        compiled.clear()
        words = ["--levels", str(levels), "--controls", "random", "--seed", str(seed)]
        printed(*TINY, "--hidden", "9", *words, "--out", str(tmp_path / str(seed)))
        return len(compiled)

    assert compilations(2, 0) > 0
    assert compilations(10, 1) == 0


def test_the_digest_of_the_default_settings_stays():
    assert settings.digest(ImpConfig()) == settings.digest(ImpConfig(levels=3, replicates=9))
    assert settings.digest(ImpConfig()) == "44136fa3"
    assert settings.digest(ImpConfig(rewind_step=5)) != settings.digest(ImpConfig())


def test_order_streams_differ_by_level_and_replicate():
    seen = {
        tuple(np.asarray(jax.random.key_data(keys.fold(keys.stream(0, replicate, "order"), level))))
        for replicate in range(3)
        for level in range(3)
    }
    assert len(seen) == 9


def test_event_files_for_tensorboard_are_written_on_request(finished, tmp_path):
    out, output = finished
    events = tmp_path / "events"
    asked = [*TINY, "--controls", *CONTROLS, "--out", str(out), "--tensorboard", str(events)]
    assert printed(*asked) == f"{output}events: {events}\n"
    folders = {str(file.parent.relative_to(events)) for file in events.rglob("events.out.*")}
    path = only_run(out).path
    assert folders == {f"{path.name}/{unit}" for unit, _ in only_run(out).records()}
