"""The settings of early pruning and what they ask for: which networks, under which names."""

import dataclasses
import itertools
from typing import Annotated, NamedTuple

import tyro

from jaxlth import settings
from jaxlth.settings import ranges
from jaxlth.studies import own_scores, score_names, score_pruning
from jaxlth.studies.config import Scope, StudyConfig, check_network_count
from jaxlth.studies.prune_early.initial import WEIGHTS
from jaxlth.studies.prune_early.meta import NAMES as LEARNED
from jaxlth.studies.score_names import AT_RANDOM, BEFORE_AND_AFTER, SEES_DATA
from jaxlth.studies.score_pruning import Spacing

ALL_SCORES = (*score_names.SCORES, *LEARNED)
SCHEDULES = (
    "before-once",
    "before-rounds",
    "iterative-once",
    "iterative-rounds",
    "after",
    "after-rounds",
    "after-rewind",
)
ITERATIVE = ("iterative-once", "iterative-rounds")  # train between prunings
AFTER = ("after", "after-rounds")  # train trained weights again
TRAINED = (*ITERATIVE, *AFTER, "after-rewind")  # score trained networks
MULTI_SHOT = ("before-rounds", "iterative-rounds", "after-rounds")  # several rounds at once
REFERENCES = ("after", "after-rewind")
CONTROLS = ("shuffled", "reinitialized", "inverted")
DENSE = "dense"
# Names of schedules in random streams: those of the first edition, so that its numbers stay.
IN_STREAMS = {
    "before-once": "uss",
    "before-rounds": "ums",
    "iterative-once": "iss",
    "iterative-rounds": "ims",
    "after-rewind": "ltr",
}


class Method(NamedTuple):
    """A way to a ticket.

    Example:
      >>> str(Method("snip", "before-rounds", "shuffled", step=500))
      'snip-before-rounds-shuffled-at-500'
    """

    score: str
    schedule: str
    control: str = "none"  # what is changed of the ticket
    weights: str = "standard"
    step: int = 0  # of the dense training whose weights are pruned, or rewound to

    def __str__(self) -> str:
        changed = "" if self.control == "none" else f"-{self.control}"
        on = "" if self.weights == "standard" else f"-on-{self.weights}"
        at = f"-at-{self.step}" if self.step else ""
        return f"{score_names.label(self.score)}-{self.schedule}{changed}{on}{at}"

    @property
    def stream(self) -> str:
        """The name of the random stream that its controls are drawn from."""
        return str(self._replace(schedule=IN_STREAMS.get(self.schedule, self.schedule)))

    @property
    def source(self) -> "Method":
        """The method whose mask this one takes: itself but for what is done to a ticket."""
        return self if self.control == "inverted" else self._replace(control="none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneEarlyConfig(StudyConfig):
    """Pruning before, early in, or between trainings, by any score.

    Each score is combined with each schedule, control, initial weights, step and density.

    References:
      Frankle 2023, chapter 5; Lutz & Manai 2022.
    """

    scores: Annotated[
        tuple[str, ...],
        tyro.conf.arg(name="score"),
        ranges.OneOf(ALL_SCORES, others=ranges.anything),
    ] = settings.not_hashed(("snip",))
    """Scores, of what is kept; A+B is the stack of two: B of the network whose weights are the
    scores of A. A score of your own is FILE.py:NAME, a function (apply_fn, params, mask, batch,
    key) -> tree of floats like params."""
    schedules: Annotated[
        tuple[str, ...], tyro.conf.arg(name="schedule"), ranges.OneOf(SCHEDULES)
    ] = settings.not_hashed(("before-once",))
    """When is pruned: before training, at once (before-once) or in --rounds (before-rounds); after
    each of several trainings, rewinding, at once (iterative-once) or in rounds (iterative-rounds);
    after training, the trained weights trained again, at once (after) or in rounds (after-rounds),
    or rewound (after-rewind)."""
    densities: Annotated[tuple[float, ...], tyro.conf.arg(name="density"), ranges.between(0, 1)] = (
        settings.not_hashed((0.1,))
    )
    """Shares of the weights that tickets keep, in (0, 1)."""
    controls: Annotated[tuple[str, ...], ranges.OneOf(CONTROLS, empty=True)] = settings.not_hashed(
        ()
    )
    """Controls trained beside each ticket, or none: its mask shuffled within each layer (shuffled),
    its weights drawn anew (reinitialized), or pruned by its score the other way round, the least
    important weights being kept (inverted)."""
    weights: Annotated[tuple[str, ...], settings.RARE, ranges.OneOf(WEIGHTS)] = settings.not_hashed(
        ("standard",)
    )
    """Initial weights: as the model draws them (standard), a bi-modal distribution (bimodal), or
    scores of them, with their signs, scaled to [-1, 1] (snip, grasp, synflow, magnitude)."""
    rewind_steps: Annotated[tuple[int, ...], ranges.at_least(0)] = settings.not_hashed((0,))
    """Steps of the dense training after which is pruned, or which is rewound to; 0 is
    initialisation, and the last one may be asked for. The whole training follows."""
    references: Annotated[tuple[str, ...], settings.RARE, ranges.OneOf(REFERENCES, empty=True)] = (
        settings.not_hashed(())
    )
    """Benchmarks set beside the scores: magnitude pruning after training (after), and its mask on
    the weights of the prune step (after-rewind). They have the controls too."""
    rounds: Annotated[int, score_pruning.ROUNDS] = 100
    """Rounds of scoring and pruning of the schedules whose names end in rounds."""
    spacing: Annotated[Spacing, settings.RARE] = "exponential"
    """How densities fall from round to round: by a factor, or by an amount."""
    per_class: Annotated[int, ranges.at_least(1), settings.RARE] = 10
    """Training examples of each class that scores see, as one batch."""
    chunk: Annotated[int | None, ranges.at_least(1), settings.RARE] = None
    """Examples whose gradient is taken at once, to save memory; all if none is given."""
    scope: Scope = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    meta_density: Annotated[float, ranges.between(0, 1), settings.RARE] = 0.005
    """Density of the synflow-iterative-rounds tickets that scores such as meta-mlp learn from."""
    meta_replicates: Annotated[int, ranges.at_least(1), settings.RARE] = 2
    """Other replicates that they learn from, the first ones."""
    meta_weights: Annotated[int | None, ranges.at_least(1), settings.RARE] = None
    """Weights that they learn from, drawn from all weights of these; all if not given."""
    prune_fraction: Annotated[float, ranges.between(0, 1)] = 0.2
    """Share of the surviving weights that iterative-once and iterative-rounds prune after each
    training, in (0, 1)."""
    score_fields = ("scores",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for score in self.scores:
            score_parts(score)
        own_scores.check_labels("score", self.score_names(), ALL_SCORES)
        settings.check_unique("density", self.densities)
        settings.check_unique("rewind_steps", self.rewind_steps)
        self._check_networks()
        self._check_scores()

    def _check_networks(self) -> None:
        check_network_count(
            replicates=self.replicates,
            score=len(self.scores) + len(self.references),
            schedule=len(self.schedules),
            controls=1 + len(self.controls),
            weights=len(self.weights),
            rewind_steps=len(self.rewind_steps),
            density=len(self.densities),
        )

    def _check_scores(self) -> None:
        """Refuse scores that a schedule, or the data, cannot give."""
        for score, schedule in itertools.product(self.scores, self.schedules):
            settings.require(
                score not in BEFORE_AND_AFTER or schedule in TRAINED,
                f"The score {score} compares weights before and after training; the schedule "
                f"{schedule} has no training before it. Those that have: {' '.join(TRAINED)}.",
            )
            settings.require(
                score not in LEARNED or schedule in ("before-once", "iterative-rounds"),
                f"The score {score} is learned from tickets of the schedule iterative-rounds and "
                f"applied by the schedule before-once; it does not go with {schedule}.",
            )
            settings.require(
                score not in AT_RANDOM or schedule == "before-once",
                f"The score {score} counts weights by the shapes of layers, once; it goes with the "
                f"schedule before-once, not {schedule}.",
            )
        learned = [score for score in self.scores if score in LEARNED]
        settings.require(
            not learned
            or (
                {"before-once", "iterative-rounds"} <= set(self.schedules)
                and "synflow" in self.scores
            ),
            f"The score {' '.join(learned[:1])} learns from synflow by the schedule "
            "iterative-rounds; ask for --score synflow and --schedule before-once iterative-rounds "
            "too.",
        )
        settings.require(
            not learned or self.replicates > self.meta_replicates,
            f"The score {' '.join(learned[:1])} learns from {self.meta_replicates} other "
            f"replicates; `replicates` is {self.replicates}.",
        )
        settings.require(
            not learned or self.meta_density in self.densities,
            f"`meta_density` must be one of the densities asked for; got {self.meta_density:g}.",
        )
        sees = [name for score in self.scores for name in score_parts(score) if name in SEES_DATA]
        sees += [name for name in self.weights if name in SEES_DATA] + learned
        settings.require(
            self.data.gives_classes or not sees,
            f"{' '.join(sees[:1])} scores examples of each class, which streamed data cannot give.",
        )

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that no score and no schedule reads."""
        super().check_effects()
        schedules = {*self.schedules, *self.references}
        scored = {part for score in self.scores for part in score_parts(score)}
        learned = not scored.isdisjoint(LEARNED)
        seeing = learned or not {*scored, *self.weights}.isdisjoint(score_names.OF_EXAMPLES)
        at_once = f"on the schedules {settings.in_a_row(sorted(schedules))}"
        unseen = f"on the scores {settings.in_a_row(self.scores)}"
        by_layer = scored <= set(AT_RANDOM) and not self.references
        for names, condition, where in (
            (("rounds", "spacing"), not schedules.isdisjoint(MULTI_SHOT), at_once),
            (("prune_fraction",), not schedules.isdisjoint(ITERATIVE), at_once),
            (("rewind_steps",), not schedules <= set(AFTER), at_once),
            (("per_class",), seeing or bool(score_names.batch_readers(scored)), unseen),
            (("chunk",), seeing, unseen),
            (("meta_density", "meta_replicates", "meta_weights"), learned, unseen),
            (("scope",), not by_layer, unseen),
        ):
            for name in names:
                settings.effective(self, name, condition, where)


def score_parts(score: str) -> tuple[str, ...]:
    """Return the one or two scores that a name stands for; see `score_names.parts`."""
    return score_names.parts(score, single=ALL_SCORES)


def all_methods(config: PruneEarlyConfig) -> list[Method]:
    """Return all ways to tickets that settings ask for, the benchmarks first, each once."""
    controls = ("none", *config.controls)
    kinds = [("magnitude", schedule) for schedule in config.references]
    kinds += list(itertools.product(config.scores, config.schedules))
    # What is learned is learned from the schedule iterative-rounds, and applied before training.
    kinds = [kind for kind in kinds if kind[0] not in LEARNED or kind[1] == "before-once"]
    methods = [
        Method(*kind, *rest)
        for kind in kinds
        for rest in itertools.product(controls, config.weights, config.rewind_steps)
    ]
    # Pruning after training does not depend on the step, unless weights are rewound to it.
    same = [method._replace(step=0) if method.schedule in AFTER else method for method in methods]
    return list(dict.fromkeys(same))
