"""Draw the pictures of README.md by its own commands.

    python docs/pictures/draw_readme.py RUNS

Runs the commands of the README that draw something, with `--out RUNS`, and writes their figures
beside this file, in at most 128 colours, so that they are small. Runs that are complete in `RUNS`
are only drawn. It takes three minutes on two cores.
"""

import pathlib
import re
import shlex
import sys

from PIL import Image

from jaxlth import cli, store

FOLDER = pathlib.Path(__file__).resolve().parent
README = FOLDER.parents[1] / "README.md"
PICTURES = {"jaxlth imp": "accuracy.png", "jaxlth instability": "instability.png"}


def command_for(picture: str) -> list[str]:
    """Return the command of the README that draws a picture, in words."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    commands = [block.replace("\\\n", " ").strip() for block in blocks]
    (command,) = [line for line in commands if PICTURES.get(" ".join(line.split()[:2])) == picture]
    return shlex.split(command)


def shrink(source: pathlib.Path, target: pathlib.Path) -> None:
    """Write a PNG file with at most 128 colours."""
    with Image.open(source) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


def main(runs: str) -> int:
    """Run the commands and write the pictures. Returns an exit code."""
    for picture in PICTURES.values():
        _, study, *options = command_for(picture)
        out = pathlib.Path(runs) / study
        if code := cli.main([study, *options, "--out", str(out)]):
            return code
        (run,) = store.runs(out)
        shrink(run.path / picture, FOLDER / picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
