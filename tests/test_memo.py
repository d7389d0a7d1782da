"""Functions that a process makes once, so that a second study compiles nothing of what is kept."""

import bits
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxlth import data, studies
from jaxlth.models import ModelConfig
from jaxlth.process.memo import Memo

FAST = ["imp-rewinding", "separation", "train-supermasks-gem-miner"]
SLOW = [
    "imp-fine-tune",
    "early-between-trainings",
    "dynamic",
    "instability",
    "instability-scores",
    "threshold-masks",
    "train-supermasks-edge-popup",
]
EVERY = [*FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.parametrize("case", EVERY)
def test_a_study_compiles_nothing_where_another_seed_was_tried_before(case, compiled, tmp_path):
    words = [*bits.CASES[case].split(), "--out", str(tmp_path)]
    tiny.printed(*words, "--seed", "7")
    compiled.clear()
    tiny.printed(*words, "--seed", "8")
    assert compiled == []


def test_other_settings_are_not_taken_for_those_of_before(compiled, tmp_path):
    words = [*tiny.COMMAND, "--out", str(tmp_path)]
    for more in ([], ["--lr", "0.01"], ["--optimizer", "sgd"], ["--patience", "30"]):
        compiled.clear()
        tiny.printed(*words, "--hidden", "11", *more)
        assert compiled


def test_a_function_of_a_users_own_is_traced_anew_in_each_study(tmp_path):
    share = 0.0

    def error(outputs, labels):
        return jnp.full(labels.shape, share)

    experiment = studies.Experiment(
        model=ModelConfig(name="mlp", hidden=(4,)),
        data="moons",
        error=error,
        name="share",
        steps=4,
        batch_size=20,
    )
    reached = []
    for share in (0.25, 0.75):
        results = studies.imp(
            experiment, out=str(tmp_path / str(share)), progress=False, levels=1, replicates=1
        )
        reached.append(set(results.table()["test_accuracy"]))
    assert reached == [{0.75}, {0.25}]


def test_equal_arguments_give_the_same_object_and_others_do_not():
    made = Memo()
    config = ModelConfig(name="mlp", hidden=(4,))
    equal = ModelConfig(name="mlp", hidden=(4,))
    assert made(lambda: object()) is not made(lambda: object())
    assert made(_pair, config, shape=(2,)) is made(_pair, equal, shape=(2,))
    assert made(_pair, config, shape=(2,)) is not made(_pair, config, shape=(3,))
    assert made(_pair, 1) is not made(_pair, 1.0)
    assert made(_pair, 1) is not Memo()(_pair, 1)


def test_arguments_without_a_hash_are_computed_with_each_time():
    made, array = Memo(), np.ones(2)
    assert made(_pair, array)[0] is array
    assert made(_pair, array) is not made(_pair, array)
    assert made(_pair, 1, shape=[2]) == (1, [2])


def test_what_was_asked_for_last_is_kept():
    made = Memo(most=2)
    first, second = made(_pair, 1), made(_pair, 2)
    assert made(_pair, 1) is first
    made(_pair, 3)
    assert made(_pair, 1) is first
    assert made(_pair, 2) is not second


def test_an_error_is_raised_again():
    made = Memo()
    for _ in range(2):
        with pytest.raises(data.DataError, match="gone"):
            made(_raise, "gone")


def _pair(one, shape=None):
    return (one, shape)


def _raise(message):
    raise data.DataError(message)
