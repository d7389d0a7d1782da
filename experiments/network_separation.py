"""Networks that fall apart along their tasks when they are pruned: Burger 2024, chapter 4.

Claim: a perceptron that learns two independent tasks at once separates into a network for each when
it is pruned by IMP, if it is large enough: with two hidden layers from extension level 7 on, mostly
from 9 on, at 80 to 120 active weights. So does one on MNIST beside Fashion-MNIST.

    python experiments/network_separation.py --scale smoke                        # two minutes
    python experiments/network_separation.py --scale cpu --choose-on test         # ten minutes
    python experiments/network_separation.py --scale cpu --parts mnist            # two hours
    python experiments/network_separation.py --scale paper --parts extension grid mnist pixels

MNIST and Fashion-MNIST are looked for in --data-dir or $JAXLTH_DATA; points need no data. Runs are
kept in --out and go on where they were stopped. Tables and figures are written to --results;
`--draw` makes only these, from the runs that are there.

Expected: Table 4.1 exactly. Figure 4.4: nothing separates or degrades up to extension level 6, most
networks separate from 9 on, some degrade from 11 on. Figure 4.12: networks of width 48 separate
where each level prunes less than 41 % of the weights. MNIST beside Fashion-MNIST: separated at up
to 86 % mean accuracy.
"""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pandas as pd
import separation_data
import separation_outcomes as outcomes

from jaxlth import cli, data, prune, store
from jaxlth.data import DataConfig
from jaxlth.masks import kept
from jaxlth.models import ModelConfig
from jaxlth.plots import figures, network_drawings, pixel_maps
from jaxlth.studies.config import Split, run_label
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp import report as imp_report
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.separation import figures as levels
from jaxlth.studies.separation import summary as report
from jaxlth.studies.separation.config import SeparationConfig
from jaxlth.studies.separation.reading import look
from jaxlth.training import OptimizerConfig, TrainingConfig

Part = Literal["extension", "grid", "variants", "mnist", "pixels"]
BASES = {1: (4, 20, 2), 2: (4, 8, 8, 2), 3: (4, 4, 4, 4, 2)}  # by number of hidden layers
FIRST = {1: 0, 2: 0, 3: 2}  # extensions of the base that Table 4.1 calls level 0
LAST = {1: 16, 2: 25, 3: 16}  # levels of Table 4.1
RATE = 0.32
VALIDATION = 0.5  # share of the training points
READABLE = 600  # weights of a network that is drawn
WIDTHS = (31, 38, 48, 57)  # of figures 4.11 and 4.12
TARGET = 112  # weights kept at the last level
TARGET_OF_IMAGES = 600  # likewise, of MNIST beside Fashion-MNIST and of each alone
VARIANTS: dict[str, dict[str, Any]] = {  # the thesis's future work
    "plain": {},
    "alive": {"alive": True},
    "l1": {"optimizer": OptimizerConfig(lr=1e-3, l1=1e-5), "compact": False},
    "l2": {"optimizer": OptimizerConfig(lr=1e-3, weight_decay=1e-4), "compact": False},
    "rewind": {"rewind_step": 100},
    "learning-rate": {"after_pruning": "learning-rate"},
    "synflow": {"score": "synflow"},
    "magnitude-increase": {"score": "magnitude-increase"},
    "random": {"score": "random"},
}


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    parts: tuple[Part, ...] = ("extension",),
    depths: tuple[int, ...] = (2,),
    last: int | None = None,
    replicates: int | None = None,
    choose_on: Split = "validation",
    validation: float = VALIDATION,
    widths: tuple[int, ...] = (),
    prunings: tuple[int, ...] = (),
    draw: bool = False,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/network_separation"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      parts: extension (figures 4.4 to 4.10, 4.13 to 4.19), grid (4.11, 4.12), variants (the future
        work that the thesis names), mnist (4.20, 4.21, 4.26), pixels (4.22 to 4.25).
      depths: numbers of hidden layers of the part extension: 1, 2, 3.
      last: extension level to end at; that of the scale by default.
      replicates: repetitions; those of the scale by default.
      choose_on: points that early stopping watches: validation, some of the training points, or
        test, as the thesis does, which trains on all 1000 training points.
      validation: share of the training points that early stopping watches, if they are some.
      widths: of the two hidden layers of the part grid; all by default.
      prunings: numbers of levels of the part grid; 1 to 10 by default.
      draw: compute nothing; make tables and figures of the stored runs.
      data_dir: directory of the data; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    held = 0.0 if choose_on == "test" else validation
    asked = Asked(scale, last, replicates, choose_on, held, data_dir, out, draw)
    label = {0.0: "-test", VALIDATION: ""}.get(held, f"-validation-{held:g}")
    folder = results / f"{scale}{label}"
    folder.mkdir(parents=True, exist_ok=True)
    of_part = {
        "grid": lambda: grid(asked, folder, widths, prunings),
        "variants": lambda: variants(asked, folder),
        "mnist": lambda: side_by_side(asked, folder),
        "pixels": lambda: connectivity(asked, folder),
    }
    for part in parts:
        if part == "extension":
            table().to_csv(folder / "table_4-1.csv", index=False)
            save(of_points(asked), folder)
            for depth in depths:
                extension(asked, folder, depth)
        else:
            of_part[part]()
    print(f"tables and figures: {folder}")
    return 0


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    scale: str
    last: int | None
    replicates: int | None
    choose_on: Split
    validation: float
    data_dir: str | None
    out: str
    draw: bool

    @property
    def held_of_images(self) -> float:
        """Share of the training images that early stopping watches."""
        return 0.0 if self.choose_on == "test" else DataConfig().validation

    def done(self, config: SeparationConfig) -> pathlib.Path:
        """Return the folder of a run, trained unless figures alone are asked for."""
        if not self.draw:
            cli.run_study("separation", config, out=self.out)
        return store.folder(self.out, config, job="separation", label=run_label(config))


def points(asked: Asked, hidden: tuple[int, ...], **more: Any) -> SeparationConfig:
    """Return the settings for the thesis's points, section 3.2.2.

    The thesis trains on all 1000 training points and stops early by the loss on its 1000 test
    points. So does `--choose-on test`.
    """
    epochs, patience, replicates = (60.0, 5, 2) if asked.scale == "smoke" else (3000.0, 30, 4)
    return SeparationConfig(
        data=DataConfig(
            name=more.pop("data", "moons+circles"),
            normalize="per-pixel",
            validation=asked.validation,
        ),
        model=ModelConfig(name="mlp", hidden=hidden),
        training=TrainingConfig(epochs=epochs, batch_size=64, evaluate_every=1, patience=patience),
        optimizer=more.pop("optimizer", OptimizerConfig(lr=1e-3)),
        choose_on=asked.choose_on,
        replicates=asked.replicates or replicates,
        compact=more.pop("compact", True),
        **more,
    )


def table() -> pd.DataFrame:
    """Return Table 4.1: widths and weights by extension level."""
    columns = {}
    for depth in BASES:
        shapes = extended(depth, LAST[depth])
        columns[f"hidden-{depth}"] = pd.Series([shape[1] for shape in shapes], dtype="Int64")
        columns[f"param-{depth}"] = pd.Series(list(map(weights, shapes)), dtype="Int64")
    return pd.DataFrame(columns).rename_axis("level").reset_index()


def extended(depth: int, last: int) -> list[tuple[int, ...]]:
    """Return the shapes of Table 4.1 with so many hidden layers, up to an extension level."""
    return prune.extension(BASES[depth], levels=FIRST[depth] + last, rate=RATE)[FIRST[depth] :]


def weights(shape: Iterable[int]) -> int:
    """Return how many weights a perceptron has."""
    return sum(a * b for a, b in itertools.pairwise(shape))


def extension(asked: Asked, folder: pathlib.Path, depth: int) -> None:
    """Prune ever larger networks to one number of weights, through the sizes between them."""
    last = {"smoke": 2, "cpu": 15, "paper": LAST[depth]}[asked.scale]
    last = last if asked.last is None else asked.last
    shapes = extended(depth, last)
    runs: dict[str, float] = {}
    for level, shape in enumerate(shapes):
        print(f"== {depth} hidden layers, extension level {level}: {shape}", flush=True)
        counts = tuple(weights(smaller) for smaller in reversed(shapes[:level]))
        pruned = {"counts": counts} if level else {"levels": 0}
        runs[asked.done(points(asked, shape[1:-1], **pruned)).name] = level
    frame = stored(asked.out, runs)
    outcome_rows = report.outcomes(frame).assign(extension=lambda rows: rows["run"].map(runs))
    outcome_rows.drop(columns="run").round(6).to_csv(folder / f"extension_{depth}.csv", index=False)
    print(
        outcome_rows.groupby("extension")["outcome"]
        .value_counts()
        .unstack(fill_value=0)
        .to_string()
    )
    areas, at = {1: ("4-6", "4-9"), 2: ("4-4", "4-8"), 3: ("4-7", "4-10")}[depth]
    drawn = {f"figure_{areas}": outcomes.areas(frame, by=runs)}
    if (outcome_rows["level"].notna()).any():
        drawn[f"figure_{at}"] = outcomes.at_separation(frame, by=runs)
    if depth == 2:
        drawn |= {
            "figure_4-5": outcomes.active_at_end(frame, by=runs),
            "figure_4-15": outcomes.losses(frame, metric=f"{asked.choose_on}_loss"),
            "figure_4-16": outcomes.unused(frame, "inactive", by=runs),
            "figure_4-17": outcomes.unused(frame, "inactive", relative=True, by=runs),
            "figure_4-18": outcomes.unused(frame, "zombie", by=runs),
            "figure_4-19": outcomes.unused(frame, "zombie", relative=True, by=runs),
        }
    separated = outcome_rows[outcome_rows["outcome"].isin(("separated", "separated-degraded"))]
    if len(separated):
        one = separated.iloc[-1]
        rows = frame[frame["run"] == one["run"]]
        drawn[f"figure_4-13_{depth}"] = levels.degrees(rows, one["replicate"])
        path = store.open_readonly(f"{asked.out}/{one['run']}").path
        drawn[f"network_{depth}"] = picture(path, int(one["replicate"]), int(one["level"]))
    save(drawn, folder)


def of_points(asked: Asked) -> dict[str, figures.Figure]:
    """Return the figures of the points."""
    _, dataset = data.load(points(asked, (8, 8)).data, seed=0)
    names = ["moons", "circles"]
    return {
        "figure_4-1": separation_data.points(dataset.train, names),
        "figure_4-2": separation_data.points(dataset.train, names, labels_of_others=True),
    }


def grid(
    asked: Asked, folder: pathlib.Path, widths: tuple[int, ...], prunings: tuple[int, ...]
) -> None:
    """Prune networks of several widths to 112 weights, in few levels or many.

    The table of a part of the grid is `grid_part.csv`, without figures.
    """
    is_part = bool(widths or prunings)
    widths = widths or ((8, 10) if asked.scale == "smoke" else WIDTHS)
    prunings = prunings or ((1, 2) if asked.scale == "smoke" else tuple(range(1, 11)))
    runs: dict[str, float] = {}
    for width in widths:
        for count in prunings:
            print(f"== width {width}, {count} levels", flush=True)
            target = TARGET if asked.scale != "smoke" else 40
            config = points(asked, (width, width), target=target, levels=count)
            runs[asked.done(config).name] = count
    frame = stored(asked.out, runs)
    outcome_rows = report.outcomes(frame).assign(levels=lambda rows: rows["run"].map(runs))
    name = "grid_part" if is_part else "grid"
    outcome_rows.drop(columns="run").round(6).to_csv(folder / f"{name}.csv", index=False)
    counted = outcome_rows.assign(width=outcome_rows["widths"].map(lambda shape: shape[1]))
    print(counted.groupby("width")["outcome"].value_counts().unstack(fill_value=0).to_string())
    if is_part:
        return
    width = 48 if 48 in widths else widths[-1]
    one = frame[frame["widths"].map(lambda shape: shape[1] == width)]
    drawn = {"figure_4-11": outcomes.sizes(frame), "figure_4-12": outcomes.rates(one, by=runs)}
    save(drawn, folder)


def variants(asked: Asked, folder: pathlib.Path) -> None:
    """Try what the thesis names as future work, on one extended network and on other tasks."""
    level = 2 if asked.scale == "smoke" else 12
    shapes = extended(2, level)
    counts = tuple(weights(smaller) for smaller in reversed(shapes[:level]))
    runs: dict[str, str] = {}
    for name, changed in VARIANTS.items():
        print(f"== {name}", flush=True)
        config = points(asked, shapes[-1][1:-1], counts=counts, **changed)
        runs[asked.done(config).name] = name
    for sets in ("moons+circles+moons", "moons+circles+moons+circles"):
        print(f"== {sets}", flush=True)
        config = points(asked, shapes[-1][1:-1], levels=len(counts), data=sets)
        runs[asked.done(config).name] = sets
    frame = stored(asked.out, runs)
    outcome_rows = report.outcomes(frame).assign(variant=lambda rows: rows["run"].map(runs))
    outcome_rows.drop(columns="run").round(6).to_csv(folder / "variants.csv", index=False)
    by = outcome_rows.groupby("variant", sort=False)
    table = by["outcome"].value_counts().unstack(fill_value=0)
    table[["level", "kept", "active", "last_active"]] = by[
        ["level", "kept", "active", "last_active"]
    ].mean()
    print(table.round(1).to_string())


def side_by_side(asked: Asked, folder: pathlib.Path) -> None:
    """Prune a network on MNIST beside Fashion-MNIST until it separates."""
    path = asked.done(mnist(asked))
    frame = store.table([path])
    report.outcomes(frame).drop(columns="run").to_csv(folder / "mnist.csv", index=False)
    report.summary(frame).round(6).to_csv(folder / "mnist_levels.csv", index=False)
    print(report.sentence(frame))
    _, dataset = data.load(mnist(asked).data, seed=0)
    drawn = {
        "figure_4-3": separation_data.pictures(dataset.train),
        "figure_4-20": levels.performance(frame),
        "figure_4-21": levels.performance_of_tasks(frame),
    }
    outcome_rows = report.outcomes(frame)
    separated = outcome_rows[outcome_rows["level"].notna()]
    one = (separated if len(separated) else outcome_rows).iloc[0]
    last = int(one["level"] if len(separated) else one["levels"])
    drawn["mnist_network"] = picture(path, int(one["replicate"]), last)
    pruned = look(path, int(one["replicate"]))
    masks = {
        level: start.mask["Dense_0"]["kernel"]
        for level, start in pruned.levels.items()
        if level <= last
    }
    drawn["figure_4-26"] = pixel_maps.connections(masks, pruned.shape, sets=pruned.columns)
    save(drawn, folder)


def mnist(asked: Asked) -> SeparationConfig:
    """Return the settings for MNIST beside Fashion-MNIST, section 4.3."""
    smoke = asked.scale == "smoke"
    epochs, patience = {"smoke": (2.0, 1), "cpu": (40.0, 5), "paper": (1000.0, 30)}[asked.scale]
    return SeparationConfig(
        data=DataConfig(
            name="mnist+fashion_mnist",
            normalize="per-pixel",
            validation=asked.held_of_images,
            data_dir=asked.data_dir,
            num_train_examples=2_000 if smoke else None,
        ),
        model=ModelConfig(name="mlp", hidden=(32, 16) if smoke else (784, 392)),
        training=TrainingConfig(epochs=epochs, batch_size=512, evaluate_every=1, patience=patience),
        optimizer=OptimizerConfig(lr=1e-3),
        levels=4 if smoke else 20,
        target=TARGET_OF_IMAGES,
        coverage="output",
        stop="separated",
        choose_on=asked.choose_on,
        replicates=asked.replicates or (1 if smoke else 3),
        compact=True,
    )


def connectivity(asked: Asked, folder: pathlib.Path) -> None:
    """Prune LeNet on each of the two sets alone, and see which pixels stay connected."""
    drawn = {}
    for number, name in ((22, "mnist"), (23, "fashion_mnist")):
        config = alone(asked, name)
        if not asked.draw:
            cli.run_study("imp", config, out=asked.out)
        path = store.folder(asked.out, config, job="imp", label=run_label(config))
        run = store.open_readonly(path)
        info, dataset = data.load(config.data, seed=config.seed)
        assert isinstance(dataset, data.Dataset)
        drawn[f"figure_4-{number}"] = pixel_maps.statistics(dataset.train.images)
        masks = {
            level: imp_report.find(run, level, TICKET, 0).mask["Dense_0"]["kernel"]
            for level in range(config.levels + 1)
        }
        drawn[f"figure_4-{number + 2}"] = pixel_maps.connections(masks, info.shape)
    save(drawn, folder)


def alone(asked: Asked, name: str) -> ImpConfig:
    """Return the settings for LeNet on one set, section 4.3.2."""
    smoke = asked.scale == "smoke"
    epochs, patience = {"smoke": (1.0, 1), "cpu": (40.0, 5), "paper": (1000.0, 30)}[asked.scale]
    size = weights((784, 300, 100, 10))
    rate = prune.trajectory(size=size, levels=18, target=TARGET_OF_IMAGES).rate
    return ImpConfig(
        data=DataConfig(
            name=name,
            normalize="per-pixel",
            validation=asked.held_of_images,
            data_dir=asked.data_dir,
            num_train_examples=2_000 if smoke else None,
        ),
        training=TrainingConfig(epochs=epochs, batch_size=512, evaluate_every=1, patience=patience),
        optimizer=OptimizerConfig(lr=1e-3),
        levels=3 if smoke else 18,
        prune_fraction=round(rate, 4),
        controls=(),
        choose_on=asked.choose_on,
        replicates=1,
        compact=True,
    )


def picture(path: pathlib.Path, replicate: int, last: int) -> figures.Figure:
    """Return drawings of a network on its way to a level."""
    pruned = look(path, replicate)
    params = pruned.levels[last].network.params
    masks = {
        level: start.mask
        for level, start in pruned.levels.items()
        if level == last or (level < last and kept(start.mask) <= READABLE)
    }
    levels = network_drawings.drawable_levels(params, masks, max_levels=4)
    drawable = {level: masks[level] for level in levels}
    return network_drawings.network_at_levels(params, drawable, tasks=pruned.tasks)


def stored(out: str, runs: Iterable[str]) -> pd.DataFrame:
    """Return the table of results of runs."""
    return store.table([store.open_readonly(f"{out}/{name}").path for name in runs])


def save(drawn: Mapping[str, figures.Figure], folder: pathlib.Path) -> None:
    """Write figures under their names."""
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
