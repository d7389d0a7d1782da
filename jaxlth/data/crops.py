"""From an image's file to pixels: decoding, and the crops of ImageNet.

References:
  Szegedy et al. 2015, Going Deeper with Convolutions, section 6 (training crops).
  He et al. 2016, Deep Residual Learning for Image Recognition, section 3.4 (test crops).
"""

import io
import math
from typing import TypeAlias

import numpy as np
import PIL.Image

Image: TypeAlias = PIL.Image.Image
ATTEMPTS = 10  # to find a crop within the image
BLACK = PIL.Image.new("RGB", (1, 1))
DRAWS = 4 * ATTEMPTS + 1  # numbers that a random crop uses


def decode(content: bytes) -> Image:
    """Return an image of any format that Pillow knows, in RGB.

    Raises:
      ValueError: it is no image, or a broken one.
    """
    try:
        image = PIL.Image.open(io.BytesIO(content))
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    except PIL.UnidentifiedImageError as error:
        raise ValueError("it is no image that Pillow knows") from error
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
    resized = (
        max(shorter, round(width * shorter / min(image.size))),
        max(shorter, round(height * shorter / min(image.size))),
    )
    if resized != image.size:
        image = image.resize(resized, PIL.Image.Resampling.BILINEAR)
    left, top = ((side - size) // 2 for side in resized)
    return np.asarray(image.crop((left, top, left + size, top + size)))


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
        wide = math.exp(log_ratio[0] + shape * (log_ratio[1] - log_ratio[0]))
        across, down = round(math.sqrt(pixels * wide)), round(math.sqrt(pixels / wide))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(column * (width - across + 1)), int(row * (height - down + 1))
            return left, top, left + across, top + down
    wide = min(max(width / height, ratio[0]), ratio[1])
    across, down = min(width, round(height * wide)), min(height, round(width / wide))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + max(across, 1), top + max(down, 1)
