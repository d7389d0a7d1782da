"""A study that only the tests know: train a network twice with different data orders, compare."""

import dataclasses
import pathlib
from typing import Annotated

import jax
from matplotlib.figure import Figure
from rich.table import Table

from jaxlth import landscape, settings, store
from jaxlth.models import ModelConfig
from jaxlth.settings import ranges
from jaxlth.studies import Figures, Study, Summary, TicketName, reading
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.parts import Parts
from jaxlth.studies.train import Ticket, TrainRequest
from jaxlth.training import TrainingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwiceConfig(StudyConfig):
    """Two trainings of one initialisation.

    References:
      The tests of this package.
    """

    model: ModelConfig = ModelConfig(name="mlp", hidden=(8,))
    training: TrainingConfig = TrainingConfig(steps=20, batch_size=50)
    orders: Annotated[
        tuple[str, ...], ranges.OneOf(("a", "b", "c"), once=False, others=ranges.anything)
    ] = ("a", "b")
    """Names of the two data orders, each a random stream."""
    replicates: int = settings.not_hashed(1)
    """Repetitions, each with its own initialisation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require(
            len(set(self.orders)) == 2,
            f"`orders` must name two; got {settings.in_a_row(self.orders)}.",
        )


def trained(order, replicate):
    return f"order_{order}/network/replicate_{replicate}"


def compared(replicate):
    return f"comparison/distance/replicate_{replicate}"


def artifacts(config):
    replicates = range(config.replicates)
    networks = [trained(order, replicate) for order in config.orders for replicate in replicates]
    return networks + [compared(replicate) for replicate in replicates]


def train_twice(lab, config):
    """Train each network twice, then store the distance between the two."""
    lab.begin(artifacts(config))
    requests = [
        TrainRequest(
            artifact=trained(order, replicate),
            start=lambda replicate=replicate: start(lab, replicate),
            key=lab.key(f"order {order}", replicate),
            start_step=0,
            record={"job": STUDY.name, "replicate": replicate, "level": 0, "control": order},
        )
        for order in config.orders
        for replicate in range(config.replicates)
    ]
    yield from lab.train(requests)
    for replicate in range(config.replicates):
        if not lab.run.has(compared(replicate)):
            lab.run.save(compared(replicate), {}, comparison(lab, config.orders, replicate))


def start(lab, replicate):
    return Ticket(jax.device_get(lab.init(replicate)), lab.dense_mask)


def comparison(lab, orders, replicate):
    a, b = (lab.load(trained(order, replicate)) for order in orders)
    distance = float(landscape.l2_distance(a.params, b.params, mask=lab.dense_mask))
    record = {"job": STUDY.name, "replicate": replicate, "control": "distance"}
    return record | {"l2_distance": distance, "nan_step": None}


def summarize(frame, path, *, tolerance, width):
    del path, tolerance, width
    table = Table("replicate", "distance")
    rows = frame[frame["control"] == "distance"]
    for row in rows.itertuples():
        table.add_row(str(row.replicate), f"{row.l2_distance:.3f}")
    return Summary(table, f"Two orders lead {rows['l2_distance'].mean():.3f} apart.")


def distances(frame, path, levels):
    del path, levels
    figure = Figure()
    rows = frame[frame["control"] == "distance"]
    figure.subplots().bar(rows["replicate"], rows["l2_distance"])
    return figure


def ticket(name: TicketName, path: pathlib.Path, parts: Parts):
    """Return the initial network of a replicate, unpruned."""
    run = store.open_readonly(path)
    lab = reading.lab(run, TwiceConfig, parts=parts)
    return start(lab, name.replicate), {"orders": " ".join(lab.config.orders)}


STUDY = Study(
    name="train-twice",
    help="Train a network twice in different data orders, and compare.\n\nOnly a test.",
    Config=TwiceConfig,
    run=train_twice,
    artifacts=artifacts,
    summarize=summarize,
    figures=Figures(
        kinds={"order-distances": distances},
        last=lambda frame: ("order-distances",),
        help={"order-distances": "distance of networks"},
    ),
    ticket=ticket,
    tolerance=False,
)
