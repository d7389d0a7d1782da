"""Runs of all jobs, interrupted after any unit or damaged in any file, as the readers see them."""

import contextlib
import io
import json
import random
import re
import shutil

import pytest

from jaxlth import cli, store
from jaxlth.studies import STUDIES

SHARED = "--batch-size 50 --devices 2"
JOBS = {
    "imp": "--model mlp --hidden 8 --steps 20 --replicates 2 --levels 2 --controls random "
    "--rewind-step 5 --dilations 0.5 2",
    "prune-early": "--model mlp --hidden 8 --steps 20 --replicates 1 --rounds 3 "
    "--score snip magnitude "
    "--schedule before-rounds --density 0.5 0.2 --controls shuffled "
    "--references after after-rewind "
    "--rewind-steps 0 5",
    "dynamic": "--model mlp --hidden 8 --steps 20 --replicates 1 --density 0.5 --update-every 5 "
    "--rewind-step 5 --prune-fraction 0.4",
    "instability": "--model mlp --hidden 8 --steps 20 --replicates 1 --twins 2 --points 3 "
    "--rewind-steps 10 --networks dense ticket --levels 1 --compare-every 5",
    "separation": "--data moons+circles --model mlp --hidden 8 8 --epochs 1 --replicates 2 "
    "--counts 60 30 16 --stop never",
    "threshold-masks": "--hidden 12 6 --steps 40 --replicates 2 --evaluate-every 10 "
    "--thresholds 0 0.1 0.5 --sizes 5",
    "train-supermasks": "--model mlp --hidden 8 --steps 20 --replicates 2 --evaluate-every 5 "
    "--method edge-popup --density 0.5 --finetune 10 --controls reinitialized",
}
EXPORTS = {
    "prune-early": ["--density", "0.5", "--method", "snip-before-rounds"],
    "dynamic": ["--density", "0.5", "--method", "rigl"],
    "train-supermasks": ["--density", "0.5", "--method", "edge-popup"],
    "threshold-masks": [],
}
CLEAR = (  # what may be said of a run that is not far enough
    r"has no finished network yet; the command that made it goes on\.",
    r"ha(s|ve) no ticket (yet|pruned)",
    r"has no dilations;",
    r"No network of the run \S+ was trained long enough yet\.",
    r"There is no level 1 of the ticket of .*; trained: 0\.",
    r"has no \S*/?ticket/replicate_0; `jaxlth results` shows",
    r"have no network of the kind .* yet that did not diverge",
    r"have no pair of twins",
    r"have no sparse network",
    r"compare twins only at the end",
    r"is a run of `jaxlth instability`; tickets of",
    r"`method` has no value",
    r"There is no density",
)


@pytest.fixture(scope="module", params=JOBS)
def whole(request, tmp_path_factory):
    """The name of a job and a finished run of it."""
    out = tmp_path_factory.mktemp(request.param)
    words = [request.param, *SHARED.split(), *JOBS[request.param].split(), "--out", str(out)]
    assert said(*words)[0] == 0
    (info,) = store.runs(out)
    return request.param, info.path


def said(*words):
    """Return exit code, output and errors of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(map(str, words)))
    return code, out.getvalue(), err.getvalue()


def readings(job, out, *, figures):
    """Return the commands that read a run of a job, each with the file that it writes, if any."""
    runs, ticket = ["--out", out], ["export", out / "ticket.npz", *EXPORTS.get(job, [])]
    commands = [
        (["list", *runs], None),
        (["results", *runs], None),
        (["results", "--format", "csv", *runs], None),
        (["results", "--format", "csv", "--curves", *runs], None),
        ([*ticket, *runs], out / "ticket.npz"),
        (["report", "--file", out / "report.html", *runs], out / "report.html"),
    ]
    for kind in figures:
        file = out / f"{kind}.svg"
        commands.append((["figure", "--kind", kind, "--file", file, *runs], file))
    return commands


@pytest.mark.slow
def test_every_figure_of_an_interrupted_run_is_a_picture_or_one_clear_line(whole, tmp_path):
    job, path = whole
    lines = (path / "results.jsonl").read_text().splitlines()
    units = [json.loads(line)["unit"] for line in lines]
    drew = {}
    for count in sorted({0, 1, 2, 3, len(units) // 3, 2 * len(units) // 3, len(units)}):
        run = tmp_path / path.name
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(path, run)
        for unit in units[count:]:
            (run / unit / "record.json").unlink()
        for words, file in readings(job, tmp_path, figures=STUDIES[job].figures.kinds):
            code, out, err = said(*words)
            assert code in (0, 2), (count, words)
            if code == 0:
                assert out, (count, words)
                told = file is not None and re.fullmatch(
                    r"Unfinished: replicates? .* lacks? .*\n", err
                )
                assert err == "" or told, (count, words, err)
                assert file is None or file.stat().st_size > 0
            else:
                assert len(err.splitlines()) == 1, (count, words, err)
                assert any(re.search(clear, err) for clear in CLEAR), (count, words, err)
            drew[str(words)] = code
    refused = [words for words, code in drew.items() if code]
    assert len(refused) <= (job == "instability"), refused  # which has no tickets to export


@pytest.mark.slow
def test_a_damaged_run_never_tells_another_number(whole, tmp_path):
    job, path = whole
    shutil.copytree(path, tmp_path / path.name)
    run = tmp_path / path.name
    commands = readings(job, tmp_path, figures=list(STUDIES[job].figures.kinds)[:1])
    right = [_told(words, file) for words, file in commands]
    files = [file for file in sorted(run.rglob("*")) if file.is_file() and file.stat().st_size]
    files += 3 * [run / "run.json"]
    chance = random.Random(f"damage of {job}")
    for trial in range(10):
        file = chance.choice(files)
        before = file.read_bytes()
        how = _damage(file, before, chance)
        for (words, made), expected in zip(commands, right, strict=True):
            code, *told = _told(words, made)
            case = (trial, str(file.relative_to(run)), how, words)
            if code == 2:
                (line,) = told[1].splitlines()
                assert run.name in line, case
            else:
                assert (code, *told) == expected, case
        file.write_bytes(before)


def _damage(file, content, chance):
    """Flip a bit of a file or cut it, and return what was done."""
    if chance.random() < 0.3:
        length = chance.randrange(len(content))
        file.write_bytes(content[:length])
        return f"cut to {length}"
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    file.write_bytes(bytes(changed))
    return f"bit {bit} of byte {place}"


def _told(words, file):
    """Return exit code, output, errors and the bytes written; a list without the size on disk."""
    if file is not None:
        file.unlink(missing_ok=True)
    code, out, err = said(*words)
    if words[0] == "list":
        out = re.sub(r"[\d.]+ k?B ", "", out)
    return code, out, err, file.read_bytes() if file is not None and file.exists() else b""
