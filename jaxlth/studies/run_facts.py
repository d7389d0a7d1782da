"""What was run, in words: data, model, device, versions, time, settings that were changed."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxlth import data, settings, store
from jaxlth.process import code
from jaxlth.studies import progress
from jaxlth.studies.study import Study

Row = tuple[str, list[str], bool]  # name, the text of each run, whether it is a setting
_LEFT_OUT = ("data_dir", "replicates")  # a folder of somebody's machine; told above
_LENGTHS = ("training.steps", "training.epochs")  # the first that is given counts
_LONGEST = 40  # characters of the name of a run


def names(runs: Sequence[tuple[pathlib.Path, Mapping[str, Any]]]) -> list[str]:
    """Return a short name for each run: its folder; of several what differs, or numbers.

    Args:
      runs: folder and metadata of each.
    """
    if len(runs) == 1:
        return [runs[0][0].name]
    flat = [settings.flat(about["settings"]) for _, about in runs]
    changed = dict.fromkeys(key for _, about in runs for key in settings.flat(about["changed"]))
    keys = [key for key in changed if len({_text(each.get(key)) for each in flat}) > 1]
    texts = [
        ", ".join(f"{key.rpartition('.')[2]} {_text(each.get(key))}" for key in keys)
        for each in flat
    ]
    is_telling = len(set(texts)) == len(texts) and max(map(len, texts)) <= _LONGEST
    return texts if is_telling else [f"run {number}" for number in range(1, len(runs) + 1)]


def rows(
    runs: Sequence[tuple[pathlib.Path, Study, Mapping[str, Any], pd.DataFrame]],
) -> list[Row]:
    """Return what was run: a row for each fact, then one for each setting that was changed.

    Args:
      runs: folder, study, metadata and table of results of each.
    """
    facts = [_facts(*run) for run in runs]
    table: list[Row] = [(name, [each[name] for each in facts], False) for name in facts[0]]
    changed = [_changed(study, about) for _, study, about, _ in runs]
    for key in dict.fromkeys(key for each in changed for key in each):
        texts = [_text(settings.flat(about["settings"]).get(key)) for _, _, about, _ in runs]
        table.append((key, texts, True))
    if not any(changed):
        table.append(("settings", ["all have their defaults"] * len(runs), False))
    return table


def _facts(
    path: pathlib.Path, study: Study, about: Mapping[str, Any], frame: pd.DataFrame
) -> dict[str, str]:
    values, stored = (
        settings.flat(about["settings"]),
        len(list(store.open_readonly(path).records())),
    )
    seconds = frame["seconds"].sum() if "seconds" in frame else 0.0
    return {
        "run": path.name,
        "command": f"jaxlth {study.name}",
        "data": _data(values),
        "model": _model(values),
        "training": _training(values),
        "replicates": _text(values.get("replicates")),
        "results stored": f"{stored} of {_text(about['planned'])}",
        "made": f"{about['created'][:16].replace('T', ' ')} UTC",
        "time in training": f"{progress.duration(float(seconds))}, the sum over networks",
        "device": "; ".join(dict.fromkeys(map(_device, about["environments"]))),
        "versions": "; ".join(dict.fromkeys(map(_versions, about["environments"]))),
    }


def _data(values: Mapping[str, Any]) -> str:
    name = _text(values.get("data.name"))
    return "own arrays" if name in (data.OWN, data.OWN_MAPPED) else name


def _model(values: Mapping[str, Any]) -> str:
    name, hidden = _text(values.get("model.name")), values.get("model.hidden")
    if name == code.OWN:
        return "own network"
    return name + (f", hidden layers {_text(hidden)}" if hidden else "")


def _training(values: Mapping[str, Any]) -> str:
    """Return length, batch size, optimizer and learning rate in words.

    An optimizer of somebody's own has its rate within; the setting says nothing of it.
    """
    lengths = [f"{_text(values[k])} {k.partition('.')[2]}" for k in _LENGTHS if values.get(k)]
    parts = [*lengths[:1], f"batches of {_text(values.get('training.batch_size'))}"]
    name, rate = _text(values.get("optimizer.optimizer")), _text(values.get("optimizer.lr"))
    if name == code.OWN:
        return ", ".join([*parts, "own optimizer"])
    return ", ".join([*parts, name if code.is_own(name) else f"{name} at {rate}"])


def _device(environment: Mapping[str, Any]) -> str:
    count = environment.get("devices", 1)
    return f"{environment.get('device', '?')}, {count} device{'s' * (count != 1)}"


def _versions(environment: Mapping[str, Any]) -> str:
    versions = environment.get("versions", {}) | {"Python": environment.get("python", "?")}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _changed(study: Study, about: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ from their defaults, as "optimizer.lr"."""
    defaults = settings.flat(settings.to_dict(study.Config()))
    values = settings.flat(about["settings"])
    return [
        key
        for key, value in values.items()
        if value != defaults.get(key) and key.rpartition(".")[2] not in _LEFT_OUT
    ]


def _text(value: Any) -> str:
    """Return a setting as it is read.

    Example:
      >>> _text([300, 100]), _text(None), _text(0.0012), _text(True)
      ('300 100', 'none', '0.0012', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
