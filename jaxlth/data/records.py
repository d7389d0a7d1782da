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
        opened = prepared.open(folder)
        test_split = opened.test
        if "validation" in opened.info.splits and _unlabelled(opened):
            test_split = "validation"
        return _source(folder, opened, "train"), _source(folder, opened, test_split)


def _unlabelled(opened: prepared.Opened) -> bool:
    records = opened.records(opened.test)
    return len(records) > 0 and int(records[0][opened.label]) < 0


def _source(folder: pathlib.Path, opened: prepared.Opened, split: str) -> encoded.Source:
    missing = [path for path in opened.info.splits[split].filepaths if not path.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise sources.DataError(
            f"{missing[0]}{more}, of {folder}, is missing: prepare the set again, or copy all of"
            " its files."
        )
    if not (count := opened.info.splits[split].num_examples):
        raise sources.DataError(f"{folder} ({split}) holds no example; choose another set.")
    listing = identity.files(opened.info.splits[split].filepaths)
    return encoded.Source(
        examples=count,
        classes=opened.classes,
        read=functools.partial(_read, folder, split),
        where=functools.partial(_where, folder, split),
        listing=functools.partial(bytes, listing),
    )


@functools.lru_cache(maxsize=8)
def _open(folder: pathlib.Path, split: str) -> tuple[Any, str, str]:
    """Return the examples of a split; once in each process, where its files stay open."""
    opened = prepared.open(folder)
    return opened.records(split), opened.image, opened.label


def _read(folder: pathlib.Path, split: str, number: int) -> tuple[bytes, int]:
    with prepared.reading(folder):
        records, image, label = _open(folder, split)
        record = records[number]
        return record[image], int(record[label])


def _where(folder: pathlib.Path, split: str, number: int) -> str:
    return f"Example {number} of {folder} ({split})"
