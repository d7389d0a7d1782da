"""What every test shares: the CPU, two devices, no window, real data only where it is asked for."""

import os
import pathlib

import pytest

# Before JAX and matplotlib are imported, and inherited by the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax

# Two, so that any test can map over devices. Processes that tests start have one, as users do.
jax.config.update("jax_num_cpu_devices", 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("JAXLTH_DATA"):
        return
    skip = pytest.mark.skip(reason="needs real data sets; set JAXLTH_DATA to their directory")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture
def real_data() -> pathlib.Path:
    """The directory of real data sets; only for tests marked `data`."""
    return pathlib.Path(os.environ["JAXLTH_DATA"])
