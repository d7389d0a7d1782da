"""How many weights the networks of a run keep, and whether what is asked for can be."""

from jaxlth import masks, prune, settings
from jaxlth.studies import own_scores, score_names, score_pruning
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prunable import KeepCount, total_kept
from jaxlth.studies.prune_early import meta
from jaxlth.studies.prune_early.config import (
    ITERATIVE,
    LEARNED,
    Method,
    PruneEarlyConfig,
    all_methods,
    score_parts,
)


class Kept:
    """What tickets keep, and the networks that are trained between prunings."""

    def __init__(self, experiment: LoadedExperiment) -> None:
        self.config: PruneEarlyConfig = experiment.prunable.config
        self._experiment = experiment
        self._dense = experiment.prunable.dense

    def check(self) -> None:
        """Raise ValueError where something asked for cannot be, before anything is trained."""
        wanted, prunable = all_methods(self.config), self._experiment.prunable
        for method in wanted:
            for density in self.config.densities:
                prunable.check_pruned(density)
                prunable.check_pruned(density, self.keep(density, method))
        if any(method.schedule in ITERATIVE for method in wanted):
            self.links()
        for score in {method.score for method in wanted} - set(LEARNED):
            self._experiment.score(score, chunk=self.config.chunk)  # which says what it needs
        if any(method.score.endswith("-10") for method in wanted):
            meta.check_mlp(self._experiment.prunable.like.params)
        if seeing := self._seeing():
            self._experiment.check_classes(f"{min(seeing)} scores examples of each class, of")
        if self.see_examples():
            _, labels = self._experiment.examples(0, per_class=self.config.per_class)
            chunk = self.config.chunk
            settings.require(
                chunk is None or len(labels) % chunk == 0,
                f"`chunk` must divide the {len(labels)} examples that scores see; got {chunk}.",
            )

    def see_examples(self) -> bool:
        """Return whether a requested score sees examples; a user's own scores may."""
        return bool(self._seeing()) or any(map(own_scores.is_own, self._scores()))

    def _seeing(self) -> set[str]:
        """Return the library's scores asked for that see examples of each class."""
        return (self._scores() | set(self.config.weights)) & {*score_names.SEES_DATA, *LEARNED}

    def _scores(self) -> set[str]:
        return {part for each in all_methods(self.config) for part in score_parts(each.score)}

    def keep(self, density: float, method: Method) -> KeepCount:
        """Return what a ticket of a density keeps; see `PrunableModel.keeping`."""
        keep = self._experiment.prunable.keeping(density)
        if method.score in score_names.AT_RANDOM:
            kept = round(density * masks.size(self._dense))
            return score_pruning.counts(method.score, self._dense, keep=kept)
        return keep

    def links(self) -> list[KeepCount]:
        """Return what the networks of the iterative schedules keep, dense first.

        The last one keeps no less than the sparsest ticket.
        """
        fraction, least = self.config.prune_fraction, min(self.config.densities)
        left = self._experiment.prunable.left
        size = sum(left.values())  # more levels than weights are refused below
        levels, density = 0, size / masks.size(self._dense) * (1 - fraction)
        while density >= least and levels <= size:
            levels, density = levels + 1, density * (1 - fraction)
        times = {"levels": levels, "fraction": fraction}
        whole = self.config.scope == "global"
        try:
            if whole:
                return [*prune.keep_counts(size, **times)]
            counts = {name: prune.keep_counts(count, **times) for name, count in left.items()}
        except ValueError as error:
            what = "the network" if whole else "a layer"
            raise ValueError(
                f"`density` {least:g} is too low for iterative-once and iterative-rounds, which "
                f"prune {fraction:g} of what is left each time: {what} would lose nothing, or "
                "everything, on the way."
            ) from error
        return [
            {name: count[level] for name, count in counts.items()} for level in range(levels + 1)
        ]

    def place(self, keep: KeepCount, method: Method) -> int:
        """Return the number of trainings before a ticket: the link that it is, or would be."""
        if method.schedule not in ITERATIVE:
            return 1
        return 1 + max(
            n for n, each in enumerate(self.links()) if total_kept(each) > total_kept(keep)
        )
