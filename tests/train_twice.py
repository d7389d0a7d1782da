"""A study that only the tests know: train a network twice with different data orders, compare."""

import dataclasses
import functools
import pathlib

import jax
from matplotlib.figure import Figure
from rich.table import Table

from jaxlth import keys, landscape, settings, store, tickets, work
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies import Figures, Study, Summary, TicketName
from jaxlth.training import OptimizerConfig, TrainingConfig
from jaxlth.work import Ticket, TrainRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwiceSettings:
    """Two trainings of one initialisation.

    References:
      The tests of this package.
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig(name="mlp", hidden=(8,))
    training: TrainingConfig = TrainingConfig(steps=20, batch_size=50)
    optimizer: OptimizerConfig = OptimizerConfig()
    orders: tuple[str, ...] = ("a", "b")
    """Names of the two data orders, each a random stream."""
    replicates: int = settings.outside(1)
    """Repetitions, each with its own initialisation."""
    leave_out: tuple[str, ...] = ()
    """Weights that are not compared."""
    seed: int = 0
    """Seed of every random stream."""

    def __post_init__(self) -> None:
        tickets.check_training(self)
        settings.require(
            len(set(self.orders)) == 2,
            f"`orders` must name two; got {settings.in_a_row(self.orders)}.",
        )

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        tickets.check_effects(self)


def trained(order, replicate):
    return f"order_{order}/network/replicate_{replicate}"


def compared(replicate):
    return f"comparison/distance/replicate_{replicate}"


def artifacts(config):
    replicates = range(config.replicates)
    networks = [trained(order, replicate) for order in config.orders for replicate in replicates]
    return networks + [compared(replicate) for replicate in replicates]


def complete(config, path):
    return tickets.has_all(path, lambda run: all(map(run.has, artifacts(config))))


def prepare(config):
    return tickets.posed(config, tickets.subject)


def start(subject, seed, replicate):
    init = jax.jit(subject.model.init)
    network = init(keys.stream(seed, replicate, "initialization"))
    return Ticket(jax.device_get(network), subject.dense)


def run_study(problem, run, *, checkpoint_seconds):
    """Train each network twice, then store the distance between the two."""
    subject = problem.subject
    config = subject.config
    replicates = range(config.replicates)
    tickets.begin(problem, run, artifacts(config))
    requests = [
        TrainRequest(
            unit=trained(order, replicate),
            start=functools.partial(start, subject, config.seed, replicate),
            key=keys.stream(config.seed, replicate, f"order {order}"),
            begin=0,
            record={"job": STUDY.name, "replicate": replicate, "level": 0, "control": order},
        )
        for order in config.orders
        for replicate in replicates
    ]
    seconds = {"checkpoint_seconds": checkpoint_seconds}
    yield from work.train(run, requests, problem.course(), problem.placed, later=0, **seconds)
    for replicate in replicates:
        if not run.has(compared(replicate)):
            run.save(compared(replicate), {}, comparison(run, subject, config.orders, replicate))


def comparison(run, subject, orders, replicate):
    a, b = (run.load(trained(order, replicate), "network", subject.like) for order in orders)
    distance = float(landscape.l2_distance(a.params, b.params, mask=subject.dense))
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


def ticket(name: TicketName, path: pathlib.Path):
    """Return the initial network of a replicate, unpruned."""
    run = store.look(path)
    config, images = tickets.described(run, TwiceSettings)
    subject = tickets.subject(config, **images)
    return start(subject, config.seed, name.replicate), {"orders": " ".join(config.orders)}


STUDY = Study(
    name="train-twice",
    help="Train a network twice in different data orders, and compare.\n\nOnly a test.",
    Config=TwiceSettings,
    prepare=prepare,
    run=run_study,
    complete=complete,
    artifacts=artifacts,
    summarize=summarize,
    figures=Figures(
        kinds={"order-distances": distances},
        last=lambda frame: ("order-distances",),
        help="Of `jaxlth train-twice`: distance of networks (order-distances).",
    ),
    ticket=ticket,
    values={"orders": ("a", "b", "c")},
    tolerance=False,
)
