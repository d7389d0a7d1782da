"""Arguments of another kind than a function wants: a line that names both."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxlth import data, landscape, models, scores, store, supermasks
from jaxlth.models import ModelConfig
from jaxlth.supermasks import SupermaskConfig

MODEL = tiny.model()
PARAMS = {"w": jnp.ones((2, 3))}
MASK = {"w": jnp.ones((2, 3), bool)}
BATCH = (np.zeros((3, 2), "f4"), np.arange(3))
A_CONFIG = "`config` must be a `SupermaskConfig`, such as SupermaskConfig(method='edge-popup')"


def apply(params, inputs):
    return inputs @ params["w"]


CASES = {
    "barrier of a dictionary": (
        lambda: landscape.barrier({"error": [0.5, 1]}),
        "`errors` must be a number or an array of numbers; got {'error': [0.5, 1]}.",
    ),
    "barrier of nothing": (
        lambda: landscape.barrier(None),
        "`errors` must be a number or an array of numbers; got None.",
    ),
    "point by a name": (
        lambda: landscape.interpolate(PARAMS, PARAMS, "half"),
        "`alpha` must be a number or an array of numbers; got 'half'.",
    ),
    "errors without a function": (
        lambda: landscape.errors_along(0.5, PARAMS, PARAMS),
        "`error_fn` must be a function network -> error; got 0.5.",
    ),
    "average of a dictionary": (
        lambda: landscape.average({"a": 1}),
        "`networks` must be a list of networks; got {'a': 1}.",
    ),
    "supermask by a name": (
        lambda: supermasks.wrap(MODEL, "edge-popup"),
        f"{A_CONFIG}; got 'edge-popup'.",
    ),
    "supermask of a name": (
        lambda: supermasks.wrap("mlp", SupermaskConfig()),
        "`model` must be a `models.Model`; got 'mlp'.",
    ),
    "frozen network": (
        lambda: supermasks.frozen_network(MODEL, None, key=None),
        f"{A_CONFIG}; got None.",
    ),
    "model by a name": (
        lambda: models.build("mlp", shape=(2, 2, 1), classes=3),
        "`config` must be a `ModelConfig`; got 'mlp'.",
    ),
    "wiring by a name": (
        lambda: models.wiring("mlp"),
        "`config` must be a `ModelConfig`; got 'mlp'.",
    ),
    "data by a name": (
        lambda: data.load("digits", seed=0),
        "`config` must be a `DataConfig`; got 'digits'.",
    ),
    "identity of data": (
        lambda: data.identify(ModelConfig()),
        "`config` must be a `DataConfig`; got ModelConfig(",
    ),
    "score without a function": (
        lambda: scores.snip("mlp", PARAMS, MASK, BATCH),
        "`apply_fn` must be a function (params, inputs); got 'mlp'.",
    ),
    "score by a dictionary": (
        lambda: scores.grasp(apply, PARAMS, MASK, {"a": 1}),
        "`batch` must be inputs and labels; got {'a': 1}.",
    ),
    "score by a number": (
        lambda: scores.fisher(apply, PARAMS, MASK, 3),
        "`batch` must be inputs and labels; got 3.",
    ),
    "runs of nothing": (lambda: store.runs(None), "`out` must be a path; got None."),
    "table of nothing": (lambda: store.table(None), "`path` must be a path; got None."),
    "curves of numbers": (lambda: store.curves([1, 2]), "`path` must be a path; got 1."),
    "run of nothing": (lambda: store.open_readonly(None), "`path` must be a path; got None."),
}


@pytest.mark.parametrize("case", CASES)
def test_an_argument_of_another_kind_is_named_with_what_is_wanted(case):
    call, says = CASES[case]
    with pytest.raises(TypeError, match=f"^{re.escape(says)}"):
        call()
