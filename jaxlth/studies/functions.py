"""Studies as functions: each is made from its entry in the table of studies."""

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console

from jaxlth import settings
from jaxlth.process import paths
from jaxlth.settings import ranges
from jaxlth.studies import own_scores, running
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.experiment import Experiment, plain
from jaxlth.studies.field_docs import field_docs
from jaxlth.studies.results import Results
from jaxlth.studies.study import Study

OF_EXPERIMENT = (
    "name",
    "data",
    "model",
    "training",
    "optimizer",
    "loss",
    "error",
    "exclude",
    "initial",
    "initial_mask",
    "seed",
)
EXECUTION = {  # how a study runs, which changes none of its results
    "out": "folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs].",
    "progress": "whether to show progress on stderr, or in the notebook; False is silent.",
    "share": "I/N, such as 2/5: this process does the replicates r with r % N == I - 1, beside "
    "others that do the rest, in the same folder or bucket.",
    "wait": "whether to wait while another process works on the same run.",
    "devices": "number of devices on a CPU, one for each core if not given; only before JAX is "
    "used in this process.",
    "checkpoint_seconds": "seconds between checkpoints within a network's training, above 0.",
    "keep_programs": "whether JAX keeps the programs that this process compiles from now on, in "
    "the user's cache folder (jaxlth, at most 1 GB), so that later runs start sooner.",
}
OPTION = re.compile(r"--([a-z][a-z-]*)")  # as the help of commands names a field
WIDTH = 92  # of the text of a docstring


class StudyFunction(Protocol):
    """A study as a function."""

    __name__: str

    def __call__(
        self,
        experiment: Experiment,
        *,
        out: str = "runs",
        progress: bool = True,
        wait: bool = False,
        share: str | None = None,
        devices: int | None = None,
        checkpoint_seconds: float = 60.0,
        keep_programs: bool = True,
        **fields: Any,
    ) -> Results:
        """Run the study, as far as its run lacks results, and return the results."""
        ...


def function(study: Study) -> StudyFunction:
    """Return the function that runs a study on an experiment; its help lists all arguments.

    Args:
      study: one of the library's, or your own.

    Raises:
      TypeError: it is no study.

    Example:
      >>> from jaxlth.studies.imp import STUDY
      >>> function(STUDY).__name__
      'imp'
    """
    if not isinstance(study, Study):
        raise TypeError(f"`study` must be a `studies.Study`; got {ranges.shown(study)}.")

    def run(
        experiment: Experiment,
        *,
        out: str = "runs",
        progress: bool = True,
        wait: bool = False,
        share: str | None = None,
        devices: int | None = None,
        checkpoint_seconds: float = 60.0,
        keep_programs: bool = True,
        **fields: Any,
    ) -> Results:
        lists = {name: _is_list(study, name) for name in study.Config.score_fields}
        fields, scores = own_scores.named(fields, lists)
        config = study_config(study, experiment, fields)
        parts = experiment.parts._replace(scores=scores)
        settings.require(
            checkpoint_seconds > 0,
            f"`checkpoint_seconds` must be above 0; got {checkpoint_seconds:g}.",
        )
        out = paths.expand(out, setting="out")
        with running.jax_settings(config.training.matmul_precision):
            running.prepare_process(out, devices=devices, keep_programs=keep_programs)
            running.check_devices(devices)
            path = running.run_study(
                study,
                config,
                parts=parts,
                out=out,
                console=Console(stderr=True, quiet=not progress),
                wait=wait,
                share=share,
                checkpoint_seconds=checkpoint_seconds,
            )
        return Results(path, study, parts)

    run.__name__ = run.__qualname__ = study.name.replace("-", "_")
    run.__module__ = __name__.rpartition(".")[0]
    run.__doc__ = "".join(_docstring(study))
    run.__signature__ = _signature(study, inspect.signature(run))  # type: ignore[attr-defined]
    return run


def study_config(study: Study, experiment: Experiment, fields: dict[str, Any]) -> Any:
    """Return the config of a study of an experiment.

    Args:
      study: which study.
      experiment: what is trained.
      fields: the fields of the config that are the study's own; lists and numbers of NumPy do.

    Raises:
      TypeError: `experiment` is none, or a field is of another kind.
      ValueError: there is no such field, or it is the experiment's, or its value does not fit.
    """
    if not isinstance(experiment, Experiment):
        raise TypeError(
            f"`experiment` must be a `studies.Experiment`; got {ranges.shown(experiment)}."
        )
    names = [field.name for field in _fields(study)]
    for name in fields:
        _check_field(study, name, names)
    shared = settings.to_dict(experiment.config)
    defaults = study.for_data(experiment.config.data.name)
    config = {name: shared[name] for name in OF_EXPERIMENT} | {**defaults} | plain(fields)
    return settings.from_dict(study.Config, config)


def _is_list(study: Study, name: str) -> bool:
    """Return whether a field of a study's config has several values."""
    (field,) = (field for field in dataclasses.fields(study.Config) if field.name == name)
    return isinstance(settings.default(field), tuple)


def _check_field(study: Study, name: str, names: list[str]) -> None:
    """Raise ValueError unless a study has a field of its own of this name."""
    called = study.name.replace("-", "_")
    called = f"studies.{called}" if study.Config.__module__.startswith("jaxlth.") else called
    given = [field.name for field in dataclasses.fields(Experiment) if field.init]
    settings.require(
        name not in given,
        f"`{name}` is part of the experiment: give it to `studies.Experiment`, not `{called}`.",
    )
    close = settings.closest(name, [*names, *EXECUTION])
    hint = f"Did you mean `{close}`?" if close else f"`help({called})` lists them."
    settings.require(name in names, f"`{called}` has no argument `{name}`. {hint}")


def _fields(study: Study) -> list[Any]:
    """Return the fields of a study's config that are not the experiment's, its own ones first."""
    fields = [f for f in dataclasses.fields(study.Config) if f.name not in OF_EXPERIMENT]
    shared = {field.name for field in dataclasses.fields(StudyConfig)}
    return sorted(fields, key=lambda field: field.name in shared)


def _signature(study: Study, general: inspect.Signature) -> inspect.Signature:
    """Return the signature of a study's function, its fields in place of `fields`."""
    experiment, *execution, _ = general.parameters.values()
    hints = typing.get_type_hints(study.Config)
    own = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=settings.default(field),
            annotation=hints[field.name],
        )
        for field in _fields(study)
    ]
    return general.replace(parameters=[experiment, *own, *execution])


def _docstring(study: Study) -> Iterator[str]:
    """Yield the parts of the docstring of a study's function."""
    if study.help is not None:  # python -OO leaves out all docstrings
        yield f"{_as_fields(study.help.strip())}\n\n"
    yield "Args:\n"
    docs = {"experiment": "what is trained."}
    docs |= {field.name: _doc(study, field.name) for field in _fields(study)}
    for name, text in (docs | EXECUTION).items():
        yield textwrap.fill(
            f"{name}: {_as_fields(text)}", WIDTH, initial_indent="  ", subsequent_indent="    "
        )
        yield "\n"
    yield (
        "\nReturns:\n  The results in the run's folder, which is that of the command with the same "
        "settings.\n"
        "\nRaises:\n"
        "  ValueError, TypeError: an argument is wrong; the message says how.\n"
        "  DataError: the data are missing or damaged.\n"
        "  StoreError: the run is held by another process, damaged, or cannot be written.\n"
        "  KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once a checkpoint is saved; the "
        "same call goes\n    on from there.\n"
    )


def _doc(study: Study, name: str) -> str:
    """Return what a field of a study's config is."""
    kind = typing.get_type_hints(study.Config)[name]
    if dataclasses.is_dataclass(kind):
        first = (kind.__doc__ or "").partition("\n")[0]
        return f"`{kind.__module__}.{kind.__name__}`: {first}"  # type: ignore[union-attr]
    own = " The function itself does as well." if name in study.Config.score_fields else ""
    return field_docs(study.Config)[name] + own


def _as_fields(text: str) -> str:
    """Return a text in which the options of a command are called as the fields are.

    Example:
      >>> _as_fields("in place of --prune-fraction")
      'in place of `prune_fraction`'
    """
    return OPTION.sub(lambda option: f"`{option[1].replace('-', '_')}`", text)
