"""Early-bird tickets: the step of training from which on the mask hardly changes (You et al. 2020).

Claim: what pruning keeps of a network settles early in its training. A ticket that is drawn there
and trained from there is as good as one that is drawn at the end.

    jaxlth experiments/early_bird.py:STUDY --model lenet-300-100 --data digits --epochs 30
    jaxlth experiments/early_bird.py:STUDY --model lenet-300-100 --data mnist --data-dir DIR

While a dense network trains, it is pruned once an epoch, and the masks are compared. The distance
of two masks is the share of the weights that one keeps and the other does not. Once the distances
of the last five masks from those before them all lie below a threshold, the last one is the mask of
the early-bird ticket. It trains from that step on, and so does the mask of the end, its control
"last-mask".

What differs from the paper: it prunes channels by the scales of batch norm, and stops training the
dense network once the ticket is drawn. Here weights are pruned by magnitude, and the dense network
trains to the end, for comparison. Masks of weights differ less than masks of channels: on small
networks the paper's threshold, 0.1, holds from the first epoch on, and 0.005 says more.

References:
  You et al. 2020, Drawing Early-Bird Tickets: Toward More Efficient Training of Deep Networks,
  Algorithm 1.
"""

import dataclasses
import pathlib
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from jaxlth import masks, store
from jaxlth.models import Network
from jaxlth.plots import legends, result_table, theme
from jaxlth.settings import not_hashed, ranges
from jaxlth.studies import (
    Figures,
    Lab,
    Study,
    StudyConfig,
    Summary,
    Ticket,
    TicketName,
    TrainRequest,
    level_artifacts,
    reading,
    run_info,
)
from jaxlth.studies.config import Scope
from jaxlth.studies.parts import Parts
from jaxlth.studies.train import Progress

LAST_MASK, COMPARISON = "last-mask", "masks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyBirdConfig(StudyConfig):
    """Early-bird tickets."""

    density: Annotated[float, ranges.between(0, 1)] = 0.3
    """Share of the weights that tickets keep, in (0, 1)."""
    threshold: Annotated[float, ranges.between(0, 1)] = 0.1
    """Distance between two masks below which the mask counts as settled, in (0, 1)."""
    queue: Annotated[int, ranges.at_least(1)] = 5
    """Distances in a row that lie below the threshold where the ticket is drawn."""
    draw_every: Annotated[int | None, ranges.at_least(1)] = None
    """Steps between masks; an epoch if not given."""
    scope: Scope = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    replicates: Annotated[int, ranges.at_least(1)] = not_hashed(3)
    """Repetitions, each with its own initialisation and data order."""


# What is stored, and what is computed.


def dense(replicate: int) -> str:
    """Return the name of a dense network."""
    return level_artifacts.network(0, "ticket", replicate)


def state(step: int, replicate: int) -> str:
    """Return the name of the dense network at a step of its training."""
    return f"step_{step}/state/replicate_{replicate}"


def comparison(replicate: int) -> str:
    """Return the name of the distances of the masks that are drawn in a training."""
    return f"level_00/{COMPARISON}/replicate_{replicate}"


def artifacts(config: EarlyBirdConfig) -> list[str]:
    """Return the names of all that a run is to hold."""
    names = []
    for replicate in range(config.replicates):
        tickets = [level_artifacts.network(1, kind, replicate) for kind in ("ticket", LAST_MASK)]
        names += [dense(replicate), comparison(replicate), *tickets]
    return names


def early_bird(lab: Lab, config: EarlyBirdConfig) -> Generator[Progress, None, None]:
    """Train dense networks, draw masks on the way, and train the tickets of the settled ones."""
    lab.begin(artifacts(config))
    replicates = range(config.replicates)
    yield from lab.train(
        [dense_request(lab, replicate) for replicate in replicates], pending=artifacts(config)
    )
    requests = []
    for replicate in replicates:
        if not lab.diverged(dense(replicate)):
            step = settled_step(lab, replicate)
            requests += [] if step is None else ticket_requests(lab, step, replicate)
    yield from lab.train(requests)
    lab.expect(())


def dense_request(lab: Lab, replicate: int) -> TrainRequest:
    """Return the request for a dense network, which keeps its state wherever a mask is drawn."""
    return TrainRequest(
        artifact=dense(replicate),
        start=lambda: Ticket(lab.init(replicate), lab.dense_mask),
        key=lab.key("order", replicate, 0),
        start_step=0,
        record={"job": STUDY.name, "replicate": replicate, "level": 0, "control": "ticket"},
        snapshots={step: state(step, replicate) for step in draw_steps(lab)},
    )


def draw_steps(lab: Lab) -> list[int]:
    """Return the steps at which masks are drawn, the end of training aside."""
    plan = lab.experiment.plan(1.0)
    every = lab.config.draw_every or plan.steps_per_epoch
    return list(range(every, plan.steps, every))


def ticket_requests(lab: Lab, step: int, replicate: int) -> list[TrainRequest]:
    """Return the requests for the early-bird ticket, and for the mask of the end on its weights."""
    sources = {"ticket": state(step, replicate), LAST_MASK: dense(replicate)}

    def start(source: str) -> Ticket:
        return Ticket(lab.load(state(step, replicate)), prune(lab, lab.load(source)))

    return [
        TrainRequest(
            artifact=level_artifacts.network(1, kind, replicate),
            start=lambda source=source: start(source),
            key=lab.key("order", replicate, 1),
            start_step=step,
            record={"job": STUDY.name, "replicate": replicate, "level": 1, "control": kind},
        )
        for kind, source in sources.items()
    ]


def prune(lab: Lab, network: Network) -> masks.Mask:
    """Return the mask of the largest weights of a network."""
    prunable = lab.experiment.prunable
    keep = prunable.keeping(lab.config.density)
    return lab.by_magnitude(network.params, lab.dense_mask, keep)


def settled_step(lab: Lab, replicate: int) -> int | None:
    """Return the step at which the mask has settled, None if it does not; store the distances."""
    if not lab.run.has(comparison(replicate)):
        steps, config = draw_steps(lab), lab.config
        distances = mask_distances([prune(lab, lab.load(state(step, replicate))) for step in steps])
        place = settled(np.diagonal(distances, 1).tolist(), config.threshold, config.queue)
        record = {
            "job": STUDY.name,
            "replicate": replicate,
            "level": 0,
            "control": COMPARISON,
            "ticket_step": None if place is None else steps[place],
            "nan_step": None,
        }
        trees = {"distances": {"steps": np.array(steps), "distances": distances}}
        lab.run.save(comparison(replicate), trees, record)
    return lab.run.record(comparison(replicate))["ticket_step"]


def mask_distances(masks_in_order: Sequence[masks.Mask]) -> np.ndarray:
    """Return the share of the weights in which each two of some masks differ, (masks, masks).

    Example:
      >>> mask_distances([{"w": np.array([True, False])}, {"w": np.array([True, True])}]).tolist()
      [[0.0, 0.5], [0.5, 0.0]]
    """
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(m)]) for m in masks_in_order]
    return np.array([[np.mean(a != b) for b in flat] for a in flat]).reshape(2 * [len(flat)])


def settled(distances: Sequence[float], threshold: float, queue: int) -> int | None:
    """Return which mask is the first after `queue` distances in a row below the threshold.

    Args:
      distances: of each mask from the one before it; the first is that of mask 1 from mask 0.
      threshold: see there.
      queue: how many.

    Example:
      >>> settled([0.3, 0.05, 0.2, 0.09, 0.08], 0.1, 2), settled([0.3, 0.2], 0.1, 2)
      (5, None)
    """
    for last in range(queue, len(distances) + 1):
        if max(distances[last - queue : last]) < threshold:
            return last
    return None


# What is said of a run.

TITLES = {(0, "ticket"): "dense", (1, "ticket"): "early-bird ticket", (1, LAST_MASK): "last mask"}


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of the networks, and when the mask settled."""
    del tolerance, width
    metric = result_table.metric(frame, "test_accuracy")
    table = Table("network", "from step", "density", metric.replace("_", " "), box=None)
    for (level, control), title in TITLES.items():
        rows = frame[(frame["level"] == level) & (frame["control"] == control)]
        if not rows.empty:
            start, density = rows["start_step"].mean(), f"{rows['density'].mean():.1%}"
            table.add_row(title, f"{start:.0f}", density, spread(rows[metric]))
    steps = frame.loc[frame["control"] == COMPARISON, "ticket_step"]
    threshold = run_info.setting(path, "threshold")
    return Summary(
        table,
        f"The mask settles (distances below {threshold:g}) in {steps.count()} of {len(steps)} "
        f"trainings{f', at step {steps.mean():.0f} on average' if steps.count() else ''}.",
    )


def spread(values: pd.Series) -> str:
    """Return mean, least and most of some numbers.

    Example:
      >>> spread(pd.Series([0.5, 0.7]))
      '0.6000 (0.5000-0.7000)'
    """
    values = values.astype(float)
    return f"{values.mean():.4f} ({values.min():.4f}-{values.max():.4f})"


def distances_of(frame: pd.DataFrame, path: pathlib.Path) -> dict[int, Mapping[str, Any]]:
    """Return steps and distances of masks, by replicate."""
    run, rows = store.open_readonly(path), frame[frame["control"] == COMPARISON]
    pairs = zip(rows["replicate"], rows["unit"], strict=True)
    return {replicate: run.load(unit, "distances") for replicate, unit in pairs}


def draw_distance(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of the distance of each mask from the one before it."""
    steps = frame[frame["control"] == COMPARISON].set_index("replicate")["ticket_step"]
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for replicate, arrays in distances_of(frame, path).items():
            style = theme.STYLE_CYCLE[replicate % len(theme.STYLE_CYCLE)]
            label = f"replicate {replicate}"
            distance = np.diagonal(arrays["distances"], 1)
            axes.plot(arrays["steps"][1:], distance, color=style.color, label=label)
            if pd.notna(steps[replicate]):
                axes.axvline(steps[replicate], color=style.color, linestyle=":")
        if steps.notna().any():
            axes.plot([], [], color=theme.GRAY, linestyle=":", label="ticket drawn")
        threshold = run_info.setting(path, "threshold")
        axes.axhline(threshold, color=theme.GRAY, linestyle="--", label="threshold")
        title = "Distance from the mask before, of the weights kept"
        axes.set(xlabel="Training step", ylabel=title, ylim=(0, None))
        legends.below_figure(figure)
    return figure


def draw_pairs(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of the distances of all pairs of masks, as the paper's Figure 3."""
    pairs = distances_of(frame, path)
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(pairs))
        for axes, (replicate, arrays) in zip(panels, pairs.items(), strict=True):
            first, last = arrays["steps"][0], arrays["steps"][-1]
            image = axes.imshow(
                arrays["distances"], origin="lower", vmin=0, extent=(first, last, first, last)
            )
            axes.set(xlabel="Training step", ylabel="Training step", title=f"replicate {replicate}")
            axes.grid(False)
            figure.colorbar(image, ax=axes)
    return figure


def ticket(name: TicketName, path: pathlib.Path, parts: Parts) -> tuple[Ticket, dict[str, Any]]:
    """Return a ticket of a run: its mask and the state that it trains from."""
    run, replicate = store.open_readonly(path), name.replicate
    level, control = 1 if name.level is None else name.level, name.control or "ticket"
    artifact = level_artifacts.network(level, control, replicate)
    lab = reading.lab(run, EarlyBirdConfig, artifact, parts)
    step = run.record(artifact)["start_step"]
    network = lab.load(state(step, replicate)) if step else jax.device_get(lab.init(replicate))
    return Ticket(network, lab.load_mask(artifact)), {"level": level, "control": control}


STUDY = Study(
    name="early-bird",
    help=__doc__,
    Config=EarlyBirdConfig,
    run=early_bird,
    artifacts=artifacts,
    summarize=summarize,
    figures=Figures(
        kinds={"mask-distance": draw_distance, "mask-pairs": draw_pairs},
        last=lambda frame: ("mask-distance",) if COMPARISON in set(frame["control"]) else (),
        help={
            "mask-distance": "distance of each mask from the one before",
            "mask-pairs": "distance of all pairs of masks",
        },
    ),
    ticket=ticket,
    named_by=("level", "control"),
    tolerance=False,
)
