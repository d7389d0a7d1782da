"""How exactly matrices are multiplied: where the setting acts, and what it changes."""

import jax
import numpy as np
import pytest
import tiny

from jaxlth import data, models, settings, store, studies
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.training import TrainingConfig

SEEN = []  # precisions at which the network below was traced


def apply(params, inputs):
    SEEN.append(jax.config.jax_default_matmul_precision)
    return inputs @ params["layer"]["kernel"]


def init(key):
    return {"layer": {"kernel": jax.random.normal(key, (4, 3)) / 2}}


def experiment(precision):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(80, 4)).astype(np.float32)
    labels = inputs[:, :3].argmax(1).astype(np.int32)
    return studies.Experiment(
        name="seen",
        model=models.from_functions(init, apply),
        data=data.from_arrays((inputs[:60], labels[:60]), (inputs[60:], labels[60:])),
        training=TrainingConfig(steps=4, batch_size=10, matmul_precision=precision),
    )


FIELDS = {
    "prune_early": {"scores": ("grasp",), "densities": (0.5,), "controls": ()},
    "instability": {"rewind_steps": (0, 2), "points": 3},
}


@pytest.mark.parametrize(
    ("study", "precision"),
    [("prune_early", "high"), pytest.param("instability", "high", marks=pytest.mark.slow)],
)
def test_every_program_of_a_study_has_the_precision_of_its_config(study, precision, tmp_path):
    SEEN.clear()
    fields = {"replicates": 1, "out": str(tmp_path), "progress": False, **FIELDS[study]}
    getattr(studies, study)(experiment(precision), **fields)
    fingerprint = "highest"
    assert SEEN.count(precision) > 2
    assert set(SEEN) == {precision, fingerprint}
    assert jax.config.jax_default_matmul_precision is None


@pytest.mark.slow
def test_precision_names_another_run_which_has_the_same_bits_on_a_cpu(tmp_path):
    words = [*tiny.COMMAND, "none", "--out", tmp_path]
    tiny.printed(*words)
    tiny.printed(*words, "--matmul-precision", "highest")
    usual, precise = [store.about_run(info.path) for info in store.runs(tmp_path)]
    assert "matmul_precision" not in usual["changed"].get("training", {})
    assert precise["changed"]["training"]["matmul_precision"] == "highest"
    assert usual["digest"] != precise["digest"]
    tables = [store.table([info.path])["test_loss"] for info in store.runs(tmp_path)]
    assert tables[0].equals(tables[1])


def test_runs_made_before_the_setting_go_on():
    config = ImpConfig()
    old = settings.to_dict(config)
    del old["training"]["matmul_precision"]
    assert settings.differences(old, config) == []
    precise = ImpConfig(training=TrainingConfig(matmul_precision="high"))
    assert settings.digest(settings.from_dict(ImpConfig, old)) == settings.digest(config)
    assert settings.digest(precise) != settings.digest(config)
    assert settings.differences(settings.to_dict(config), precise) == [
        "`training.matmul_precision`: 'default', not 'high'"
    ]
