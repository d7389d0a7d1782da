"""What README says to type does what it says, and what the pages name exists."""

import re
import runpy
import tomllib

import numpy as np
import pages
import pytest
from PIL import Image

from jaxlth.cli import commands as command_classes
from jaxlth.cli import options

README = pages.README.read_text()
TEXTS = {page: page.read_text() for page in (pages.README, pages.FUNCTIONS, pages.STUDIES)}
PAPERS = [*sorted((pages.ROOT / "docs" / "papers").glob("*.md")), pages.ROOT / "docs" / "speed.md"]
COMMANDS = [
    line
    for text in (*TEXTS.values(), *(page.read_text() for page in PAPERS))
    for line in pages.commands(text)
]
TABLE = re.search(r"```\n(level .*?)```", README, re.DOTALL)[1]
PICTURES = ("accuracy.png", "instability.png")
NUMBER = r"\d+\.?\d*"


def draw():
    return runpy.run_path(str(pages.ROOT / "docs" / "pictures" / "draw_readme.py"))


# ---- what is named


def test_the_readme_is_short_and_lines_are_narrow():
    assert len(README.splitlines()) <= 150
    for text in TEXTS.values():
        assert max(map(len, text.splitlines())) < 120


def test_the_five_papers_are_named():
    section = README.split("## The five papers")[1].split("\n## ")[0]
    papers = re.findall(r"^\* .*?(?=^\* |\Z)", section, re.MULTILINE | re.DOTALL)
    authors = ("Frankle", "Burger", "Lutz", "Bolwerk", "Rolfs")
    assert len(papers) == 5
    for paper, author in zip(papers, authors, strict=True):
        assert author in paper
        title = re.search(r"\[(.*?)\]\[|\*(\S.*?)\*,", paper, re.DOTALL)
        cited = " ".join(next(filter(None, title.groups())).split())
        assert cited in (pages.ROOT / "CITATION.cff").read_text()
        assert title[1] or "We know of no public copy." in paper  # a link, or why there is none


def test_every_command_that_is_named_exists():
    named = {
        match
        for line in COMMANDS
        for match in re.findall(r"(?<!from )\bjaxlth ([a-z-]+)(?![\w/-])", line)
    }
    assert named
    assert named <= set(command_classes.by_name())


def test_every_option_of_a_command_exists():
    table, checked = command_classes.by_name(), 0
    for line in COMMANDS:
        words = line.split()
        if words[0] == "jaxlth" and len(words) > 1 and words[1] in table:
            given = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
            assert given - {"--help"} <= set(options.names(table[words[1]])), line
            checked += len(given)
    assert checked > 40


def test_every_file_that_is_named_exists():
    named = {match for line in COMMANDS for match in re.findall(r"python (\S+\.py)", line)}
    assert named
    assert all((pages.ROOT / name).exists() for name in named)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    targets = {target for target in pages.links(TEXTS[page]) if "://" not in target}
    assert targets
    for target in targets:
        file = (page.parent / target).resolve()
        assert file.exists(), target


def test_every_page_of_the_docs_is_reached_from_the_readme():
    reached = {(pages.ROOT / target).resolve() for target in pages.links(README)}
    own = ("functions", "studies", "toolbox", "own_network", "own_study", "concepts", "figures")
    own += ("report_page", "comparison", "command_line")
    assert {pages.ROOT / "docs" / f"{name}.md" for name in own} <= reached
    assert set(pages.NOTEBOOKS) <= reached


# ---- the first command, its table and its picture


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The folder in which `jaxlth imp` has run, and what it printed."""
    folder = tmp_path_factory.mktemp("first")
    done = pages.jaxlth("imp", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def numbers(text: str) -> np.ndarray:
    return np.array([float(number) for number in re.findall(NUMBER, text)])


@pytest.mark.slow
def test_the_first_command_finds_tickets_and_the_second_time_computes_nothing(first_run):
    folder, printed = first_run
    assert "matches the dense network" in printed
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}
    assert len(files) == 3 * (1 + 10 * 3)
    second = pages.jaxlth("imp", cwd=folder)
    assert second.stdout == printed
    assert "steps/s" not in second.stderr
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}


def sentence(text: str) -> str:
    """Return how the summary begins; how far down tickets match differs between processors."""
    return re.search(r"Winning tickets .*?(?= down to)", " ".join(text.split()))[0]


@pytest.mark.slow
def test_the_table_of_the_readme_is_the_one_that_is_printed(first_run):
    shown = TABLE.split("Winning tickets")[0].splitlines()
    printed = [line.rstrip() for line in first_run[1].splitlines()][: len(shown)]
    lines = [*zip(printed, shown, strict=True), (sentence(first_run[1]), sentence(TABLE))]
    for ours, theirs in lines:  # another processor rounds otherwise
        assert re.sub(NUMBER + r"|[*\s]", "", ours) == re.sub(NUMBER + r"|[*\s]", "", theirs)
        np.testing.assert_allclose(numbers(ours), numbers(theirs), atol=1.2)
    assert numbers(printed[2])[:2].tolist() == [0, 100]
    assert sentence(TABLE).startswith("Winning tickets match the dense network")


@pytest.mark.slow
def test_the_picture_is_the_one_that_the_first_command_draws(first_run, tmp_path):
    (figure,) = first_run[0].rglob("accuracy.png")
    draw()["shrink"](figure, tmp_path / "small.png")
    assert_like_committed(tmp_path / "small.png", "accuracy.png")


def assert_like_committed(picture, name):
    assert picture.stat().st_size < 100_000
    with Image.open(picture) as drawn, Image.open(pages.ROOT / "docs/pictures" / name) as committed:
        assert drawn.size == committed.size
        difference = np.asarray(drawn.convert("L"), int) - np.asarray(committed.convert("L"), int)
    assert np.abs(difference).mean() < 12  # of 255


def test_the_pictures_are_small_and_shown():
    assert {f"docs/pictures/{name}" for name in PICTURES} <= pages.links(README)
    for name in PICTURES:
        assert 10_000 < (pages.ROOT / "docs" / "pictures" / name).stat().st_size < 100_000


def test_pictures_are_drawn_by_the_commands_of_the_readme():
    script = draw()
    assert tuple(script["PICTURES"].values()) == PICTURES
    assert script["command_for"]("accuracy.png") == ["jaxlth", "imp"]
    told = script["command_for"]("instability.png")
    assert told[1:] == pages.command(pages.README, "instability")


# ---- the other command and the example


@pytest.mark.slow
def test_the_command_for_instability_finds_what_the_readme_says(tmp_path):
    done = pages.jaxlth(*pages.command(pages.README, "instability"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "dense is stable from step 10 on" in told
    assert "ticket at 51.2 % is stable from step 0 on" in told
    assert "random at 51.2 % is stable at none" in told
    (figure,) = tmp_path.rglob("instability.png")
    draw()["shrink"](figure, tmp_path / "small.png")
    assert_like_committed(tmp_path / "small.png", "instability.png")


@pytest.mark.slow
def test_the_example_with_parts_of_ones_own_runs(tmp_path, monkeypatch, capsys):
    (code,) = pages.blocks(README, "python")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    weights = names["results"].table()["kept"].unique().tolist()
    assert weights == [8 * 16 + 16 * 3, 141, 113, 90]
    assert "51.1 %" in capsys.readouterr().out
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    assert sum(int(leaf["kernel"].sum()) for leaf in names["ticket"].mask.values()) == 90
    outputs = names["Net"]().apply({"params": names["trained"]}, names["x"])
    right = np.argmax(outputs[300:], axis=1) == names["y"][300:]
    assert (
        np.mean(right)
        == names["results"]
        .table()
        .query("level == 3 and control == 'ticket'")["test_accuracy"]
        .item()
    )
    (call,) = re.findall(r"`(results\.report\(.*?\))`", README)
    exec(call, names)
    assert (tmp_path / "run.html").stat().st_size > 1_000_000


def test_every_extra_that_is_named_exists():
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    texts = [README, *(page.read_text() for page in (pages.ROOT / "docs").rglob("*.md"))]
    named = {extra for text in texts for extra in re.findall(r"(?:\.|jaxlth)\[(\w+)\]", text)}
    assert {"tpu", "report", "gcs", "tensorflow"} <= named <= set(project["optional-dependencies"])
