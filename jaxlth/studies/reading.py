"""The experiment of a run, to read the run: what it stores is seen with the parts that made it.

Settings that a run stores name the parts of a user's own, and do not hold them: a file of weights,
or the code of a network. What such a part gives now belongs to the run only if it is the same part.
"""

from collections.abc import Callable
from typing import Any

from jaxlth import store
from jaxlth.store import Run
from jaxlth.studies import fingerprint
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, for_reading
from jaxlth.studies.parts import NONE, Parts, any_of
from jaxlth.studies.prunable import PrunableModel, prunable_model
from jaxlth.studies.run_info import read_config, require_artifact


def lab(
    run: Run,
    kind: type[Any],
    artifact: str | None = None,
    parts: Parts = NONE,
    *,
    prunable: Callable[..., PrunableModel] = prunable_model,
) -> Lab:
    """Return a run with its experiment; its settings are `lab.config`.

    Args:
      run: of the study whose settings these are.
      kind: class of the settings.
      artifact: what the run must have, if it is to be read.
      parts: of the experiment that no setting says.
      prunable: see `loading.for_reading`.

    Raises:
      ValueError, TypeError: the run lacks the artifact, or parts do not fit it.
      StoreError: its settings are not understood, or it was made with other parts or data.
      DataError: the data, which networks of a user's own may depend on, cannot be read.
    """
    config, images = read_config(run, kind)
    if artifact is not None:
        require_artifact(run, artifact)
    experiment = for_reading(config, parts, **images, prunable=prunable)
    if any_of(config, parts):
        check_same(run, experiment)
    return Lab(experiment, run)


def check_same(run: Run, experiment: LoadedExperiment) -> None:
    """Check that the data, and what networks start from, are those that made a run.

    Its optimizer or loss may have changed since: nothing that is read depends on them.

    Args:
      run: which run.
      experiment: its data read.

    Raises:
      StoreError: they are others; the message names the part.
    """
    facts = dict(store.about_run(run.path).get("facts", {}))
    given = store.facts.of_data(experiment.identity)
    if any_of(experiment.prunable.config, experiment.parts):
        start = fingerprint.of_start(experiment)
        given |= store.facts.of_parts(start)
        parts = facts.get(store.facts.PARTS, {})
        facts[store.facts.PARTS] = {name: parts[name] for name in start if name in parts}
    store.facts.joined(run.path, facts, given)
