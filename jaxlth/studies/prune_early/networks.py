"""The networks of a run of early pruning: what each starts from."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import keys, masks, prune
from jaxlth.models import Network
from jaxlth.studies import controls, score_names, score_pruning, scoring
from jaxlth.studies.lab import Lab
from jaxlth.studies.prunable import KeepCount, total_kept
from jaxlth.studies.prune_early import artifacts, initial, meta
from jaxlth.studies.prune_early.config import (
    AFTER,
    ITERATIVE,
    LEARNED,
    MULTI_SHOT,
    TRAINED,
    Method,
    PruneEarlyConfig,
    all_methods,
    score_parts,
)
from jaxlth.studies.prune_early.counts import Kept
from jaxlth.studies.train import Ticket, TrainRequest


class EarlyNetworks:
    """What each network of a run starts from."""

    def __init__(self, lab: Lab) -> None:
        self.config: PruneEarlyConfig = lab.config
        self.run = lab.run
        self.replicates = lab.replicates
        self._lab = lab
        self._experiment = lab.experiment
        self._dense = lab.dense_mask
        self._score = functools.cache(self._built)
        self.initial = functools.cache(self._initial)
        self.mask = functools.lru_cache(maxsize=16)(self._mask)
        self._examples = functools.cache(self._drawn)
        kept = Kept(lab.experiment)
        self.keep, self.links, self.place = kept.keep, kept.links, kept.place
        self._sees_data = kept.see_examples()

    # What is asked for.

    def request_dense(self, weights: str, replicate: int) -> TrainRequest:
        """Return the request for a dense network, which keeps the states tickets start from."""
        steps = [step for step in self.config.rewind_steps if step > 0]
        undone = Method("none", "none", weights=weights)
        return TrainRequest(
            artifact=artifacts.dense(weights, replicate),
            start=lambda: Ticket(self.initial(weights, replicate), self._dense),
            key=self._lab.key("order", replicate, 0),
            start_step=0,
            record=_record(replicate, 0, artifacts.dense_name(weights), undone),
            snapshots={step: artifacts.snapshot(step, weights, replicate) for step in steps},
        )

    def request(self, density: float, method: Method, replicate: int) -> TrainRequest:
        """Return the request for a ticket of a density."""
        keep = self.keep(density, method)
        return TrainRequest(
            artifact=artifacts.ticket(density, method, replicate),
            start=functools.partial(self.start, keep, method, replicate),
            key=self._lab.key("order", replicate, 1),
            start_step=0,
            record=_record(replicate, self.place(keep, method), str(method), method),
        )

    def request_link(self, number: int, method: Method, replicate: int) -> TrainRequest:
        """Return the request for a network of a chain; where a ticket keeps as much, it is that."""
        for density in self.config.densities:
            if self._is_ticket(number, density, method):
                return self.request(density, method, replicate)
        keep = self.links()[number]
        record = _record(replicate, number, str(method), method) | {"link": True}
        return TrainRequest(
            artifact=artifacts.link(number, method, replicate),
            start=functools.partial(self.start, keep, method, replicate),
            key=self._lab.key("order", replicate, 1),
            start_step=0,
            record=record,
        )

    def trained_before(self, method: Method, replicate: int, *, number: int = 1) -> bool:
        """Return whether the network that a ticket is made from is there and did not diverge.

        Args:
          method: the ticket's.
          replicate: its replicate.
          number: which link the ticket is, or follows by one.
        """
        if method.score in LEARNED:
            source = method._replace(score=meta.TARGET, schedule="iterative-rounds", control="none")
            last = self.place(self.keep(self.config.meta_density, source), source)
            everyone = range(self.config.replicates)
            return all(self.trained_before(source, each, number=last) for each in everyone)
        if method.schedule not in TRAINED:
            rewound = artifacts.dense(method.weights, replicate)
            return not method.step or self._finite(rewound, until=method.step)
        return self._finite(self._before(method, replicate, number))

    def _finite(self, artifact: str, *, until: int | None = None) -> bool:
        """Return whether a network is there and has not diverged, up to a step of its training."""
        if not self.run.has(artifact):
            return False
        lost = self.run.record(artifact)["nan_step"]
        return lost is None or (until is not None and until < lost)

    def _is_ticket(self, number: int, density: float, method: Method) -> bool:
        """Return whether a link is a ticket that the settings ask for."""
        same = self.links()[number] == self.keep(density, method)
        return same and method in all_methods(self.config)

    # What a network starts from.

    def start(self, keep: KeepCount, method: Method, replicate: int) -> Ticket:
        """Return a ticket: its mask and the network that it starts from."""
        mask = self.mask(_hashable(keep), method.source, replicate)
        if method.control == "shuffled":
            key = self._control_key(keep, method, replicate, 1)
            mask = controls.shuffled(mask, key, within=self._dense)
        return Ticket(self.network(keep, method, replicate), mask)

    def network(self, keep: KeepCount, method: Method, replicate: int) -> Network:
        """Return the network that a ticket starts from."""
        if method.control == "reinitialized":
            key = self._control_key(keep, method, replicate, 0)
            return self._weights(method.weights, replicate, key, self._lab.draw(key))
        return self._rewound(method, replicate)

    def _control_key(
        self, keep: KeepCount, method: Method, replicate: int, number: int
    ) -> jax.Array:
        """Return a key of what a control draws: 0 for its weights, 1 for its mask."""
        purpose = f"ablation/{method.stream}"
        return self._lab.key(purpose, replicate, total_kept(keep), number)

    def _rewound(self, method: Method, replicate: int) -> Network:
        if method.schedule in AFTER:
            return self._lab.load(artifacts.dense(method.weights, replicate))
        if method.step:
            return self._lab.load(artifacts.snapshot(method.step, method.weights, replicate))
        return self.initial(method.weights, replicate)

    def _initial(self, weights: str, replicate: int) -> Network:
        key = self._lab.key("initialization", replicate)
        return self._weights(weights, replicate, key, self._lab.init(replicate))

    def _weights(self, weights: str, replicate: int, key: jax.Array, network: Network) -> Network:
        """Return a network that was drawn by a key, its weights as the name says."""
        if weights == "bimodal":
            modes = keys.substream(key, "bimodal")
            params = initial.bimodal(network.params, self._dense, key=modes)
        elif weights in initial.FROM_SCORES:
            given = self._score_inputs(network, network.params, replicate)
            weight_scores = self._evaluated(weights, self._dense, given)
            params = initial.from_scores(network.params, weight_scores, self._dense)
        else:
            params = network.params
        return jax.device_get(network._replace(params=params))

    def _mask(self, keep: Any, method: Method, replicate: int) -> masks.Mask:
        """Return the mask of a ticket, computed from the network that its schedule scores."""
        keep = _from_hashable(keep)
        before = self._dense
        if method.schedule in TRAINED:
            number = self.place(keep, method)
            artifact = self._before(method, replicate, number)
            scored = self._lab.load(artifact)
            if method.schedule in ITERATIVE and number > 1:
                before = self._lab.load_mask(artifact)
        else:
            scored = self._rewound(method, replicate)
        first = self.initial(method.weights, replicate).params
        inverted = method.control == "inverted"
        if method.score in LEARNED:
            weight_scores = self._learned(method, replicate)
            keeps, args = self._keeps(before, keep, 1), (weight_scores, inverted)
            return jax.device_get(prune.in_rounds(_oriented, before, keeps=keeps, args=args))
        rounds = self.config.rounds if method.schedule in MULTI_SHOT else 1
        return score_pruning.pruned(
            self._score(method.score),
            score_parts(method.score),
            before,
            self._score_inputs(scored, first, replicate)._replace(inverted=inverted),
            keep=keep,
            rounds=rounds,
            spacing=self.config.spacing,
        )

    def _learned(self, method: Method, replicate: int) -> Any:
        """Return what a meta-model predicts, trained on the tickets of all other replicates."""
        plain = method._replace(control="none")
        artifact = artifacts.learned(plain, replicate)
        if self.run.has(artifact):
            return self.run.load(artifact, "scores", self._experiment.prunable.like.params)
        model, extended = meta.split_name(method.score)
        others = [r for r in range(self.config.replicates) if r != replicate]
        others = others[: self.config.meta_replicates]
        pairs = [self.learned_from(r, plain, extended) for r in others]
        inputs, targets = (np.concatenate(each) for each in zip(*pairs, strict=True))
        key = self._lab.key("meta", replicate)
        most, seed = self.config.meta_weights, int(jax.random.bits(key, (), jnp.uint32) >> 1)
        if most is not None and most < len(targets):
            rows = np.random.default_rng(seed).choice(len(targets), most, replace=False)
            inputs, targets = inputs[rows], targets[rows]
        own = self.learned_from(replicate, plain, extended)
        fitted = meta.fit(model, inputs, targets, own, seed=seed)
        params = self._rewound(plain, replicate).params
        weight_scores = meta.unflat(fitted.model.predict(own[0]), params, self._dense)
        record = {"snapshot": True, **fitted.quality}
        record |= {"losses": fitted.losses} if fitted.losses else {}
        self.run.save(artifact, {"scores": weight_scores}, record)
        return weight_scores

    def learned_from(
        self, replicate: int, method: Method, extended: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what meta-models learn from: features and target of each weight of a replicate.

        Args:
          replicate: which weights.
          method: of a meta-model; its initial weights and step count.
          extended: whether there are ten features, not four.

        Returns:
          (weights, features) and (weights,), each column scaled to [0, 1].
        """
        network = self._rewound(method, replicate)
        given = self._score_inputs(network, network.params, replicate)
        weight_scores = [self._evaluated(name, self._dense, given) for name in meta.SCORES]
        inputs = meta.columns(weight_scores, self._dense)
        if extended:
            more = meta.surroundings(network.params, self._dense, given.batch[0])
            inputs = np.concatenate([inputs, more], axis=1)
        source = method._replace(score=meta.TARGET, schedule="iterative-rounds")
        keep = self.keep(self.config.meta_density, source)
        ticket = self.mask(_hashable(keep), source, replicate)
        before = self._lab.load(self._before(source, replicate, self.place(keep, source)))
        given = self._score_inputs(before, network.params, replicate)
        target = self._evaluated(meta.TARGET, ticket, given)
        return inputs, meta.columns([target], self._dense)[:, 0]

    def _keeps(self, before: masks.Mask, keep: KeepCount, rounds: int) -> list[Any]:
        return score_pruning.falling(before, keep, rounds=rounds, spacing=self.config.spacing)

    def _before(self, method: Method, replicate: int, number: int) -> str:
        """Return the name of the trained network that a ticket's schedule scores."""
        if method.schedule not in ITERATIVE or number == 1:
            return artifacts.dense(method.weights, replicate)
        return self.request_link(number - 1, method.source, replicate).artifact

    def _score_inputs(self, network: Network, first: Any, replicate: int) -> scoring.ScoreInputs:
        key = self._lab.key("score", replicate)
        return scoring.ScoreInputs(
            network, first, self._examples(replicate), key, self._experiment.mean
        )

    def _drawn(self, replicate: int) -> tuple[Any, Any] | None:
        """Return the examples that scores see, the same for all scores of a replicate."""
        if not self._sees_data:
            return None  # there may be too few of a class
        return self._experiment.examples(replicate, per_class=self.config.per_class)

    def _evaluated(self, name: str, mask: masks.Mask, given: scoring.ScoreInputs) -> Any:
        """Return scores of a network."""
        with scoring.precision(score_parts(name)):
            return scoring.evaluated(self._score(name), mask, given)

    def _built(self, name: str) -> scoring.Score:
        return self._experiment.score(name, chunk=self.config.chunk)


def _oriented(_mask: masks.Mask, weight_scores: Any, inverted: Any) -> Any:
    return scoring.oriented(weight_scores, inverted)


def _record(replicate: int, level: int, control: str, method: Method) -> dict[str, Any]:
    return {
        "job": "prune-early",
        "replicate": replicate,
        "level": level,
        "control": control,
        "score": score_names.label(method.score),
        "schedule": method.schedule,
        "ablation": method.control,
        "weights": method.weights,
        "prune_step": method.step,
        "link": False,
    }


def _hashable(keep: KeepCount) -> Any:
    return keep if isinstance(keep, int) else tuple(keep.items())


def _from_hashable(keep: int | Iterable[tuple[str, int]]) -> KeepCount:
    return keep if isinstance(keep, int) else dict(keep)
