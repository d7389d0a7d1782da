"""From an image's file to pixels: decoding, and the crops of ImageNet.

References:
  Szegedy et al. 2015, Going Deeper with Convolutions, section 6 (training crops).
  He et al. 2016, Deep Residual Learning for Image Recognition, section 3.4 (test crops).
"""

import contextlib
import io
import math
from typing import TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps

from jaxlth.data import brightness

Image: TypeAlias = PIL.Image.Image
ATTEMPTS = 10  # to find a crop within the image
BLACK = PIL.Image.new("RGB", (1, 1))
LONGEST = 64  # times its height that of an image's width is looked at, or the other way round
DRAWS = 4 * ATTEMPTS + 1  # numbers that a random crop uses


def decode(content: bytes, mode: str = "RGB") -> Image:
    """Return an image of any format that Pillow reads, as it is meant to be seen.

    It is upright: turned and mirrored as its EXIF orientation says. More than 8 bits a channel are
    scaled to 0..255 (Pillow itself keeps the upper 8 bits of coloured images of 16). Transparent
    pixels lie on white, in palettes as in channels, so that colours that nobody sees do not count.
    Of several frames or pages it is the first.

    Args:
      content: the image's file.
      mode: "RGB", "L", or "RGBA", which alone keeps transparency as it is.

    Raises:
      UnsupportedError: it has more pixels than Pillow decodes, or pixels of an unknown range.
      ValueError: it is no image, or a broken one.
    """
    try:
        image = PIL.Image.open(io.BytesIO(content))
        image.load()
        return _in_mode(brightness.eight_bits(_upright(image)), mode)
    except brightness.UnsupportedError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise ValueError("it is no image that Pillow knows") from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        words = str(error).partition(", could be")[0]  # size and limit, before Pillow's guess
        raise brightness.UnsupportedError(f"{words}; make it smaller") from error
    except Exception as error:  # decoders raise errors of any kind for damaged files
        text = str(error).strip() or type(error).__name__
        raise ValueError(text.splitlines()[0].rstrip(".")) from error


def random_crop(
    image: Image,
    draws: np.ndarray,
    *,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: bool,
) -> np.ndarray:
    """Return a crop of random place, area and shape, resized, and mirrored or not.

    Area and shape are drawn until the crop lies within the image, ten times at most; then it is the
    largest crop at the middle whose shape is allowed.

    Args:
      image: of any size.
      draws: (DRAWS,) numbers in [0, 1), from which everything random follows.
      size: height and width of the result, in pixels.
      scale: least and largest area, as a share of the image's.
      ratio: least and largest width / height, of which the logarithm is uniform.
      flip: whether it is mirrored with probability 1/2.

    Returns:
      (size, size, 3) uint8, bilinear.

    Example:
      >>> image = PIL.Image.new("RGB", (40, 30), "red")
      >>> shapes = {"scale": (0.08, 1), "ratio": (0.75, 1.5)}
      >>> random_crop(image, np.zeros(DRAWS), size=8, **shapes, flip=True).shape
      (8, 8, 3)
    """
    box = _box(image.size, draws, scale=scale, ratio=ratio)
    cut = image.crop(box).resize((size, size), PIL.Image.Resampling.BILINEAR)
    if flip and draws[-1] < 0.5:
        # By Pillow: NumPy copies a mirrored array fifteen times slower.
        cut = cut.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(cut)


def center_crop(image: Image, *, size: int, shorter: int) -> np.ndarray:
    """Return the middle of an image whose shorter side is resized to `shorter` pixels.

    Args:
      image: of any size.
      size: height and width of the result, in pixels.
      shorter: at least `size`.

    Returns:
      (size, size, 3) uint8, bilinear.

    Example:
      >>> image = PIL.Image.new("RGB", (40, 30), "red")
      >>> center_crop(image, size=8, shorter=10).shape
      (8, 8, 3)
    """
    width, height = image.size
    if max(image.size) > LONGEST * min(image.size):  # all of which would take gigabytes
        side = min(image.size) * LONGEST
        left, top = (max(0, (length - side) // 2) for length in image.size)
        image = image.crop((left, top, min(width, left + side), min(height, top + side)))
        width, height = image.size
    resized = (
        max(shorter, round(width * shorter / min(image.size))),
        max(shorter, round(height * shorter / min(image.size))),
    )
    if resized != image.size:
        image = image.resize(resized, PIL.Image.Resampling.BILINEAR)
    left, top = ((side - size) // 2 for side in resized)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _upright(image: Image) -> Image:
    """Return an image turned as its EXIF says; what EXIF cannot be read says nothing."""
    with contextlib.suppress(Exception):  # of a part of the file that the pixels do not need
        PIL.ImageOps.exif_transpose(image, in_place=True)
    return image


def _in_mode(image: Image, mode: str) -> Image:
    """Return an image of 8 bits a channel in a mode, on white unless that mode has transparency."""
    if image.has_transparency_data:
        image = _with_alpha(image)
        if mode != "RGBA":
            white = PIL.Image.new("RGBA", image.size, "white")
            image = PIL.Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _with_alpha(image: Image) -> Image:
    if image.mode == "RGB":
        clear = image.info["transparency"]
        if max(clear) > 255:  # of 16 bits, of which Pillow reads the upper 8
            image.info["transparency"] = tuple(value >> 8 for value in clear)
    return image.convert("RGBA")


def _box(
    sides: tuple[int, int],
    draws: np.ndarray,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a random crop."""
    width, height = sides
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for area, shape, row, column in draws[: 4 * ATTEMPTS].reshape(ATTEMPTS, 4).tolist():
        pixels = width * height * (scale[0] + area * (scale[1] - scale[0]))
        aspect = math.exp(log_ratio[0] + shape * (log_ratio[1] - log_ratio[0]))
        crop_width, crop_height = (
            round(math.sqrt(pixels * aspect)),
            round(math.sqrt(pixels / aspect)),
        )
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = (
                int(column * (width - crop_width + 1)),
                int(row * (height - crop_height + 1)),
            )
            return left, top, left + crop_width, top + crop_height
    aspect = min(max(width / height, ratio[0]), ratio[1])
    crop_width, crop_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + max(crop_width, 1), top + max(crop_height, 1)
