"""Images of more than 8 bits a channel, brought to 0..255.

Pillow's own conversion cuts such numbers off at 255, so that a picture of 16 bits becomes white.
Here the whole range becomes the whole range: 0 is black, and the largest number that the file's
format allows is white. The scale never depends on what an image shows, since equal brightness must
stay equal from image to image. Images without a known range are refused.
"""

import numpy as np
import PIL.Image

FULL = ("PNG", "PPM", "JPEG2000")  # formats whose grey Pillow brings to the whole of 16 bits
WIDE = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names of such pixels
BITS, PHOTOMETRIC, SAMPLE_FORMAT, LEAST, MOST = 258, 262, 339, 340, 341  # tags of TIFF
UNSIGNED, WHITE_IS_ZERO = 1, 0


class UnsupportedError(ValueError):
    """An image is whole, and yet not one that is read; the message says why."""


def eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image with 8 bits a channel; grey of more bits becomes L, or LA with a clear grey.

    Raises:
      UnsupportedError: it is not known which numbers are black and white.

    Example:
      >>> image = PIL.Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
      >>> image.format = "PNG"
      >>> np.asarray(eight_bits(image)).tolist()
      [[0, 1, 255]]
    """
    if image.mode not in WIDE:
        return image
    black, white = _range(image)
    values = np.asarray(image).astype(np.float64)
    scaled = np.rint((values - black) * (255 / (white - black)))
    grey = PIL.Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is None:
        return grey
    opaque = np.where(values == clear, 0, 255).astype(np.uint8)
    return PIL.Image.merge("LA", (grey, PIL.Image.fromarray(opaque)))


def _range(image: PIL.Image.Image) -> tuple[float, float]:
    """Return the numbers that are black and white."""
    if image.format == "TIFF":
        least, most = _tiff_range(image)
    elif image.format in FULL and image.mode != "F":
        least, most = 0.0, 65535.0
    else:
        raise _unknown(image)
    return least, most


def _tiff_range(image: PIL.Image.Image) -> tuple[float, float]:
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    bits = np.max(tags.get(BITS, 1))
    if image.mode.startswith("I;16") and np.max(tags.get(SAMPLE_FORMAT, UNSIGNED)) == UNSIGNED:
        least, most = 0.0, 2.0**bits - 1
    elif LEAST in tags and MOST in tags:
        least, most = float(np.min(tags[LEAST])), float(np.max(tags[MOST]))
    else:
        raise _unknown(image)
    if not (np.isfinite([least, most]).all() and least < most):
        raise _unknown(image)
    return (most, least) if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else (least, most)


def _unknown(image: PIL.Image.Image) -> UnsupportedError:
    kind = "floating-point numbers" if image.mode == "F" else "whole numbers"
    return UnsupportedError(
        f"its pixels are {kind} (mode {image.mode} of {image.format}), and nothing says which are"
        " black and white; save it with 8 or 16 bits a channel"
    )
