"""The pages of documentation: their code, the commands that they name, and their links."""

import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
README, FUNCTIONS, STUDIES = (
    ROOT / name for name in ("README.md", "docs/functions.md", "docs/studies.md")
)
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> list[str]:
    """Return the lines of the shell blocks; a line that ends with a backslash goes on below."""
    joined = (block.replace("\\\n", " ") for block in blocks(text, "sh"))
    return [" ".join(line.split()) for block in joined for line in block.splitlines()]


def commands(text: str) -> list[str]:
    """Return the lines of the shell blocks, and the commands within sentences and tables."""
    return shell_lines(text) + re.findall(r"`((?:jaxlth|python) [^`]+)`", text)


def command(page: pathlib.Path, start: str) -> list[str]:
    """Return the first command of a page that starts so, in words after `jaxlth`."""
    lines = [line for line in shell_lines(page.read_text()) if line.startswith(f"jaxlth {start}")]
    return shlex.split(lines[0])[1:]


def links(text: str) -> set[str]:
    """Return the targets of the links and pictures, their anchors left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    targets += re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    return {target.split("#")[0] for target in targets} - {""}


def jaxlth(*arguments: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the library in a process of its own, where warnings are errors."""
    code = "import sys; from jaxlth.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
