"""The page on pruning in any training loop: every block of it runs, in order."""

import pathlib
import re

import jax
import numpy as np
import pytest

from jaxlth import data, graphs, landscape, masks, models, prune, scores, studies

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "toolbox.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
MODULES = (data, graphs, landscape, masks, models, prune, scores, studies)
SIZES = {"conv": 72, "dense": 128 * 32, "last": 320}


@pytest.mark.slow
def test_every_way_to_prune_works_in_the_same_loop_on_three_libraries(capsys):
    names = {}
    for code in BLOCKS:
        exec(compile(code, str(PAGE), "exec"), names)
    for table, axis in ((names["linen"], -1), (names["nnx_table"], -1), (names["equinox"], 0)):
        assert all(accuracy > 0.8 for _, accuracy in table.values())
        kept = {name: int(masks.kept(mask)) for name, (mask, _) in table.items()}
        units = [
            np.moveaxis(np.asarray(leaf), axis, 0).reshape(leaf.shape[axis], -1).any(axis=1)
            for leaf in jax.tree.leaves(table["channels"][0])
        ]
        assert sum(map(np.sum, units)) == (8 + 32) // 2
        assert kept["2:4"] == SIZES["conv"] + (SIZES["dense"] + SIZES["last"]) // 2
        assert {kept[name] for name in ("magnitude", "gradual", "RigL")} == {
            round(sum(SIZES.values()) / 4)
        }


def test_the_comparison_names_every_study_and_says_how_many_there_are():
    text = (PAGE.parent / "comparison.md").read_text()
    functions = {f"studies.{name.replace('-', '_')}" for name in studies.STUDIES}
    assert functions <= set(re.findall(r"`(studies\.\w+)`", text))
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    assert f"| `studies.imp` and {words[len(functions) - 1]} others |" in text


@pytest.mark.parametrize(("page", "least"), [("toolbox", 6), ("comparison", 30)])
def test_every_name_of_the_page_exists(page, least):
    text = (PAGE.parent / f"{page}.md").read_text()
    modules = {module.__name__.split(".")[1]: module for module in MODULES}
    names = set(re.findall(rf"`({'|'.join(modules)})\.(\w+)`", text))
    assert len(names) >= least
    assert [name for name in names if not hasattr(modules[name[0]], name[1])] == []
