"""Arrays of a NumPy file: `npz:FILE`, as `np.savez` writes it and Keras publishes MNIST.

It holds x_train, y_train, x_test and y_test, or train_inputs, train_labels, test_inputs and
test_labels; other arrays are not read, which a warning says, and pickled objects never. Whole
numbers of bytes with three axes are grey images, which get an axis of one channel. Else the rules
are those of `arrays`.
"""

import lzma
import pathlib
import warnings
import zipfile
import zlib

import numpy as np

from jaxlth.data import arrays, image_files, lookup, sources

NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_inputs", "train_labels", "test_inputs", "test_labels"),
)
DAMAGE = (  # what NumPy raises of files that it cannot read
    *(ValueError, EOFError, AttributeError, KeyError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(RuntimeError, NotImplementedError),  # of encrypted archives, and of ways to compress
)


def read(path: pathlib.Path) -> sources.Published:
    """Return the arrays of a file.

    Raises:
      DataError: the file or an array is missing, damaged or no such array.
    """
    try:
        with open(path, "rb") as opened:  # NumPy leaves a broken file open if it is given the path
            loaded = np.load(opened, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                needed = ", ".join(NAMES[0])
                raise sources.DataError(f"{path} holds one array; needed are {needed}.")
            names = _names(path, loaded)
            _warn(path, [name for name in loaded.files if name not in names], names)
            train_inputs, train_labels, test_inputs, test_labels = (loaded[name] for name in names)
    except sources.DataError:
        raise
    except OSError as error:
        raise sources.unreadable(path, error) from error
    except DAMAGE as error:
        why = lookup.line(error).partition(" If you trust")[0].rstrip(".")  # NumPy's, of pickles
        raise sources.DataError(
            f"{path} is no NumPy file of arrays: {why}; write it with np.savez."
        ) from error
    try:
        return arrays.from_arrays(
            (_with_channel(train_inputs), train_labels), (_with_channel(test_inputs), test_labels)
        ).published
    except (TypeError, ValueError) as error:
        raise sources.DataError(f"{path}: {error}") from error


def _names(path: pathlib.Path, file: np.lib.npyio.NpzFile) -> tuple[str, ...]:
    """Return the names of the four arrays, of those lists the one that fits best."""
    names = max(NAMES, key=lambda names: sum(name in file.files for name in names))
    missing = [name for name in names if name not in file.files]
    if missing:
        raise sources.DataError(
            f"{path} has no array {missing[0]}; needed are {', '.join(names)}, and it holds"
            f" {', '.join(file.files) or 'none'}."
        )
    return names


def _warn(path: pathlib.Path, others: list[str], names: tuple[str, ...]) -> None:
    """Warn of arrays of a file that are not read."""
    if others:
        one = len(others) == 1
        warnings.warn(
            f"{path}: {len(others)} array{' is' if one else 's are'} not read"
            f" ({image_files.few(others)}); read are {', '.join(names)}.",
            sources.DataWarning,
            stacklevel=3,
        )


def _with_channel(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 and images.dtype == np.uint8 else images
