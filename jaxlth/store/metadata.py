"""The metadata of a run folder: `settings.toml` and `run.json`.

`run.json` holds its own checksum. One without it is of a version before there was one: it is taken
as it is, and gets a checksum when the run is opened next. It also holds the directory in which the
run began, from which relative paths in its settings lead. `settings.toml` holds the same settings
for people and for `--settings`; where the two differ, `run.json` counts.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import socket
import sys
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import jax

from jaxlth import __version__
from jaxlth import settings as settings_lib
from jaxlth.process import paths
from jaxlth.store import atomic, facts
from jaxlth.store.atomic import StoreError

PACKAGES = ("jaxlth", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
BITS = ("jaxlth", "jax", "jaxlib", "libtpu")  # packages that decide the last bits of numbers
SETTINGS, ABOUT = "settings.toml", "run.json"
LARGEST = 2**24  # bytes of `run.json`, which has some thousand
MEND = "Delete this file and give the command of the run again: its results are still there."
NEEDED: Mapping[str, tuple[type, ...]] = {  # entries of `run.json` with their kinds
    "job": (str,),
    "label": (str,),
    "created": (str,),
    "planned": (int, type(None)),
    "settings": (dict,),
    "changed": (dict,),
    "facts": (dict,),
    "environments": (list,),
}
IF_MISSING: Mapping[str, Any] = {"changed": {}, "facts": {}, "environments": []}


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of a run folder: job, label, settings, versions.

    Raises:
      StoreError: it is no run folder, or its `run.json` is damaged.
    """
    file = pathlib.Path(path).absolute() / ABOUT
    if not is_run(file.parent):
        raise StoreError(_why_no_run(file.parent))
    try:
        content = atomic.read_json(file, remedy=MEND, largest=LARGEST)
    except StoreError:
        if not is_run(file.parent):  # it was deleted in between
            raise StoreError(_why_no_run(file.parent)) from None
        raise
    info = atomic.without_checksum(content)
    info |= {name: value for name, value in IF_MISSING.items() if name not in info}
    if wrong := _wrong(content, info):
        raise StoreError(f"{file} is damaged ({wrong}). {MEND}")
    return info


def is_run(path: pathlib.Path) -> bool:
    """Return whether a folder is one of a run, whole or damaged, or cannot be looked into."""
    try:
        os.lstat(path / ABOUT)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _why_no_run(path: pathlib.Path) -> str:
    if not os.path.lexists(path):
        return f"There is no folder {path}, or none any more."
    if path.is_dir():
        return f"{path} is no folder of a run: it has no file {ABOUT}."
    return f"{path} is a {paths.not_a_folder(path)}, and no folder of a run."


@contextlib.contextmanager
def understood(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Give the metadata of a run, and explain errors of looking up entries in it.

    Raises:
      StoreError: `run.json` is damaged, or lacks what is looked up, or has something else there, as
        one of another version may.
    """
    info = read(path)
    try:
        yield info
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        lacking = f"it has no entry {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(
            f"{pathlib.Path(path).absolute() / ABOUT} was made by jaxlth {made_by(info)} and is "
            f"not understood by jaxlth {__version__}: {lacking.rstrip('.')}. Read this run "
            "with the version that made it."
        ) from error


def check_settings(path: str | os.PathLike[str]) -> None:
    """Raise if a file is the `settings.toml` of a run and differs from what the run was made with.

    Copies in other places may say what they like.

    Raises:
      StoreError: it differs, or the `run.json` beside it is damaged.
    """
    file = pathlib.Path(path).absolute()
    if file.name != SETTINGS or not is_run(file.parent):
        return
    content = atomic.read_bytes(file, remedy="", largest=LARGEST)
    try:
        settings = tomllib.loads(content.decode())
    except ValueError:
        settings = None
    if settings != settings_lib.without_none(read(file.parent)["settings"]):
        raise StoreError(
            f"{file} is damaged or was changed: it differs from the settings in {ABOUT} beside it. "
            "Settings of your own belong into another folder; the command of this run writes this "
            "file again."
        )


def made_by(info: Mapping[str, Any]) -> str:
    """Return the version of jaxlth that made a run."""
    try:
        return str(info["environments"][0]["versions"]["jaxlth"])
    except (IndexError, KeyError, TypeError):
        return "of an unknown version"


def describe(
    path: pathlib.Path,
    settings: Any,
    *,
    job: str,
    label: str,
    new_facts: Mapping[str, Any],
) -> list[str]:
    """Write settings and circumstances of a run, or compare them with those that are there.

    Returns:
      What was other when the run was last worked on, and decides the last bits of numbers, such as
      "jax 0.10.1, not 0.10.2".

    Raises:
      StoreError: the run was made with other defaults or data, or the folder cannot be written.
    """
    environment = _environment()
    if is_run(path):
        info = read(path)
        _refuse_other_defaults(path, info, settings)
        settings = _larger(info["settings"], settings)
    else:
        info = {
            "job": job,
            "label": label,
            "created": atomic.now(),
            "planned": None,
            "facts": {},
            "environments": [],
            "directory": None if paths.current_folder_is_gone() else os.getcwd(),
        }
    environments = info["environments"]
    differences = _other_bits(environments[-1], environment) if environments else []
    if environment not in environments[-1:]:
        environments = [*environments, environment]
    new = info | {
        "digest": settings_lib.digest(settings),
        "changed": settings_lib.changed(settings),
        "settings": settings_lib.to_dict(settings),
        "environments": environments,
        "facts": facts.joined(path, info.get("facts", {}), new_facts),
    }
    texts = {SETTINGS: settings_lib.to_toml(settings), ABOUT: _text(new)}
    for name, text in texts.items():  # `run.json` last: a folder with it is a run
        if not _holds(path / name, text):
            atomic.write_text(path / name, text)
    return differences


def write(path: pathlib.Path, info: Mapping[str, Any]) -> None:
    """Replace the metadata of a run folder.

    Raises:
      StoreError: the folder cannot be written.
    """
    atomic.write_text(path / ABOUT, _text(info))


def _text(info: Mapping[str, Any]) -> str:
    return atomic.to_json(atomic.with_checksum(info), indent=2) + "\n"


def _holds(file: pathlib.Path, text: str) -> bool:
    try:
        return atomic.read_bytes(file, remedy="", largest=LARGEST) == text.encode()
    except StoreError:
        return False


def _wrong(content: Mapping[str, Any], info: Mapping[str, Any]) -> str | None:
    """Return the fault in the content of `run.json`, None if there is none."""
    if not atomic.has_valid_checksum(content):
        return "its checksum does not match"
    for name, kinds in NEEDED.items():
        if name not in info:
            return f"it has no entry {name!r}"
        if not isinstance(info[name], kinds) or isinstance(info[name], bool):
            kind = type(info[name]).__name__
            return f"its entry {name!r} is a {kind} and no {kinds[0].__name__}"
    return None


def _refuse_other_defaults(path: pathlib.Path, info: Mapping[str, Any], settings: Any) -> None:
    differences = settings_lib.differences(info["settings"], settings)
    if differences:
        version = made_by(info)
        raise StoreError(
            f"{path} was made by jaxlth {version} with other defaults: {'; '.join(differences)}. "
            f"Use another `--out`, delete the folder, or go on with jaxlth {version}."
        )


def _larger(old_settings: Mapping[str, Any], requested: Any) -> Any:
    """Return `requested`, with the stored number where that is larger and outside the digest."""
    values = {}
    for field in dataclasses.fields(requested):
        value, old_value = getattr(requested, field.name), old_settings.get(field.name)
        if dataclasses.is_dataclass(value) and isinstance(old_value, Mapping):
            values[field.name] = _larger(old_value, value)
        elif field.metadata.get("not_hashed") and _is_count(value) and _is_count(old_value):
            values[field.name] = max(value, old_value)
    try:
        return dataclasses.replace(requested, **values)
    except ValueError:  # the larger numbers of two requests do not go together
        return requested


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _environment() -> dict[str, Any]:
    device = jax.devices()[0]
    versions = {package: _version(package) for package in PACKAGES}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["libtpu"] = importlib.metadata.version("libtpu")
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.device_count(),
        "host": socket.gethostname(),
    }


def _other_bits(old: Any, new: Mapping[str, Any]) -> list[str]:
    """Return what differs between two environments and decides the last bits of numbers.

    Example:
      >>> old = {"device": "tpu: TPU v4", "versions": {"jax": "0.10.1", "numpy": "2.0"}}
      >>> _other_bits(old, {"device": "tpu: TPU v4", "versions": {"jax": "0.10.2"}})
      ['jax 0.10.1, not 0.10.2']
    """
    if not isinstance(old, Mapping) or not isinstance(old.get("versions"), Mapping):
        return []
    pairs = [(name, old["versions"].get(name), new["versions"].get(name)) for name in BITS]
    pairs.append(("device", old.get("device"), new.get("device")))
    return [f"{name} {was}, not {now}" for name, was, now in pairs if was and now and was != now]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # A copy of the source that is not installed.
        return getattr(sys.modules.get(package), "__version__", "unknown")
