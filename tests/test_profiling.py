"""`--profile`: a trace of a part of the training, and nothing else differs."""

import gzip
import json

import pytest
import tiny

from jaxlth import cli


@pytest.mark.slow
def test_a_trace_has_the_steps_between_two_evaluations(tmp_path):
    words = [*tiny.COMMAND, "none", "--levels", "0", "--evaluate-every", "5"]
    tiny.printed(*words, "--out", tmp_path / "runs", "--profile", tmp_path / "trace")
    (trace,) = (tmp_path / "trace").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    names = {event.get("name", "") for event in events}
    assert any("jit" in name for name in names)
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 1


def test_a_folder_that_cannot_be_is_refused_before_anything_is_computed(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = [*tiny.COMMAND, "none", "--out", str(tmp_path / "runs")]
    assert cli.main([*words, "--profile", str(tmp_path / "file")]) == 2
    assert "`profile`" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
