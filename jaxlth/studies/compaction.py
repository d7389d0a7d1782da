"""Train tickets in smaller networks: without the units and inputs that no output depends on.

The units that are left out get no gradient. So the smaller network follows the training of the
whole one, up to the order of sums. Results are stored at full size. Each replicate of a level keeps
its own units, and all keep as many of each layer. Widths come from a coarse grid, so that levels
share programs.

References:
  Burger 2024, section 3.4.2, for what does not matter.
"""

import bisect
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxlth import graphs, masks, models
from jaxlth.data import Dataset, Split
from jaxlth.models import Network
from jaxlth.process import memo
from jaxlth.studies.compiled_training import CompiledTraining, DeviceDataset
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.train import Ticket, TrainRequest

GRID = sorted({2**power for power in range(24)} | {3 * 2**power for power in range(23)})
WORTHWHILE = 1e11  # operations; to save fewer is not worth the compilation of a program
SHARE = 0.2  # of the weights; to leave out fewer saves no time (`experiments/compaction_speed.py`)

Units: TypeAlias = tuple[np.ndarray, ...]  # places of the units kept of each layer, inputs first


class Group(NamedTuple):
    """Networks that are trained alike."""

    requests: Sequence[TrainRequest]
    compiled_training: CompiledTraining
    device_data: DeviceDataset


class Trainings:
    """How the networks of each level are trained: at which rates, and whole or smaller.

    Args:
      experiment: of full size.
      config: of IMP; it says whether to compact and what follows pruning.
    """

    def __init__(self, experiment: LoadedExperiment, config: ImpConfig) -> None:
        fine_tune = config.after_pruning == "fine-tune"
        restart_step = config.rewind_step if config.restart_schedule else 0
        self._experiment = experiment
        again = functools.partial(
            LoadedExperiment.compile_training, fine_tune=fine_tune, restart_step=restart_step
        )
        self._dense = experiment.compile_training()
        self._pruned = again(experiment) if fine_tune or restart_step else self._dense
        self._smaller = Compaction(experiment, self._pruned, again) if config.compact else None

    def groups(self, level: int, requests: Sequence[TrainRequest]) -> Iterable[Group]:
        """Return the networks of a level in groups that are trained alike."""
        if self._smaller and level:
            return self._smaller.groups(requests)
        compiled_training = self._pruned if level else self._dense
        return [Group(requests, compiled_training, self._experiment.device_data)]


class Compaction:
    """The smaller networks that tickets are trained in, where that pays.

    Args:
      experiment: of full size.
      whole: its training.
      compiled_training: (experiment) -> the same training of a smaller network.
      worthwhile: operations that a group must save; `WORTHWHILE` by default, and `SHARE` of the
        weights then.
    """

    def __init__(
        self,
        experiment: LoadedExperiment,
        whole: CompiledTraining,
        compiled_training: Callable[[LoadedExperiment], CompiledTraining],
        *,
        worthwhile: float | None = None,
    ) -> None:
        self._experiment, self._whole = experiment, whole
        self._worthwhile = WORTHWHILE if worthwhile is None else worthwhile
        self._share = SHARE if worthwhile is None else 0.0
        config = experiment.prunable.config.data
        # Else an input would depend on others before the network sees it.
        self._inputs_may_go = config.normalize != "unit-norm" and config.augment == "none"
        # Not only those alive: an initial mask may leave some without a weight.
        self._full = tuple(map(len, self._units(experiment.prunable.dense)))
        self._smaller = functools.cache(lambda widths: compiled_training(self._made(widths)))

    def groups(self, requests: Sequence[TrainRequest]) -> Iterator[Group]:
        """Yield networks of one level in groups; controls apart, for they keep other units."""
        for control in dict.fromkeys(request.record["control"] for request in requests):
            same = [request for request in requests if request.record["control"] == control]
            alive = [self._alive(request.start().mask) for request in same]
            inputs = functools.reduce(np.union1d, [units[0] for units in alive])
            widths = self._common(alive, inputs)
            if not self._pays(widths, len(same)):
                yield Group(same, self._whole, self._experiment.device_data)
                continue
            inputs = _filled(inputs, widths[0], self._full[0])
            kept = [
                (inputs, *map(_filled, units[1:], widths[1:], self._full[1:])) for units in alive
            ]
            yield Group(
                [self._shrunk(request, units) for request, units in zip(same, kept, strict=True)],
                self._smaller(widths),
                self._placed(inputs),
            )

    def _alive(self, mask: masks.Mask) -> Units:
        """Return the units and inputs that outputs depend on, and all outputs."""
        inactive = graphs.CATEGORIES.index("inactive")
        return tuple(np.flatnonzero(units != inactive) for units in self._units(mask))

    def _units(self, mask: masks.Mask) -> Sequence[np.ndarray]:
        """Return the categories of the units of each layer, inputs first."""
        return graphs.categories(self._experiment.prunable.zeros, mask).units

    def _common(self, alive: Sequence[Units], inputs: np.ndarray) -> tuple[int, ...]:
        """Return widths of the grid that several networks fit into."""
        of_units = [max(map(len, layer)) for layer in zip(*alive, strict=True)]
        counts = [len(inputs), *of_units[1:]]
        widths = [
            min(full, GRID[bisect.bisect_left(GRID, count)])
            for count, full in zip(counts, self._full, strict=True)
        ]
        return (widths[0] if self._inputs_may_go else self._full[0], *widths[1:-1], self._full[-1])

    def _pays(self, widths: tuple[int, ...], networks: int) -> bool:
        saved = _weights(self._full) - _weights(widths)
        examples = self._whole.plan.steps * self._whole.trainer.batch_size
        each = 6  # operations: two forth, two back, two for the gradient
        enough = each * saved * examples * networks >= self._worthwhile
        return enough and saved >= self._share * _weights(self._full)

    def _made(self, widths: tuple[int, ...]) -> LoadedExperiment:
        """Return the experiment for a perceptron of other widths."""
        prunable = self._experiment.prunable
        shape = (1, widths[0], 1) if widths[0] < self._full[0] else self._experiment.info.shape
        config = dataclasses.replace(prunable.config.model, name="mlp", hidden=widths[1:-1])
        model = memo.shared(models.build, config, shape=shape, classes=widths[-1])
        return dataclasses.replace(
            self._experiment, prunable=dataclasses.replace(prunable, model=model)
        )

    def _shrunk(self, request: TrainRequest, units: Units) -> TrainRequest:
        """Return the request for the smaller network, whose result is stored at full size."""

        def start() -> Ticket:
            whole = request.start()
            params = _cut(whole.network.params, units)
            return Ticket(Network(params, whole.network.stats), _cut(whole.mask, units))

        def restore(network: Network) -> Ticket:
            whole = jax.device_get(request.start())
            params = graphs.expand(network.params, whole.network.params, whole.mask, units)
            return Ticket(Network(params, network.stats), whole.mask)

        parts = hashlib.sha256(b"".join(each.tobytes() for each in units)).hexdigest()[:16]
        return request._replace(start=start, restore=restore, parts=parts)

    def _placed(self, inputs: np.ndarray) -> DeviceDataset:
        """Return the data set with some of its inputs, in a row."""
        dataset = self._experiment.device_data.dataset
        assert isinstance(dataset, Dataset)
        if len(inputs) == self._full[0]:
            return self._experiment.device_data

        def with_inputs(split: Split) -> Split:
            rows = split.images.reshape((len(split.images), -1))
            return split._replace(images=rows[:, inputs][:, None, :, None])

        def norm(values: np.ndarray) -> np.ndarray:
            every = np.broadcast_to(values, self._experiment.info.shape)
            return every.reshape(-1)[inputs][None, :, None]

        return DeviceDataset(
            Dataset(
                train=with_inputs(dataset.train),
                validation=None if dataset.validation is None else with_inputs(dataset.validation),
                test=with_inputs(dataset.test),
                mean=norm(dataset.mean),
                std=norm(dataset.std),
            )
        )


def _weights(widths: Sequence[int]) -> int:
    return sum(inputs * units for inputs, units in itertools.pairwise(widths))


def _filled(units: np.ndarray, width: int, full: int) -> np.ndarray:
    """Return positions of units, filled up to a width with the first other positions.

    Example:
      >>> _filled(np.array([2, 3]), 3, 5).tolist()
      [0, 2, 3]
    """
    others = np.setdiff1d(np.arange(full), units)
    return np.sort(np.concatenate([units, others[: width - len(units)]]))


def _cut(tree: Any, units: Units) -> Any:
    """Return the parameters, or the mask, of a perceptron of some of the units of each layer."""
    smaller = {}
    for place in range(len(units) - 1):
        layer = tree[name := f"Dense_{place}"]
        kernel = layer["kernel"]
        smaller[name] = {
            "kernel": None
            if kernel is None
            else np.asarray(kernel)[np.ix_(*units[place : place + 2])],
            "bias": None if layer["bias"] is None else np.asarray(layer["bias"])[units[place + 1]],
        }
    return smaller
