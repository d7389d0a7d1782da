"""What every test shares: the CPU, two devices, no window, real data only where it is asked for."""

import collections
import contextlib
import gc
import hashlib
import os
import pathlib
import time
from collections.abc import Iterator

import pytest

from jaxlth.process import programs

# Before JAX and matplotlib are imported, and inherited by the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

# Tests compile the same programs again and again: each once is enough, for their processes too.
# A process of pytest-xdist inherits the folder of the process that started it, and has its own.
KEPT, PROGRAMS = programs.home("jaxlth-tests") / programs.kind(), None
if os.environ.get(programs.FOLDER) == os.environ.get("JAXLTH_TESTS_PROGRAMS"):
    PROGRAMS = programs.begin(KEPT)
if PROGRAMS is not None:
    os.environ[programs.FOLDER] = os.environ["JAXLTH_TESTS_PROGRAMS"] = str(PROGRAMS)
    os.environ |= {option.upper(): str(value) for option, value in programs.OPTIONS.items()}

import jax  # noqa: E402

# JAX keeps many objects of the programs that it has compiled. To look through them by the usual
# thresholds took 4 of the 85 seconds of a file of tests, by these 2.
gc.set_threshold(20_000, 20, 50)

# Two, so that any test can map over devices. Processes that tests start have one, as users do.
jax.config.update("jax_num_cpu_devices", 2)


# Compilation is half of what the default tests take; with these settings it takes half as long.
# As users compile: with `JAXLTH_TESTS_OPTIMIZED=1 pytest`, in slow tests, with other versions of
# JAX, and in all processes that tests start.
FAST_FLAGS = "--xla_cpu_use_fusion_emitters=false"  # later versions than JAX 0.10 end at it


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("JAXLTH_TESTS_OPTIMIZED") or jax.__version_info__[:2] != (0, 10):
        return
    starts_workers = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if config.option.markexpr == "not slow" and not starts_workers:
        compile_fast()


def compile_fast() -> None:
    """Have this process compile with few optimisations, but none that it starts."""
    jax.config.update("jax_disable_most_optimizations", True)
    flags = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{flags or ''} {FAST_FLAGS}"
    jax.devices()  # reads the flags
    if flags is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = flags


def optimize(all_of_them: bool) -> Iterator[None]:
    """Compile with all optimisations of LLVM, or with few, until it is told to go on."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", not all_of_them)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def optimized() -> Iterator[None]:
    """Compile with all optimisations of LLVM: for tests that compare two programs to the bit."""
    yield from optimize(True)


@pytest.fixture
def unoptimized() -> Iterator[None]:
    """Compile with few optimisations of LLVM: for tests of many programs and no numbers."""
    yield from optimize(False)


@pytest.fixture
def compiled() -> Iterator[list[float]]:
    """Return a list that gets the seconds of each compilation."""
    seconds = []

    def listen(name: str, duration: float, **_: object) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seconds
    jax.monitoring.unregister_event_duration_listener(listen)


# Files of few tests that take minutes: a process would work on the last of them alone.
FIRST = ("test_kills.py", "test_fuzz.py", "test_experiments.py", "test_benchmarks.py")


# All slow tests take longer than CI may: it gives a time after which none is begun, and a word by
# which the files are put in order, so that those left out at one commit come early at others.
UNTIL = os.environ.get("JAXLTH_TESTS_UNTIL", "")  # seconds of the epoch
TURN = os.environ.get("JAXLTH_TESTS_TURN", "")


@pytest.hookimpl(trylast=True)  # of the tests that are not deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = collections.Counter(item.path for item in items)

    def place(item: pytest.Item) -> object:
        name = item.path.name
        if TURN:
            return hashlib.sha256(f"{TURN} {name}".encode()).digest()
        return FIRST.index(name) if name in FIRST else len(FIRST), -tests[item.path]

    items.sort(key=place)
    if os.environ.get("JAXLTH_DATA"):
        return
    skip = pytest.mark.skip(reason="needs real data sets; set JAXLTH_DATA to their directory")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if UNTIL and time.time() > float(UNTIL):
        pytest.skip(f"NO TIME LEFT for {item.path.name}: `pytest -m slow` runs it")  # by file


def pytest_sessionfinish() -> None:
    if PROGRAMS is not None:
        programs.end(KEPT, PROGRAMS)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    is_last = nextitem is None or nextitem.path != item.path
    if PROGRAMS is not None and is_last:
        programs.share(KEPT, PROGRAMS)
    if item.get_closest_marker("slow") or is_last:
        release_programs()


def release_programs(limit: int = 20_000) -> None:
    """Let go of all compiled programs once they take more than `limit` mappings of memory.

    Linux ends a process that asks for more than 65,530 of them by a segmentation fault, and each
    program takes three or more. Programs that are needed again come from the kept ones.
    """
    with contextlib.suppress(OSError), open("/proc/self/maps") as mappings:
        if sum(1 for _ in mappings) > limit:
            jax.clear_caches()


@pytest.fixture
def real_data() -> pathlib.Path:
    """The directory of real data sets; only for tests marked `data`."""
    return pathlib.Path(os.environ["JAXLTH_DATA"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run with two networks, those of `tiny.COMMAND`."""
    import tiny

    from jaxlth import cli, store

    out = tmp_path_factory.mktemp("runs")
    assert cli.main([*tiny.COMMAND, "--out", str(out)]) == 0
    (info,) = store.runs(out)
    return info.path


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give networks a quarter of their widths or less, ResNet-20 8 layers, transformers 2 blocks.

    For tests of what does not depend on sizes, such as what a score promises or a script draws.
    """
    from jaxlth import models
    from jaxlth.models import conv, vgg
    from jaxlth.models.resnet import ResNet
    from jaxlth.models.transformer import GPT, ViT

    def resnet_8(config, classes, layers):
        return ResNet((1, 1, 1), 8, classes, layers)

    def vit(config, classes, layers):
        return ViT(width=24, blocks=2, heads=3, ratio=2, classes=classes, layers=layers)

    def gpt(config, classes, layers):
        return GPT(width=32, blocks=2, heads=4, ratio=4, classes=classes, layers=layers)

    monkeypatch.setattr(conv, "CHANNELS", 16)
    monkeypatch.setattr(conv, "DENSE", (64, 64))
    monkeypatch.setattr(vgg, "CHANNELS", (8, 16, 32, 64, 64))
    for name, make in {"resnet-20": resnet_8, "vit-tiny": vit, "gpt-mini": gpt}.items():
        monkeypatch.setitem(models.MODELS, name, make)
