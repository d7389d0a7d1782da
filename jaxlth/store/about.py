"""What a run folder says of itself: `settings.toml` and `run.json`."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import socket
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

import jax

from jaxlth import settings as settings_lib
from jaxlth.data import Identity
from jaxlth.store import facts, files
from jaxlth.store.files import StoreError

PACKAGES = ("jaxlth", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
SETTINGS, ABOUT = "settings.toml", "run.json"
MEND = "Delete this file and give the command of the run again: its results are still there."


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a run folder says of itself: job, label, settings, versions.

    Raises:
      StoreError: it is no run folder, or its `run.json` is damaged.
    """
    folder = pathlib.Path(path).absolute()
    if not (folder / ABOUT).exists():
        raise StoreError(f"{folder} is no folder of a run: it has no file {ABOUT}.")
    return files.read_json(folder / ABOUT, remedy=MEND)


def describe(
    path: pathlib.Path, settings: Any, *, job: str, label: str, data: Identity | None = None
) -> None:
    """Write settings and circumstances of a run, or compare them with those that are there.

    Raises:
      StoreError: the run was made with other defaults or data, or the folder cannot be written.
    """
    now = _environment()
    if (path / ABOUT).exists():
        about = read(path)
        _refuse_other_defaults(path, about, settings)
        settings = _larger(about["settings"], settings)
    else:
        about = {
            "job": job,
            "label": label,
            "created": files.now(),
            "planned": None,
            "facts": {},
            "environments": [],
        }
    environments = about["environments"]
    if now not in environments[-1:]:
        environments = [*environments, now]
    new = about | {
        "digest": settings_lib.digest(settings),
        "changed": settings_lib.changed(settings),
        "settings": settings_lib.to_dict(settings),
        "environments": environments,
        "facts": facts.joined(path, about.get("facts", {}), facts.of_data(data)),
    }
    text = settings_lib.to_toml(settings)
    if new != about or not (path / SETTINGS).exists():
        files.write_text(path / SETTINGS, text)
        write(path, new)  # last: a folder with it is a run


def write(path: pathlib.Path, about: Mapping[str, Any]) -> None:
    """Replace what a run folder says of itself.

    Raises:
      StoreError: the folder cannot be written.
    """
    files.write_text(path / ABOUT, files.to_json(about, indent=2) + "\n")


def _refuse_other_defaults(path: pathlib.Path, about: Mapping[str, Any], settings: Any) -> None:
    found = settings_lib.differences(about["settings"], settings)
    if found:
        version = about["environments"][0]["versions"]["jaxlth"]
        raise StoreError(
            f"{path} was made by jaxlth {version} with other defaults: {'; '.join(found)}. "
            f"Use another `--out`, delete the folder, or go on with jaxlth {version}."
        )


def _larger(stored: Mapping[str, Any], wanted: Any) -> Any:
    """Return `wanted`, with the stored number where that is larger and outside the digest."""
    values = {}
    for field in dataclasses.fields(wanted):
        value, old = getattr(wanted, field.name), stored.get(field.name)
        if dataclasses.is_dataclass(value) and isinstance(old, Mapping):
            values[field.name] = _larger(old, value)
        elif field.metadata.get("outside") and _is_count(value) and _is_count(old):
            values[field.name] = max(value, old)
    try:
        return dataclasses.replace(wanted, **values)
    except ValueError:  # the larger numbers of two requests do not go together
        return wanted


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _environment() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "versions": {package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.device_count(),
        "host": socket.gethostname(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # A copy of the source that is not installed.
        return getattr(sys.modules.get(package), "__version__", "unknown")
