"""Where a set of tensorflow-datasets is prepared, or how it comes to be.

Everything is looked up before tensorflow-datasets is called, whose own search for a missing set
ends after minutes or in a message about file formats.
"""

import difflib
import fnmatch
import importlib.util
import json
import os
import pathlib
import re
import urllib.error
import urllib.request

from jaxlth.data import sources
from jaxlth.process import paths

FORMAT = "array_record"
NAME = re.compile(r"(?P<set>\w+)(/(?P<config>[^:/][^:]*))?(:(?P<version>[\d.*]+))?")
PATIENCE = 10.0  # seconds to wait for a sign of the publisher's server


def locate(data_dir: str | None, *, name: str) -> pathlib.Path:
    """Return the directory of a set prepared as array_record files, built if it can be.

    Raises:
      DataError: as `read`.
    """
    base = directory(data_dir)
    folder = find(base, name) or _build(base, name)
    _check_format(folder)
    return folder


def directory(data_dir: str | None) -> pathlib.Path:
    """Return the directory of prepared sets: the one given, or that of tensorflow-datasets."""
    root = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(paths.expand(root, setting="--data-dir"))


def check_prepared(data_dir: str | None, *, name: str) -> None:
    """Raise DataError unless a set is prepared: where it is not to be built."""
    root = directory(data_dir)
    if find(root, name) is None:
        raise sources.DataError(f"There is no prepared data set {name} in {root}.")


def find(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """Return the directory of a prepared set, NAME/[CONFIG/]VERSION in `root`, or None.

    Raises:
      DataError: `name` is no name of a set, or leaves open which of several configs is meant.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise sources.DataError(
            f"`data`: tfds:{name} must have the form tfds:NAME, tfds:NAME/CONFIG or"
            " tfds:NAME:VERSION."
        )
    base = root / match["set"]
    if match["config"]:
        return _newest(base / match["config"], match["version"])
    if newest := _newest(base, match["version"]):
        return newest
    configs = {path.parent.parent.name for path in base.glob("*/*/dataset_info.json")}
    default = _default_config(base)
    if default not in configs and len(configs) > 1:
        raise sources.DataError(
            f"{base} holds several configs; choose one: "
            + ", ".join(f"tfds:{match['set']}/{config}" for config in sorted(configs))
        )
    config = default if default in configs else next(iter(configs), None)
    return _newest(base / config, match["version"]) if config else None


def _newest(base: pathlib.Path, version: str | None) -> pathlib.Path | None:
    folders = [path.parent for path in base.glob("*.*.*/dataset_info.json")]
    folders = [path for path in folders if fnmatch.fnmatch(path.name, version or "*")]
    return max(folders, key=lambda path: _numbers(path.name), default=None)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _default_config(base: pathlib.Path) -> str | None:
    try:
        return json.loads((base / ".config" / "metadata.json").read_text("utf-8"))[
            "default_config_name"
        ]
    except (OSError, ValueError, KeyError):
        return None


def _check_format(folder: pathlib.Path) -> None:
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_text("utf-8"))
        formats = {info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", [])}
    except (OSError, ValueError, AttributeError) as error:
        raise sources.DataError(
            f"{path} is damaged: {line(error)}; remove {folder} and prepare the set again."
        ) from error
    if FORMAT not in formats:
        raise sources.DataError(
            f"{folder} is prepared as {', '.join(sorted(formats))}, but only {FORMAT} is read here:"
            f' prepare it with `builder.download_and_prepare(file_format="{FORMAT}")` in another'
            " directory, or convert it with `tfds convert_format`."
        )


def _build(base: pathlib.Path, name: str) -> pathlib.Path:
    """Download and prepare a set, where TensorFlow is installed; return its directory."""
    import tensorflow_datasets as tfds  # takes a second to import, and only these sets need it

    names = tfds.list_builders(with_community_datasets=False)
    short = name.partition("/")[0].partition(":")[0]
    close = difflib.get_close_matches(short, names, n=1)
    hint = f" Did you mean tfds:{close[0]}?" if short not in names and close else ""
    missing = f"There is no prepared data set {name} in {base}"
    if importlib.util.find_spec("tensorflow") is None:
        place = base / short / "[CONFIG/]VERSION" / "dataset_info.json"
        raise sources.DataError(
            f"{missing} (looked for {place}).{hint} Give the directory of a prepared set with"
            " `--data-dir DIR` or $JAXLTH_DATA, or install TensorFlow to build it here:"
            " pip install 'jaxlth[tensorflow]'."
        )
    if short not in names:
        raise sources.DataError(f"{missing}, and tensorflow-datasets cannot build {short}.{hint}")
    try:
        builder = tfds.builder(name, data_dir=str(base), file_format=FORMAT)
        _check_reachable(list(builder.url_infos or []))
        builder.download_and_prepare(file_format=FORMAT)
    except Exception as error:  # whatever stops a third party's download or its files
        raise sources.DataError(
            f"{missing}, and building it failed: {line(error)}. Check the network and the space on"
            " the disk, or give the directory of a prepared set with `--data-dir DIR`."
        ) from error
    return pathlib.Path(builder.data_dir)


def _check_reachable(urls: list[str]) -> None:
    """Raise OSError at once where a download would retry for minutes; any answer will do."""
    for url in [url for url in urls if url.startswith("http")][:1]:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            pass
        except OSError as error:
            raise OSError(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from error


def line(error: BaseException) -> str:
    """Return an error as the first line of its message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
