"""Pages whose examples run, block by block in order, as a reader types them."""

import pathlib
import re
import shlex
import sys

import pytest

from jaxlth import cli

DOCS = pathlib.Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(python|sh)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBERS = {"get_started": (2, 5), "add_a_score": (2, 2), "large_data": (2, 1)}  # of what runs


def commands(code: str) -> list[str]:
    """Return the commands of a block, each of one line."""
    return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("page", NUMBERS)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names, count = {}, [0, 0]
    for kind, file, code in BLOCK.findall((DOCS / f"{page}.md").read_text()):
        if file:
            with pathlib.Path(file).open("a") as stream:
                stream.write(code)
        elif kind == "python":
            exec(compile(code, f"{page}.md", "exec"), names)
            count[0] += 1
        else:
            for command in commands(code):
                program, *arguments = shlex.split(command)
                assert program == "jaxlth", command
                assert cli.main(arguments) == 0, command
                count[1] += 1
    sys.modules.pop("relative", None)
    assert tuple(count) == NUMBERS[page]
    printed = capfd.readouterr().out
    if page == "get_started":
        assert "16.8 % of the weights are kept" in printed
    if page == "add_a_score":
        assert "own-relative" in printed
        assert "\n50\n" in printed


@pytest.mark.slow
def test_the_pictures_of_the_concepts_show_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "pictures"))
    import draw

    data, test = draw.digits()
    start = draw.init(draw.jax.random.key(0))
    dense = draw.train(start, draw.masks.dense(start), data)
    levels = draw.tickets(dense, data)
    errors = [float(draw.error(training.end, test)) for _, training in levels]
    assert min(errors[1:5]) < errors[0] < errors[-1]  # better at first, too few at last
    barriers = []
    for step in (0, draw.REWIND_STEP):
        first, second = (twin.end for twin in draw.twins(dense, data, step))
        along = draw.landscape.errors_along(lambda p: draw.error(p, test), first, second, points=31)
        barriers.append(float(draw.landscape.barrier(along)))
    assert barriers[0] > 0.08
    assert barriers[1] < 0.03
    mask, ticket = levels[1]
    rewound = draw.masks.apply(dense.at(draw.REWIND_STEP), mask)
    assert draw.jax.tree.all(
        draw.jax.tree.map(lambda a, b: bool((a == b).all()), ticket.at(draw.REWIND_STEP), rewound)
    )


def test_every_picture_of_the_concepts_is_drawn_by_the_script():
    shown = set(re.findall(r"\]\(pictures/(\w+)\.png\)", (DOCS / "concepts.md").read_text()))
    script = (DOCS / "pictures" / "draw.py").read_text()
    drawn = set(re.findall(r'^        "(\w+)": draw_', script, re.MULTILINE))
    assert shown == drawn
    assert len(shown) == 5
