"""Programs at a bucket: another machine finds them, they are bounded, they never end a run."""

import zlib

import buckets  # noqa: F401, it makes pail:// known
import jax
import pytest

from jaxlth import store
from jaxlth.process import programs
from jaxlth.store import bucket, bucket_programs

OUT = "pail://bucket/runs"
PROGRAM = zlib.compress(b"a program")


@pytest.fixture(autouse=True)
def pail(tmp_path, monkeypatch):
    folder = tmp_path / "pail"
    folder.mkdir()
    monkeypatch.setenv("PAIL", str(folder))


@pytest.fixture
def machine(tmp_path):
    """Go on at a machine without programs; return the folder of its process."""
    before = jax.config.jax_compilation_cache_dir

    def go_on(name):
        folder = programs.begin(tmp_path / name / programs.kind())
        jax.config.update("jax_compilation_cache_dir", str(folder))
        return folder

    yield go_on
    jax.config.update("jax_compilation_cache_dir", before)


def at_bucket():
    return set(bucket.listing(bucket.connect(f"{OUT}/{bucket_programs.FOLDER}")))


def test_what_one_machine_compiles_another_finds(machine):
    folder = machine("first")
    kept = store.BucketPrograms(OUT)
    kept.fetch()
    (folder / "program").write_bytes(PROGRAM)
    (folder / "half").write_bytes(PROGRAM[:-3])
    kept.push()
    assert at_bucket() == {f"{programs.kind()}/program"}
    folder = machine("second")
    kept = store.BucketPrograms(OUT)
    kept.fetch()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"program": PROGRAM}
    (folder / "later").write_bytes(PROGRAM)
    kept.push()
    assert at_bucket() == {f"{programs.kind()}/{name}" for name in ("program", "later")}
    assert [info.path for info in store.runs(OUT)] == []


def test_what_does_not_fit_stays_away_and_other_versions_go_first(machine, monkeypatch):
    monkeypatch.setattr(programs, "LIMIT", 2 * len(PROGRAM))
    place = bucket.connect(f"{OUT}/{bucket_programs.FOLDER}")
    for name in ("a", "b"):
        bucket.write(bucket.below(place, "jax-0.1"), name, PROGRAM)
    folder = machine("first")
    for name in ("one", "two", "three"):
        (folder / name).write_bytes(PROGRAM)
    store.BucketPrograms(OUT).push()
    assert len(at_bucket()) == 2
    assert all(name.startswith(programs.kind()) for name in at_bucket())


def test_a_bucket_that_refuses_stops_nothing(machine, monkeypatch):
    folder = machine("first")
    (folder / "program").write_bytes(PROGRAM)
    monkeypatch.setenv("PAIL", "/proc/nowhere")
    kept = store.BucketPrograms(OUT)
    kept.fetch()
    kept.push()


def test_without_a_bucket_or_kept_programs_nothing_is_copied(machine, tmp_path):
    folder = machine("first")
    (folder / "program").write_bytes(PROGRAM)
    store.BucketPrograms(tmp_path).push()
    jax.config.update("jax_compilation_cache_dir", None)
    store.BucketPrograms(OUT).push()
    assert at_bucket() == set()
