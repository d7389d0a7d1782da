"""The page on pruning in any training loop: every block of it runs, in order."""

import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "toolbox.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
DENSITIES = {"magnitude": 0.25, "gradual": 0.25, "RigL": 0.25, "2:4": 0.5, "channels": 0.5}


@pytest.mark.slow
def test_every_way_to_prune_works_in_the_same_loop_on_three_libraries(capsys):
    names = {}
    for code in BLOCKS:
        exec(compile(code, str(PAGE), "exec"), names)
    for table in (names["linen"], names["nnx_table"], names["equinox"]):
        assert {name: round(density, 2) for name, (density, _) in table.items()} == DENSITIES
        assert all(accuracy > 0.8 for _, accuracy in table.values())
