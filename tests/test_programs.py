"""Compiled programs are kept for later processes, whatever ends a process."""

import os
import subprocess
import sys
import zlib

import pytest
import tiny

from jaxlth.process import programs

# Compile a program in a process of its own and tell how many came from the kept ones.
COMPILE = """
import os, pathlib, signal, sys
import jax, jax.monitoring
from jaxlth.process import programs

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("cache_hits")))
programs.keep(pathlib.Path(sys.argv[1]))
jax.jit(lambda x: x * x + 3)(jax.numpy.ones(7))
print(sum(hits), flush=True)
if sys.argv[2:] == ["killed"]:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def compile_in_a_process(at, *words, code=0, **environment):
    kept = {name: value for name, value in os.environ.items() if name != programs.FOLDER}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(at), *words],
        capture_output=True,
        text=True,
        env=kept | environment,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "keeps"), [([], True), (["--no-keep-programs"], False)])
def test_a_command_keeps_its_programs_unless_told_not_to(tmp_path, words, keeps):
    environment = {name: value for name, value in os.environ.items() if name != programs.FOLDER}
    command = [*tiny.COMMAND, *words, "--out", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "jaxlth", *command],
        capture_output=True,
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "jaxlth").exists() == keeps
    assert not keeps or kept(tmp_path / "jaxlth")


def kept(at):
    return {path.name for path in (at / programs.kind()).iterdir()}


def test_a_second_process_compiles_nothing(tmp_path):
    assert compile_in_a_process(tmp_path) == 0
    names = kept(tmp_path)
    assert names
    assert not any(name.startswith(programs.PROCESS) for name in names)
    assert compile_in_a_process(tmp_path) >= 1
    assert kept(tmp_path) == names


def test_programs_of_a_killed_process_are_kept_by_the_next_if_they_are_whole(tmp_path):
    compile_in_a_process(tmp_path, "killed", code=-9)
    (left,) = (path for path in (tmp_path / programs.kind()).iterdir())
    whole = {path.name for path in left.iterdir()}
    (left / "jit_broken-cache").write_bytes(next(left.iterdir()).read_bytes()[:-20])
    assert compile_in_a_process(tmp_path) >= 1
    assert kept(tmp_path) == whole


def test_a_cache_of_jax_that_the_user_has_set_is_used_instead(tmp_path):
    own = tmp_path / "own"
    compile_in_a_process(tmp_path / "ours", **{programs.FOLDER: str(own)})
    assert not (tmp_path / "ours").exists()


def test_where_nothing_can_be_kept_programs_are_compiled(tmp_path):
    (tmp_path / "file").touch()
    assert compile_in_a_process(tmp_path / "file") == 0


def test_those_used_least_recently_go_first(tmp_path):
    folder = tmp_path / "jax-1"
    folder.mkdir()
    for age, name in enumerate(["new", "older", "oldest"]):
        (folder / name).write_bytes(bytes(10))
        os.utime(folder / name, (1000 - age, 1000 - age))
    programs.bound(tmp_path, limit=25)
    assert {path.name for path in folder.iterdir()} == {"new", "older"}
    programs.bound(tmp_path, limit=5)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("home", ["relative/cache", ""])
def test_a_cache_folder_that_is_not_absolute_is_passed_over(monkeypatch, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    assert programs.home("jaxlth").is_absolute()


def test_processes_that_share_have_each_others_programs_and_only_whole_ones(tmp_path):
    one, other = programs.begin(tmp_path / "jax-1"), programs.begin(tmp_path / "jax-1")
    assert one is not None
    assert other is not None
    (one / "program").write_bytes(zlib.compress(b"a program"))
    (one / "broken").write_bytes(zlib.compress(b"another program")[:-3])
    programs.share(tmp_path / "jax-1", one)
    programs.share(tmp_path / "jax-1", other)
    assert [path.name for path in other.iterdir()] == ["program"]
    programs.end(tmp_path / "jax-1", one)
    programs.end(tmp_path / "jax-1", other)
    assert [path.name for path in (tmp_path / "jax-1").iterdir()] == ["program"]


def test_folders_of_machines_whose_names_begin_alike_are_left_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(programs.platform, "node", lambda: "node")
    others = ["process-node-login-1-abc", "process-node-999999-999998-abc", "process-node2-1-abc"]
    for name in [*others, "process-node-999999-abc"]:  # a process that is not there
        (tmp_path / name).mkdir()
    programs.tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
