"""The page of figures: every kind has its command, its line and its picture, and can be drawn."""

import importlib.util
import pathlib
import re
import shlex

import pytest
from figure_checks import faults
from PIL import Image

from jaxlth import cli, studies
from jaxlth.plots import figures, theme
from jaxlth.studies import STUDIES

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/figures.md"
SCRIPT = ROOT / "docs/pictures/figures/draw.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("draw_figures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_has_every_kind_with_its_command_its_line_and_its_picture(name, script):
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    rows = re.findall(
        r"^\| `jaxlth figure --kind (\S+)` \| (.*) \| !\[.+\]\((.*)\) \|$", section, re.M
    )
    assert {kind: line for kind, line, _ in rows} == STUDIES[name].figures.help
    for kind, _, picture in rows:
        assert picture == f"pictures/figures/{name}-{kind}.png"
        file = PAGE.parent / picture
        assert file.stat().st_size < script.MOST
        with Image.open(file) as image:
            assert image.width in script.WIDTHS


def test_no_picture_is_of_a_kind_that_is_gone():
    there = {file.stem for file in SCRIPT.parent.glob("*.png")}
    assert there == {f"{name}-{kind}" for name in STUDIES for kind in STUDIES[name].figures.kinds}


@pytest.mark.slow
def test_the_script_draws_what_the_page_says(tmp_path, script, capsys):
    page = (
        "## imp\n\n```console\n$ jaxlth imp --levels 1 --epochs 0.2 \\\n    --replicates 1\n```\n"
    )
    page += "| `jaxlth figure --kind pixels` | line | |\n"
    (file,) = script.draw(tmp_path, page=page)
    assert file == tmp_path / "imp-pixels.png"
    (tmp_path / "small.png").write_bytes(script.thumbnail(file))
    assert (tmp_path / "small.png").stat().st_size < script.MOST
    with pytest.raises(SystemExit, match="jaxlth figure --kind tasks failed"):
        script.draw(tmp_path, page=page.replace("pixels", "tasks"))


@pytest.mark.slow
def test_the_first_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = PAGE.read_text().partition("## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", head, re.M | re.S)
    (block,) = re.findall(r"^```console\n(.*?)^```", head, re.M | re.S)
    exec(compile(code, str(PAGE), "exec"), {})
    for line in block.splitlines():
        assert cli.main(shlex.split(line, comments=True)[2:]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert {"accuracy.png", "training.png"} <= {file.name for file in run.iterdir()}
    assert (tmp_path / "accuracy.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_figures_of_the_page_have_no_faults_in_any_style(tmp_path, script):
    for run, words in script.commands(PAGE.read_text()):
        assert cli.main([*run, "--out", str(tmp_path / run[0])]) == 0
        (path,) = (tmp_path / run[0]).glob("*/settings.toml")
        results = studies.open(path.parent)
        for kind in (word[2] for word in words):
            for style in theme.STYLES:
                for page in figures.pages(results.plot(kind, style=style)):
                    assert faults(page) == [], (run[0], kind, style)
