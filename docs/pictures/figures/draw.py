"""Draw the thumbnails of docs/figures.md: run the commands of the page, and make pictures small.

    python docs/pictures/figures/draw.py

The page is read section by section: a section's first block of commands makes a run, and each
`jaxlth figure` of its table a figure of it, which becomes STUDY-KIND.png beside this file.
"""

import io
import itertools
import pathlib
import re
import shlex
import tempfile
from collections.abc import Iterator

from PIL import Image

from jaxlth import cli

FOLDER = pathlib.Path(__file__).resolve().parent
PAGE = FOLDER.parents[1] / "figures.md"
WIDTHS = (400, 300)  # pixels; the second where the first makes too large a file
MOST = 40_000  # bytes


def commands(page: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the words of the command of each run, and those of the figures drawn of it."""
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        run = re.search(r"^```console\n\$ jaxlth (.*?)^```", section, re.MULTILINE | re.DOTALL)
        figures = re.findall(r"`jaxlth (figure --kind [^`]*)`", section)
        if run and figures:
            yield shlex.split(run[1].replace("\\\n", " ")), list(map(shlex.split, figures))


def draw(out: pathlib.Path, *more: str, page: str = "") -> list[pathlib.Path]:
    """Make the runs and draw the figures of the page, and return the files.

    Args:
      out: folder of both.
      *more: further options of each `jaxlth figure`.
      page: text of the page; that of docs/figures.md if empty.
    """
    files = []
    for run, figures in commands(page or PAGE.read_text()):
        where = ["--out", str(out / run[0])]
        if cli.main([*run, *where]):
            raise SystemExit(f"jaxlth {shlex.join(run)} failed")
        for words in figures:
            file = out / f"{run[0]}-{words[2]}.png"
            if cli.main([*words, *where, "--file", str(file), *more]):
                raise SystemExit(f"jaxlth {shlex.join(words)} failed")
            files.append(file)
    return files


def thumbnail(file: pathlib.Path) -> bytes:
    """Return a picture as a small PNG of few colours."""
    for width, colors in itertools.product(WIDTHS, (128, 32, 16)):
        with Image.open(file) as image:
            height = round(image.height * width / image.width)
            small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        method = Image.Quantize.MAXCOVERAGE  # it keeps the colours of thin lines
        small = small.quantize(colors, method=method, dither=Image.Dither.NONE)
        small.save(buffer, "png", optimize=True)
        if buffer.tell() < MOST:
            return buffer.getvalue()
    raise ValueError(f"{file.name} does not become small enough.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for drawn in draw(pathlib.Path(folder)):
            (FOLDER / drawn.name).write_bytes(thumbnail(drawn))
