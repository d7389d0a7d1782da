"""Prepared sets of tensorflow-datasets as streams: their images stay encoded until needed."""

import functools
import pathlib
from typing import Any

from jaxlth.data import encoded, identity, lookup, prepared, sources


def read(data_dir: str | None, *, name: str) -> tuple[encoded.Source, encoded.Source]:
    """Return the training and the test images of a prepared set.

    The test split is the set's "test", or "validation" where it has no "test" or, as ImageNet's,
    one without labels.

    Args:
      data_dir: as `prepared.read`.
      name: as `prepared.read`.

    Raises:
      DataError: as `prepared.read`, or a file of the set is missing.
    """
    folder = lookup.locate(data_dir, name=name)
    with prepared.reading(folder):
        found = prepared.open(folder)
        test = found.test
        if "validation" in found.info.splits and _unlabelled(found):
            test = "validation"
        return _source(folder, found, "train"), _source(folder, found, test)


def _unlabelled(found: prepared.Opened) -> bool:
    records = found.records(found.test)
    return len(records) > 0 and int(records[0][found.label]) < 0


def _source(folder: pathlib.Path, found: prepared.Opened, split: str) -> encoded.Source:
    missing = [path for path in found.info.splits[split].filepaths if not path.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise sources.DataError(
            f"{missing[0]}{more}, of {folder}, is missing: prepare the set again, or copy all of"
            " its files."
        )
    if not (count := found.info.splits[split].num_examples):
        raise sources.DataError(f"{folder} ({split}) holds no example; choose another set.")
    listing = identity.files(found.info.splits[split].filepaths)
    return encoded.Source(
        examples=count,
        classes=found.classes,
        read=functools.partial(_read, folder, split),
        where=functools.partial(_where, folder, split),
        listing=functools.partial(bytes, listing),
    )


@functools.lru_cache(maxsize=8)
def _open(folder: pathlib.Path, split: str) -> tuple[Any, str, str]:
    """Return the examples of a split; once in each process, where its files stay open."""
    found = prepared.open(folder)
    return found.records(split), found.image, found.label


def _read(folder: pathlib.Path, split: str, number: int) -> tuple[bytes, int]:
    with prepared.reading(folder):
        records, image, label = _open(folder, split)
        record = records[number]
        return record[image], int(record[label])


def _where(folder: pathlib.Path, split: str, number: int) -> str:
    return f"Example {number} of {folder} ({split})"
