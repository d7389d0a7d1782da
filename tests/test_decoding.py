"""From an image's file to pixels: depths, palettes, transparency, orientation, sizes."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from test_data import write_prepared

from jaxlth import data
from jaxlth.data import brightness, crops, encoded, sources

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's kinds of colour
HUGE = "ignore:Image size .* exceeds limit"  # Pillow's own warning, which names no file


def pixels(content, mode="RGB"):
    return np.asarray(crops.decode(content, mode))


def png(samples, *, depth, colour, chunks=()):
    """Return a PNG of whole numbers (height, width, channels), by hand, for what Pillow writes not.

    Args:
      samples: as they are stored.
      depth: bits of each.
      colour: kind of colour.
      chunks: (name, content) of chunks before the pixels.
    """
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    bits = (rows[..., None] >> np.arange(depth)[::-1]) & 1
    packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def saved(image, form, **how):
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def grey(values):
    """Return (height, width) as RGB."""
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def on_white(colours, alpha):
    """Return colours (..., 3) seen through alpha (...), both 0..255, on white."""
    share = np.asarray(alpha)[..., None] / 255
    return np.rint(np.asarray(colours) * share + 255 * (1 - share))


# Depths


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_any_depth_is_scaled_from_black_to_white(depth):
    most = 2**depth - 1
    samples = np.linspace(0, most, 64).astype(int).reshape(8, 8, 1)
    decoded = pixels(png(samples, depth=depth, colour=GREY))
    np.testing.assert_array_equal(decoded, grey(np.rint(samples[..., 0] * 255 / most)))


@pytest.mark.parametrize("depth", [8, 16])
def test_colours_of_8_and_16_bits_keep_their_upper_8(depth):
    samples = np.linspace(0, 2**depth - 1, 48).astype(int).reshape(4, 4, 3)
    decoded = pixels(png(samples, depth=depth, colour=RGB))
    np.testing.assert_array_equal(decoded, samples >> (depth - 8))


RAMP = np.linspace(0, 65535, 64).reshape(8, 8)


@pytest.mark.parametrize(
    "content",
    [
        lambda grey: saved(PIL.Image.fromarray(grey), "PNG"),
        lambda grey: saved(PIL.Image.fromarray(grey), "TIFF"),
        lambda grey: saved(PIL.Image.fromarray(grey), "TIFF", compression="tiff_lzw"),
        lambda grey: saved(PIL.Image.fromarray(grey.astype(">u2")), "TIFF"),
        lambda grey: saved(PIL.Image.fromarray(grey), "PPM"),
        lambda grey: b"P2 8 8 65535\n" + " ".join(map(str, grey.ravel())).encode(),
        lambda grey: saved(PIL.Image.fromarray(grey), "JPEG2000"),
    ],
    ids=["PNG", "TIFF", "packed TIFF", "big-endian TIFF", "PGM", "PGM in words", "JPEG 2000"],
)
def test_16_bits_of_grey_are_scaled_in_every_format(content):
    decoded = pixels(content(RAMP.astype(np.uint16)))
    np.testing.assert_array_equal(decoded, grey(np.rint(RAMP.astype(np.uint16) / 257)))


def test_a_pgm_of_10_bits_is_scaled_by_its_own_largest_number():
    decoded = pixels(b"P5 4 1 1023\n" + np.array([0, 341, 682, 1023], ">u2").tobytes())
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 85, 170, 255])


def tiff(samples, tags):
    """Return an uncompressed TIFF; a tag has a type (3: short, 4: long, 11: float) and a value."""
    height, width = samples.shape
    body = samples.tobytes()
    kinds = {3: "H", 4: "I", 11: "f"}
    tags = {
        256: (4, width), 257: (4, height), 258: (3, samples.dtype.itemsize * 8), 259: (3, 1),
        262: (3, 1), 273: (4, 8), 277: (3, 1), 278: (4, height), 279: (4, len(body)),
    } | tags  # fmt: skip
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack(f"<{kinds[kind]}", value).ljust(4, b"\0")
        for tag, (kind, value) in sorted(tags.items())
    )
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


FLOATS = (3, 3)  # SampleFormat of floating-point numbers
SIGNED = (3, 2)


def test_a_tiff_whose_zero_is_white_is_turned_over():
    decoded = pixels(tiff(RAMP.astype("<u2"), {262: (3, 0)}))
    np.testing.assert_array_equal(decoded, grey(np.rint(255 - RAMP.astype(np.uint16) / 257)))


def test_a_tiff_of_12_bits_is_scaled_from_4095():
    packed = np.frombuffer(bytes.fromhex("000555 aaafff".replace(" ", "")), np.uint8)
    samples = packed.reshape(1, -1)
    decoded = pixels(tiff(samples, {256: (4, 4), 258: (3, 12)}))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 85, 170, 255])


def test_numbers_of_a_tiff_with_a_range_are_scaled_by_it():
    values = np.array([[-1.0, 0.0, 1.0, 3.0]], "<f4")
    known = {339: FLOATS, 340: (11, -1.0), 341: (11, 1.0)}
    np.testing.assert_array_equal(pixels(tiff(values, known))[0, :, 0], [0, 128, 255, 255])
    signed = {339: SIGNED, 340: (11, -100.0), 341: (11, 155.0)}
    decoded = pixels(tiff(values.astype("<i2") * 50, signed))
    np.testing.assert_array_equal(decoded[0, :, 0], [50, 100, 150, 250])


def test_a_tiff_of_unsigned_numbers_keeps_its_whole_range_whatever_it_shows():
    shown = {340: (3, 1000), 341: (3, 2000)}  # what this image shows; others show other numbers
    decoded = pixels(tiff(np.array([[0, 1000, 2000, 65535]], "<u2"), shown))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 4, 8, 255])


UNKNOWN = {
    "floats": (tiff(np.ones((2, 2), "<f4"), {339: FLOATS}), "floating-point numbers"),
    "no range": (
        tiff(np.ones((2, 2), "<f4"), {339: FLOATS, 340: (11, 1.0), 341: (11, 1.0)}),
        "floating-point numbers",
    ),
    "signed": (tiff(np.ones((2, 2), "<i2"), {339: SIGNED}), "whole numbers"),
    "32 bits": (tiff(np.ones((2, 2), "<u4"), {}), "whole numbers"),
    "PFM": (b"Pf 1 1 -1\n" + bytes(4), "floating-point numbers"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_pixels_of_an_unknown_range_are_refused_with_what_to_do(kind):
    content, words = UNKNOWN[kind]
    source = encoded.Source(1, 1, lambda at: (content, 0), lambda at: "a.tif")
    message = rf"^a.tif is not read: its pixels are {words} .* save it with 8 or 16 bits .*, or let"
    with pytest.raises(data.DataError, match=message) as caught:
        encoded.load(source, 0, lambda image: image, skip_broken=False)
    assert "fetch" not in str(caught.value)


# Colours


COLOURS = np.array([[[255, 0, 0], [0, 128, 255], [9, 9, 9], [250, 251, 252]]], np.uint8)


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_a_palette_of_any_depth_gives_its_colours(depth):
    places = np.array([[[0], [1], [2], [3]]])
    palette = [(b"PLTE", COLOURS.tobytes())]
    decoded = pixels(png(places, depth=depth, colour=PALETTE, chunks=palette))
    np.testing.assert_array_equal(decoded, COLOURS)


def test_inks_and_luminance_become_the_colours_they_stand_for():
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]], np.uint8)
    seen = [[[255, 255, 255], [0, 255, 255], [255, 0, 0], [0, 0, 0]]]
    cmyk = PIL.Image.fromarray(inks, "CMYK")
    np.testing.assert_array_equal(pixels(saved(cmyk, "TIFF")), seen)
    flat = PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert abs(pixels(saved(flat, "JPEG", quality=95)).astype(int) - [255, 0, 0]).max() <= 3
    luminance = PIL.Image.fromarray(COLOURS).convert("YCbCr")
    result = pixels(saved(luminance, "TIFF")).astype(int)
    assert abs(result - COLOURS).max() <= 2


def test_lab_becomes_the_colours_it_stands_for():
    lab = PIL.Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8), "LAB")
    result = pixels(saved(lab, "TIFF")).astype(int)
    assert abs(result - [[[0, 0, 0], [255, 255, 255]]]).max() <= 2


def test_one_bit_is_black_and_white():
    bits = np.array([[True, False], [False, True]])
    for form in ("PNG", "TIFF", "BMP", "GIF"):
        np.testing.assert_array_equal(
            pixels(saved(PIL.Image.fromarray(bits), form)), grey(bits * 255)
        )


# Transparency


ALPHA = np.array([[0, 255, 128, 1]], np.uint8)
SEEN = on_white(COLOURS, ALPHA)


def with_alpha(colours=COLOURS):
    return np.concatenate([colours, ALPHA[..., None]], axis=2)


TRANSPARENT = {
    "RGBA": (saved(PIL.Image.fromarray(with_alpha()), "PNG"), SEEN),
    "RGBA of 16 bits": (png(with_alpha().astype(int) * 257, depth=16, colour=RGBA), SEEN),
    "WebP": (saved(PIL.Image.fromarray(with_alpha()), "WEBP", lossless=True), SEEN),
    "TIFF": (saved(PIL.Image.fromarray(with_alpha()), "TIFF"), SEEN),
    "grey": (
        saved(PIL.Image.fromarray(with_alpha()[..., 2:], "LA"), "PNG"),
        on_white(grey(COLOURS[..., 2]), ALPHA),
    ),
    "grey of 16 bits": (
        png(with_alpha()[..., 2:].astype(int) * 257, depth=16, colour=GREY_ALPHA),
        on_white(grey(COLOURS[..., 2]), ALPHA),
    ),
    "palette": (
        png(
            np.arange(4).reshape(1, 4, 1),
            depth=8,
            colour=PALETTE,
            chunks=[(b"PLTE", COLOURS.tobytes()), (b"tRNS", ALPHA.tobytes())],
        ),
        SEEN,
    ),
    "a colour": (
        png(
            COLOURS.astype(int), depth=8, colour=RGB,
            chunks=[(b"tRNS", struct.pack(">3H", *COLOURS[0, 0].tolist()))],
        ),
        on_white(COLOURS, [[0, 255, 255, 255]]),
    ),
    "a colour of 16 bits": (
        png(
            COLOURS.astype(int) * 257, depth=16, colour=RGB,
            chunks=[(b"tRNS", struct.pack(">3H", *(COLOURS[0, 1].astype(int) * 257).tolist()))],
        ),
        on_white(COLOURS, [[255, 0, 255, 255]]),
    ),
    "a grey of 16 bits": (
        png(
            np.array([[[0], [257], [65535]]]), depth=16, colour=GREY,
            chunks=[(b"tRNS", struct.pack(">H", 257))],
        ),
        grey([[0, 255, 255]]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_pixels_lie_on_white(kind):
    content, seen = TRANSPARENT[kind]
    np.testing.assert_allclose(pixels(content), seen, atol=1)


def test_a_gif_shows_white_where_it_is_transparent():
    image = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    decoded = pixels(saved(image, "GIF", transparency=0))
    assert decoded.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_colours_that_nobody_sees_do_not_count():
    clear = np.where(ALPHA[..., None] == 0, 77, COLOURS).astype(np.uint8)
    one, other = (
        pixels(saved(PIL.Image.fromarray(with_alpha(c)), "PNG")) for c in (COLOURS, clear)
    )
    np.testing.assert_array_equal(one, other)


def test_an_opaque_image_keeps_every_colour():
    samples = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    samples[..., 3] = 255
    decoded = pixels(saved(PIL.Image.fromarray(samples), "PNG"))
    np.testing.assert_array_equal(decoded, samples[..., :3])


def test_only_rgba_keeps_transparency_as_it_is():
    content = saved(PIL.Image.fromarray(with_alpha()), "PNG")
    np.testing.assert_array_equal(pixels(content, "RGBA"), with_alpha())
    assert pixels(content, "L").shape == (1, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_prepared_sets_are_decoded_by_the_same_rule(tmp_path, monkeypatch, channels):
    deep = saved(PIL.Image.fromarray(RAMP.astype(np.uint16)), "PNG")
    monkeypatch.setattr("test_data.png", lambda image: deep)
    images = np.zeros((6, 8, 8, channels), np.uint8)
    write_prepared(tmp_path, splits={"train": images, "test": images})
    settings = data.DataConfig(name="tfds:tiny", data_dir=str(tmp_path), validation=0)
    dataset = data.load(settings, seed=0)[1].train.images[0]
    np.testing.assert_array_equal(dataset[..., 0], np.rint(RAMP.astype(np.uint16) / 257))
    assert dataset.shape == (8, 8, channels)


# Orientation


UPRIGHT = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: image[::-1, ::-1],
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_are_turned_as_their_exif_says(form, orientation):
    corners = np.array([[[0, 0, 0], [200, 0, 0]], [[0, 200, 0], [0, 0, 200]], [[250] * 3] * 2])
    stored = corners.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(
        form, {}
    )
    content = saved(PIL.Image.fromarray(stored), form, exif=exif, **lossless)
    result = pixels(content).astype(int)
    seen = UPRIGHT[orientation](stored)
    assert result.shape == seen.shape
    assert abs(result - seen).max() <= (3 if form == "JPEG" else 0)


def test_an_orientation_that_cannot_be_read_turns_nothing():
    content = saved(PIL.Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(pixels(content), COLOURS)


# Sizes


@pytest.fixture
def small(monkeypatch):
    """Let Pillow warn from 100 pixels on, and decode 200 at most."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)


def sized(*sizes):
    contents = [saved(PIL.Image.new("RGB", size), "PNG") for size in sizes]
    return encoded.Source(len(sizes), 1, lambda at: (contents[at], 0), lambda at: f"{at}.png")


@pytest.mark.filterwarnings(HUGE)
def test_an_image_of_many_pixels_is_read_and_named(small):
    with pytest.warns(sources.DataWarning, match="^0.png has 15 x 10 pixels, more than the 100 of"):
        image, _ = encoded.load(sized((15, 10)), 0, np.asarray, skip_broken=False)
    assert image.shape == (10, 15, 3)


@pytest.mark.filterwarnings(HUGE)
def test_an_image_of_too_many_pixels_is_refused_with_its_size_and_the_limit(small):
    message = r"^0.png is not read: Image size \(300 pixels\) exceeds limit of 200 pixels; make it"
    with pytest.raises(data.DataError, match=message) as caught:
        encoded.load(sized((20, 15)), 0, np.asarray, skip_broken=False)
    assert str(caught.value).endswith("let `skip_broken` take the next image instead.")
    assert "broken:" not in str(caught.value)
    with pytest.warns(sources.DataWarning, match="^0.png is not read; in its place comes 1.png"):
        image, _ = encoded.load(sized((20, 15), (4, 3)), 0, np.asarray, skip_broken=True)
    assert image.shape == (3, 4, 3)


TRUNCATED = (
    "PNG",
    "JPEG",
    "GIF",
    "TIFF",
    "BMP",
    "WEBP",
    "PPM",
    "JPEG2000",
    "TGA",
    "PCX",
    "SGI",
    "QOI",
)


@pytest.mark.parametrize("form", TRUNCATED)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_image_of_any_format_is_broken(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    content = saved(PIL.Image.fromarray(noise), form)
    assert pixels(content).shape == (40, 50, 3)
    with pytest.raises(ValueError, match=r"\w") as caught:
        pixels(content[: int(len(content) * share)])
    assert not isinstance(caught.value, brightness.UnsupportedError)
