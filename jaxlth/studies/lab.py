"""Where a study works: it draws, trains and reads the networks of one run."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax

from jaxlth import keys, masks, store
from jaxlth.models import Network
from jaxlth.store import Run, share
from jaxlth.studies import train
from jaxlth.studies.compiled_training import CompiledTraining, DeviceDataset
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.train import Progress, TrainRequest


class Lab:
    """Draws, trains and reads the networks of one run; what the run has is not trained again.

    Args:
      experiment: the network and its data.
      run: where networks are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.
    """

    def __init__(
        self, experiment: LoadedExperiment, run: Run, *, checkpoint_seconds: float = 60.0
    ) -> None:
        self.experiment = experiment
        self.run = run
        self.config: Any = experiment.prunable.config
        # Those that this process does: all, or its share.
        self.replicates = run.replicates or tuple(range(self.config.replicates))
        self.dense_mask: masks.Mask = experiment.prunable.dense
        self._expected: set[str] = set()  # of other shares
        self._checkpoint_seconds = checkpoint_seconds

    def key(self, purpose: str, replicate: int, *numbers: int) -> jax.Array:
        """Return the key of a purpose and a replicate, with numbers such as the level folded in."""
        return keys.fold(keys.stream(self.config.seed, replicate, purpose), *numbers)

    def init(self, replicate: int) -> Network:
        """Return the network of a replicate at initialisation."""
        network = self.draw(self.key("initialization", replicate))
        given = self.experiment.prunable.initial
        if given is None:
            return network
        return Network(given.params, network.stats if given.stats is None else given.stats)

    def draw(self, key: jax.Array) -> Network:
        """Return a network drawn by a key."""
        return self.experiment.prunable.draw(key)

    def by_magnitude(self, params: Any, mask: masks.Mask, keep: Any) -> masks.Mask:
        """Return the mask without the weights of least magnitude, in NumPy."""
        return jax.device_get(self.experiment.prunable.by_magnitude(params, mask, keep))

    def load(self, artifact: str) -> Network:
        """Return a stored network, in NumPy."""
        return self.run.load(artifact, "network", self.experiment.prunable.like)

    def load_mask(self, artifact: str) -> masks.Mask:
        """Return a stored mask, in NumPy."""
        return self.run.load(artifact, "mask", self.dense_mask)

    def diverged(self, artifact: str) -> bool:
        """Return whether a stored network's loss was not finite at the end of its training."""
        return self.run.record(artifact)["nan_step"] is not None

    @functools.cached_property
    def compiled_training(self) -> CompiledTraining:
        """The training as the config says."""
        return self.experiment.compile_training()

    def count_of_all(self, networks: int) -> int:
        """Return how many networks all shares have together, given the number of this share.

        That number decides how networks are laid out on devices. So they round alike in a share and
        in a run that is not shared.
        """
        return networks * self.config.replicates // len(self.replicates)

    def begin(self, expected: Iterable[str]) -> None:
        """Store facts of the data in the run, and which artifacts it is to hold; see `expect`.

        Every study does so before it trains anything.

        Raises:
          StoreError: the run is of other data.
        """
        info = self.experiment.info
        several = len(info.tasks) > 1
        parts = {"tasks": info.tasks, "widths": info.widths} if several else {}
        shape = {"shape": info.shape, "classes": info.classes}
        self.run.add_facts(shape | parts | store.facts.of_data(self.experiment.identity))
        self.expect(expected)

    def expect(self, artifacts: Iterable[str]) -> None:
        """Tell the run how many artifacts it is to hold: those expected and those it has.

        A process that trains a share expects those of the other shares too.
        """
        self._expected |= {
            name for name in artifacts if not share.is_own(self.run.replicates, name)
        }
        names = {*artifacts, *self._expected, *(name for name, _ in self.run.records())}
        self.run.set_expected_count(len(names))

    def train(
        self,
        requests: Sequence[TrainRequest],
        compiled_training: CompiledTraining | None = None,
        device_data: DeviceDataset | None = None,
        *,
        pending: Iterable[str] = (),
    ) -> Iterator[Progress]:
        """Train the networks that the run lacks, and store them.

        Args:
          requests: the networks wanted.
          compiled_training: how they are trained; as the config says, if not given.
          device_data: on what; on all of the data, if not given.
          pending: artifacts that the run is to hold, as far as is known, to show the progress;
            those of other shares are not waited for.

        Yields:
          Progress, about once a second; the state is safe while the generator is suspended.
        """
        run, missing = self.run, train.missing(self.run, requests)
        if not missing:
            return
        training = compiled_training or self.compiled_training
        data = device_data or self.experiment.device_data
        # Not of the missing ones alone: in a layout of its own a resumed network could differ.
        layout = training.training_layout(self.count_of_all(len(requests)))
        own = {name for name in pending if share.is_own(run.replicates, name)}
        others = own - {request.artifact for request in requests}
        num_pending = len(missing) + sum(not run.has(name) for name in others)
        for tasks in train.grouped(run, missing, training.trainer, size=layout.size):
            group = train.TrainGroup(run, tasks, layout, training, data)
            yield from group.train(num_pending, self._checkpoint_seconds)
            num_pending -= len(tasks)
