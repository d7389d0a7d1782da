"""Which data set, which of its examples, and how they are shown: the settings of all data sets."""

import dataclasses
import functools
import os
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from jaxlth import settings as settings_lib
from jaxlth.data import cifar, digits, idx, points, sources, synthetic
from jaxlth.data.augment import AUGMENTATIONS
from jaxlth.data.inputs import NONE, NORMALIZERS, PER_PIXEL
from jaxlth.process import code
from jaxlth.settings import ranges

SOURCES = {
    "digits": digits.read,
    "synthetic": synthetic.read,
    "synthetic_320": functools.partial(synthetic.read, enlarged=10),
    **{name: functools.partial(points.read, name=name) for name in points.NAMES},
    "mnist": functools.partial(idx.read, name="mnist"),
    "fashion_mnist": functools.partial(idx.read, name="fashion_mnist"),
    "cifar10": functools.partial(cifar.read, name="cifar10"),
    "cifar100": functools.partial(cifar.read, name="cifar100"),
}
PREPARED = "tfds:"  # prefix of names that tensorflow-datasets reads into memory
STREAMED = ("stream:", "folder:")  # prefixes of names whose images are decoded when needed
FILES = ("npz:", "text:")  # prefixes of names of a file
TEXT = "text"  # name of the text that Python carries
OWN, OWN_MAPPED = code.OWN, f"{code.OWN}:memmap"  # of `from_arrays`: in memory, on the disk
OF_ARRAYS = ("prefetch", "statistics_images")  # of a stream's settings, what arrays on disk have
# Read from no directory.
MADE_HERE = ("digits", "synthetic", "synthetic_320", *points.NAMES, TEXT, OWN, OWN_MAPPED)
AND = "+"  # between the names of sets side by side
SIDE = 65_535  # of a JPEG image, in pixels
MOST_PROCESSES, MOST_PREFETCHED = 1024, 1000
MOST_TOKENS = 1_000_000
NAMES = (*SOURCES, TEXT, *(f"{prefix}NAME" for prefix in (PREPARED, *STREAMED, *FILES)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How images of stream:NAME and folder:NAME are cropped, and by whom they are decoded."""

    image_size: Annotated[
        int, ranges.at_least(1, most=SIDE, why="the side of a JPEG image"), settings_lib.RARE
    ] = 224
    """Height and width of the images that the network sees, for stream:NAME and folder:NAME."""

    resize_to: Annotated[
        int, ranges.at_least(1, most=SIDE, why="the side of a JPEG image"), settings_lib.RARE
    ] = 256
    """Shorter side that test images of these are resized to before their middle is cropped."""

    crop_area: Annotated[tuple[float, float], ranges.Range(), settings_lib.RARE] = (0.08, 1.0)
    """Least and largest area of their training crops, as a share of the image."""

    crop_ratio: Annotated[
        tuple[float, float], ranges.Range(most=SIDE, why="an image of one row"), settings_lib.RARE
    ] = (3 / 4, 4 / 3)
    """Least and largest width / height of their training crops."""

    flip: Annotated[bool, settings_lib.RARE] = True
    """Whether their training crops are mirrored with probability 1/2."""

    statistics_images: Annotated[int, ranges.at_least(1), settings_lib.RARE] = 1000
    """Training images of which their mean and standard deviation are measured."""

    skip_broken: Annotated[bool, settings_lib.RARE] = False
    """Whether the next image takes the place of one that cannot be decoded."""

    workers: Annotated[
        int, ranges.at_least(0, most=MOST_PROCESSES, why="processes of one host"), settings_lib.RARE
    ] = settings_lib.not_hashed(0)
    """Processes that decode, on each host; 0 decodes in the process that trains."""

    prefetch: Annotated[
        int,
        ranges.at_least(0, most=MOST_PREFETCHED, why="batches held in memory"),
        settings_lib.RARE,
    ] = settings_lib.not_hashed(2)
    """Batches that are sent to the devices before they are needed."""

    def __post_init__(self) -> None:
        """Check the fields."""
        settings_lib.check_fields(self)
        settings_lib.require(
            self.image_size <= self.resize_to,
            "`image_size` must be at least 1 and at most `resize_to`, which it is cropped from;"
            f" got {self.image_size} and {self.resize_to}.",
        )
        for field, most, rule in (
            ("crop_area", 1, "two shares of the image, 0 < least <= largest <= 1"),
            ("crop_ratio", SIDE, "two ratios, 0 < least <= largest"),
        ):
            values = getattr(self, field)
            shown = " ".join(f"{number:g}" for number in values) or "nothing"
            settings_lib.require(
                len(values) == 2 and 0 < values[0] <= values[1] <= most,
                f"`{field}` must be {rule}; got {shown}.",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data set, and how much of its training set is kept for validation."""

    name: Annotated[
        str, tyro.conf.arg(name="data"), ranges.OneOf(NAMES, others=ranges.anything)
    ] = "digits"
    """Data set: digits (8x8 images that scikit-learn carries), synthetic (32x32, made on the fly),
    synthetic_320 (fewer of these, enlarged), moons and circles (points in a plane, two classes
    each), mnist, fashion_mnist, cifar10, cifar100 (its fine labels), or tfds:NAME for an
    image-classification set of tensorflow-datasets (such as tfds:svhn_cropped or
    tfds:NAME/CONFIG:VERSION). Too large for memory, and decoded when needed: stream:NAME for a set
    that tensorflow-datasets has prepared, folder:NAME for images in NAME/train/CLASS/ and
    NAME/val/CLASS/, such as ImageNet and TinyImageNet as unpacked. Arrays of your own: npz:NAME for
    a NumPy file with x_train, y_train, x_test and y_test. For language models: text (characters of
    the help that Python carries) or text:NAME (those of a file in UTF-8). Names joined by +, such
    as moons+circles and mnist+fashion_mnist, put sets in memory side by side: each example is one
    of each set, paired at random, and each set is a task with outputs of its own; losses of tasks
    are added, accuracies averaged. FILE.py:NAME is what data.from_arrays returns, or a function
    that returns it."""

    data_dir: str | None = settings_lib.not_hashed(None)
    """Directory with a folder for each data set. Without it $JAXLTH_DATA is used, and if that is
    not set either, tfds:NAME and stream:NAME are read from $TFDS_DATA_DIR or ~/tensorflow_datasets.
    Digits need none."""

    validation: Annotated[float, ranges.between(0, 1, ends="[)")] = 0.1
    """Share of the training set kept for validation, from 0 (no validation) to less than 1."""

    held_out_test: Annotated[float, ranges.between(0, 1, ends="[)"), settings_lib.RARE] = 0.0
    """Share of the training set kept for testing in place of the published test images, from 0
    (those are used) to less than 1."""

    num_train_examples: Annotated[int | None, ranges.at_least(1), settings_lib.RARE] = None
    """Images to train on, drawn from what is left of the training set; all if not given."""

    normalize: Annotated[str, ranges.OneOf(NORMALIZERS)] = "statistics"
    """How images are normalised in each step: statistics (mean 0 and standard deviation 1 over the
    training set, per channel), per-pixel (likewise, for every pixel of each channel by itself),
    unit-norm (each image divided by its Euclidean norm), unit-range (0..255 brought to 0..1) or
    none. A text has none."""

    augment: Annotated[str, ranges.OneOf(AUGMENTATIONS, others=code.is_own)] = "none"
    """How training images in memory are changed in each step: none, or flip-crop (mirrored with
    probability 1/2, and shifted by up to 4 pixels in each direction with 0 from beyond the edge);
    or FILE.py:NAME, a function (inputs, key=) -> inputs."""

    context: Annotated[
        int, ranges.at_least(1, most=MOST_TOKENS, why="of one example"), settings_lib.RARE
    ] = 64
    """Characters of an example of text and text:NAME."""

    stream: StreamConfig = StreamConfig()

    def __post_init__(self) -> None:
        """Check the fields."""
        settings_lib.check_fields(self)
        for field, text in (("data", self.name), ("data_dir", self.data_dir or "")):
            settings_lib.require(
                _is_unicode(text),
                f"`{field}` must be a name in UTF-8, as settings are stored; got {text!r}. Rename"
                " the folder.",
            )
        for name in () if self.is_own else self.names:
            _check_name(name, within=self.name)
        if code.is_spec(self.name):
            for field in ("validation", "normalize"):
                where = f"on {self.name}, which says it itself (data.from_arrays)"
                settings_lib.effective(self, field, False, where)
        settings_lib.require(
            self.data_dir is None or self.data_dir.strip() != "",
            f"`data_dir` must be a path; got {self.data_dir!r}.",
        )
        # A setting without effect would give the same results another name.
        decoded = self.name.startswith(STREAMED)
        effective = OF_ARRAYS if self.name == OWN_MAPPED else ()
        stream_fields = [] if decoded else _changed_fields(self.stream)
        stream_fields = [field for field in stream_fields if field not in effective]
        settings_lib.require(
            not stream_fields,
            f"`{next(iter(stream_fields), '')}` has no effect on {self.name},"
            f" {'whose arrays are not decoded' if effective else 'which memory holds'};"
            " leave it out, or name the data stream:NAME or folder:NAME.",
        )
        settings_lib.effective(self, "context", self.is_text, f"on {self.name}, which is no text")
        if self.is_text:
            for field in ("normalize", "augment"):
                plain = getattr(self, field) in (getattr(type(self), field), NONE)
                settings_lib.effective(self, field, plain, f"on {self.name}, a text")
            object.__setattr__(self, "normalize", NONE)
        settings_lib.require(
            not self.streamed or self.augment == type(self).augment,
            f"`augment` has no effect on {self.name}, which is streamed; `crop_area`, `crop_ratio`"
            " and `flip` say how its images are changed.",
        )
        settings_lib.require(
            not (self.streamed and self.normalize == PER_PIXEL),
            f"`normalize` {PER_PIXEL} needs all images in memory, and {self.name} is streamed.",
        )
        mixing = {self.normalize, self.augment} - {"statistics", PER_PIXEL, "unit-range", NONE}
        settings_lib.require(
            not mixing or (len(self.names) == 1 and self.name not in points.NAMES),
            f"{' and '.join(sorted(mixing))} would mix inputs of {self.name} that differ in kind;"
            f" leave it out; `normalize` {PER_PIXEL} treats each input by itself.",
        )

    @property
    def streamed(self) -> bool:
        """Whether images are decoded when they are needed, instead of being held in memory."""
        return self.name.startswith(STREAMED) or self.name == OWN_MAPPED

    @property
    def gives_classes(self) -> bool:
        """Whether examples of each class can be found without reading all of them."""
        return not self.streamed or self.name.startswith("folder:")

    @property
    def is_own(self) -> bool:
        """Whether the set is none of the library's: given in Python, or FILE.py:NAME."""
        return self.name == OWN_MAPPED or code.is_own(self.name)

    @property
    def is_text(self) -> bool:
        """Whether examples are characters."""
        return self.name == TEXT or self.name.startswith(f"{TEXT}:")

    @property
    def is_npz(self) -> bool:
        """Whether examples are arrays of a file."""
        return self.name.startswith("npz:")

    @property
    def names(self) -> tuple[str, ...]:
        """The sets that lie side by side, or the only one; a file's name may have a "+"."""
        whole = self.name.startswith((*STREAMED, *FILES)) or code.is_spec(self.name)
        return (self.name,) if whole else tuple(self.name.split(AND))

    @property
    def directory(self) -> str | None:
        """The directory to read from, if the settings or the environment name one."""
        return self.data_dir or os.environ.get("JAXLTH_DATA") or None


class Rows(NamedTuple):
    """Places in the published training set, each increasing; they do not overlap."""

    train: np.ndarray  # (n,) int
    validation: np.ndarray  # likewise, of no example where there is no such split
    test: np.ndarray  # likewise


def split_rows(config: DataConfig, count: int, *, seed: int) -> Rows:
    """Return the rows of `count` published training images that each split gets.

    Args:
      config: the shares held out, and the number of training examples.
      count: of the training images.
      seed: of the run; streams of replicate 0 draw them.

    Raises:
      ValueError: a share leaves a split without any example, or fewer are left than asked for.

    Example:
      >>> rows = split_rows(DataConfig(validation=0.25, held_out_test=0.5), 8, seed=0)
      >>> [len(each) for each in rows]
      [3, 1, 4]
    """

    def split(rows: np.ndarray, share: float, purpose: str) -> tuple[np.ndarray, np.ndarray]:
        is_held_out = sources.held_out(
            len(rows), share, seed=seed, name=config.name, purpose=purpose
        )
        return rows[~is_held_out], rows[is_held_out]

    train, test = split(np.arange(count), config.held_out_test, "test")
    train, validation = split(train, config.validation, "validation")
    if config.num_train_examples is not None:
        settings_lib.require(
            config.num_train_examples <= len(train),
            f"`num_train_examples` must be at most the {len(train)} training images of "
            f"{config.name} that are not held out; got {config.num_train_examples}.",
        )
        subset = sources.random_rows(
            len(train), config.num_train_examples, seed=seed, purpose="examples"
        )
        train = train[np.sort(subset)]
    return Rows(train, validation, test)


def _check_name(name: str, *, within: str) -> None:
    """Raise ValueError unless `name` is that of a set, which may stand beside others."""
    settings_lib.require(
        name != "" or within == "",
        f"`data`: put the name of a data set on either side of {AND!r}, as in moons+circles; got"
        f" {within!r}.",
    )
    prefix, colon, rest = name.partition(":")
    if not (rest and prefix + colon in (PREPARED, *STREAMED, *FILES)):
        settings_lib.check_choice("data", name, NAMES)
    settings_lib.require(
        name not in NAMES or not colon,
        f"`data`: put the name of a data set after {prefix + colon!r}, as in tfds:cifar10.",
    )
    alone = prefix + colon in (*STREAMED, *FILES) or name == TEXT
    settings_lib.require(
        name == within or not alone,
        f"`data`: {name} {'is streamed' if prefix + colon in STREAMED else 'stands alone'}; only"
        " sets in memory, such as mnist and tfds:NAME, can lie side by side.",
    )


def _is_unicode(text: str) -> bool:
    """Return whether text is that, and not a path of bytes that are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _changed_fields(config: Any) -> list[str]:
    """Return the fields that differ from their defaults."""
    plain = type(config)()
    names = [field.name for field in dataclasses.fields(config)]
    return [name for name in names if getattr(config, name) != getattr(plain, name)]
