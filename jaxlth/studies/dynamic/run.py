"""Train networks sparse throughout, and tickets beside them.

static, set and rigl start from the dense network's initial weights and see its batches. Their masks
are drawn at random; those of set and rigl exchange weights as they train: `prune.sparsify` makes
the optimizer one that does. dynamic-imp trains a dense network between two changes, prunes it by
magnitude and trains the sparse part over the same steps; what is pruned is drawn anew at the next
change (Frankle 2023, Algorithm 5). imp prunes trained networks by magnitude and rewinds them. Each
trained network is an artifact of the run's folder, "density_0.1/rigl/replicate_0", and is trained
only if the folder lacks it: asking for more methods, densities, lengths or replicates extends a
run. The mask that is stored is that of the end.
"""

import functools
import pathlib
from collections.abc import Generator

from jaxlth import settings
from jaxlth.store import Run
from jaxlth.studies.dynamic import artifacts, networks
from jaxlth.studies.dynamic.config import DYNAMIC_IMP, IMP, SPARSE, DynamicConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.train import Progress


def prepare(config: DynamicConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    experiment = load_experiment(config, parts)
    experiment.check_steps("rewind_step", (config.rewind_step,))
    for density in config.densities:
        experiment.prunable.check_pruned(density)
    if IMP in config.methods:
        networks.levels(experiment)
    steps = experiment.plan(1.0).steps
    at = networks.change_steps(config, steps)
    settings.require(
        DYNAMIC_IMP not in config.methods or (at[0] > 0 and len({*at, steps}) == len(at) + 1),
        f"`changes` must be different steps within the {steps} of training; got steps "
        f"{settings.in_a_row(at)}.",
    )
    return experiment


def dynamic(lab: Lab, config: DynamicConfig) -> Generator[Progress, None, None]:
    """Train dense networks; train sparse ones by each method at each density."""
    methods = networks.DynamicNetworks(lab)
    expected = methods.expected()
    lab.begin(expected)
    train = functools.partial(lab.train, pending=expected)
    yield from train([methods.request_dense(replicate) for replicate in lab.replicates])
    for name, method, length in artifacts.trainings(config):
        for density in config.densities if method in SPARSE else ():
            training = methods.compile_sparse(method, density, length)
            requests = [
                methods.request_sparse(name, method, density, length, replicate)
                for replicate in lab.replicates
            ]
            yield from train(requests, training)
    if DYNAMIC_IMP in config.methods:
        for density in config.densities:
            yield from methods.phases(density).train(train)
    if IMP in config.methods:
        for number in range(1, len(networks.levels(lab.experiment)) + 1):
            yield from train(methods.requests_imp(number))
    lab.expect(())


def complete(config: DynamicConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder lacks nothing, told without the data.

    What follows from a dense network that diverged is not trained.
    """

    def enough(run: Run) -> bool:
        return all(
            run.has(artifacts.network(density, name, replicate))
            or (method not in SPARSE and _lost(run, density, method, replicate))
            for density in config.densities
            for name, method, _ in artifacts.trainings(config)
            for replicate in range(config.replicates)
        ) and all(run.has(artifacts.dense(replicate)) for replicate in range(config.replicates))

    return has_artifacts(path, enough)


def _lost(run: Run, density: float, method: str, replicate: int) -> bool:
    """Return whether a network on the way to one of imp or dynamic-imp has diverged."""
    ways = {IMP: "level_", DYNAMIC_IMP: "phase_"}
    on_the_way = [artifacts.dense(replicate)]
    on_the_way += [
        name
        for name, _ in run.records()
        if name.startswith(ways[method])
        and name.endswith(f"/replicate_{replicate}")
        and (method == IMP or f"/density_{float(density)!r}/" in name)
    ]
    return any(run.has(name) and run.record(name)["nan_step"] is not None for name in on_the_way)
