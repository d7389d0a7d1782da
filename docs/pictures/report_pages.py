"""Make the pictures of docs/report_page.md: small runs, their pages, what a browser shows of them.

    python docs/pictures/report_pages.py RUNS

It runs the commands of that page with `--out RUNS`, which train nothing a second time, and writes
the pictures beside this file. It needs the extra `test`, Debian's chromium, and the files of MNIST
in $JAXLTH_DATA.
"""

import pathlib
import re
import shlex
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

import browser_pages  # noqa: E402

from jaxlth import cli  # noqa: E402

LARGEST = 200_000  # bytes of a picture
PICTURES = {  # name -> (page, width in pixels, scheme, height in pixels or None for the whole)
    "report_imp": ("imp", 1600, "light", None),
    "report_mnist": ("mnist", 1600, "light", None),
    "report_prune_early": ("prune-early", 1600, "light", None),
    "report_instability": ("instability", 1600, "dark", None),
    "report_separation": ("separation", 1600, "light", None),
    "report_narrow": ("imp", 400, "dark", 1500),
    "report_two_runs": ("two", 1600, "dark", 1500),
}


def commands(out: str) -> list[list[str]]:
    """Return the words of the commands of the page, run and report in a folder."""
    text = (HERE.parent / "report_page.md").read_text()
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = [shlex.split(line)[1:] for line in block[1].splitlines() if line.startswith("jaxlth")]
    return [[*words, "--out", out] for words in lines]


def main(out: str) -> None:
    """Run the commands in a folder, and write the pictures."""
    for words in commands(out):
        if "--file" in words:
            place = words.index("--file") + 1
            words[place] = str(pathlib.Path(out) / words[place])
        assert cli.main(words) == 0, words
    with browser_pages.browser() as driver:
        for name, (page, width, scheme, height) in PICTURES.items():
            file = HERE / f"{name}.png"
            look = {"width": width, "scheme": scheme, "height": height}
            browser_pages.photograph(driver, pathlib.Path(out) / f"{page}.html", file, **look)
            size = file.stat().st_size
            print(f"{file.name}: {size:,} bytes")
            assert size <= LARGEST, file


if __name__ == "__main__":
    main(*sys.argv[1:])
