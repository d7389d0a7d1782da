"""All studies store what they stored before, to the bit."""

import json
import pathlib
import subprocess
import sys

import bits
import jax
import numpy as np
import pytest

from jaxlth.process import programs

QUICK = ("imp-rewinding", "separation")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in bits.CASES if name not in QUICK]


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_a_study_stores_the_same_networks_masks_and_records(name):
    digests, numbers = stored(name)
    known = bits.known(name)
    assert numbers.keys() == known["numbers"].keys()
    if programs.kind() in known["digests"]:
        assert digests == known["digests"][programs.kind()]
    else:  # another version of JAX or processor rounds in another way
        for artifact, record in numbers.items():
            assert record == pytest.approx(known["numbers"][artifact], rel=0.1, nan_ok=True)


def stored(name):
    """Return `bits.stored`, of programs that are compiled as users compile them."""
    if not jax.config.values["jax_disable_most_optimizations"]:
        return bits.stored(name)
    code = f"import bits, jax, json; jax.config.update('jax_num_cpu_devices', 2); \
        print(json.dumps(bits.stored({name!r})))"
    folder = pathlib.Path(bits.__file__).parent
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def test_every_case_is_kept():
    assert {path.stem for path in bits.FOLDER.iterdir()} == set(bits.CASES)
    assert all(bits.known(name)["digests"] for name in bits.CASES)


def test_a_checksum_depends_on_names_types_shapes_and_values():
    tree = {"a": np.zeros(4, np.float32)}
    others = (
        {"b": tree["a"]},
        {"a": np.zeros(4, np.int32)},
        {"a": np.zeros((2, 2), np.float32)},
        {"a": np.float32([0, 0, 0, -0.0])},
    )
    assert bits.checksum(tree) == bits.checksum({"a": np.zeros(4, np.float32)})
    assert bits.checksum(tree) not in {bits.checksum(other) for other in others}
