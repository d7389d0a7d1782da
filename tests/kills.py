"""Kill runs of all jobs at random moments, go on with them, and compare what they end with.

    python tests/kills.py --kills 200 --seed 1 --jobs imp early

Each run is killed (SIGKILL) several times in different phases: at its start, in a training, while a
unit or a checkpoint is stored, at its table, at its figure. Then it ends in peace, and all that it
stored must be, to the bit, that of a run nobody killed. Checkpoints are written every 50 ms.

A process forked from one that has imported everything starts in no time; no device is touched
before. The phases are told by wrappers around functions of the library, through a pipe.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

PHASES = ("start", "training", "storing", "table", "figure")
TOLD = (*PHASES, "end")  # the last one is when the command is over
SHARED = "--batch-size 50 --devices 2 --checkpoint-seconds 0.05 --evaluate-every 500 --replicates 2"
JOBS = {
    "imp": "--model mlp --hidden 8 --steps 800 --levels 1 --controls random --rewind-step 100",
    "prune-early": "--model mlp --hidden 8 --steps 800 --score snip magnitude "
    "--schedule iterative-once "
    "--density 0.5 --controls shuffled --rewind-steps 0 100",
    "dynamic": "--model mlp --hidden 8 --steps 800 --density 0.2 --prune-fraction 0.6 "
    "--rewind-step 100",
    "instability": "--model mlp --hidden 8 --steps 800 --twins 2 --points 3 --rewind-steps 0 100 "
    "--networks dense ticket --levels 1",
    "separation": "--data moons+circles --model mlp --hidden 8 8 --epochs 60 --counts 60 30 16 "
    "--stop never --optimizer sgd --lr 0.5",
    "threshold-masks": "--hidden 12 6 --steps 800 --lr 0.03 --thresholds 0 0.1 0.5 --sizes 5",
    "train-supermasks": "--model mlp --hidden 8 --steps 800 --method edge-popup --density 0.5 "
    "--finetune 500 --controls reinitialized",
}
PATIENCE = 300  # seconds that one process may take


class Told(NamedTuple):
    """When a process entered a phase."""

    phase: str
    seconds: float  # since it was forked


class Run(NamedTuple):
    """What became of one run."""

    job: str
    kills: list[str]  # the phase of each kill
    wrong: list[str]  # what differs from the run that nobody killed


def words(job: str) -> list[str]:
    """Return the words of the command that does a job, but for its folder."""
    return [job, *SHARED.split(), *JOBS[job].split()]


# ---- within a forked process


def work(command: list[str], out: pathlib.Path, told: int, log: pathlib.Path) -> int:
    """Run a command to its end, telling its phases, and note what it stored."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from jaxlth import cli, store

    _tell_phases(told)
    code = cli.main([*command, "--out", str(out)])
    os.write(told, bytes([TOLD.index("end")]))
    sys.stdout.flush()
    if code == 0:
        (info,) = store.runs(out)
        (out / "contents.json").write_text(json.dumps(contents(info.path)))
    return code


def _tell_phases(told: int) -> None:
    """Wrap what the phases begin with."""
    from jaxlth import store
    from jaxlth.cli import train
    from jaxlth.studies import STUDIES
    from jaxlth.training import fit

    fit.CHUNK_SECONDS = 0.03  # between two checkpoints at the earliest

    def tell(phase: str) -> None:
        os.write(told, bytes([TOLD.index(phase)]))

    def within(function, phase, after=None):
        def wrapped(*arguments, **named):
            tell(phase)
            result = function(*arguments, **named)
            if after is not None:
                tell(after)
            return result

        return wrapped

    def trains(function):
        def events(*arguments, **named):
            for number, event in enumerate(function(*arguments, **named)):
                if number == 0:
                    tell("training")
                yield event

        return events

    tell("start")
    for name, study in STUDIES.items():
        STUDIES[name] = dataclasses.replace(study, run=trains(study.run))
    store.Run.save = within(store.Run.save, "storing", "training")
    store.Run.checkpoint = within(store.Run.checkpoint, "storing", "training")
    train._conclude = within(train._conclude, "table")
    train.last_figures = within(train.last_figures, "figure")


def contents(path: pathlib.Path) -> dict[str, object]:
    """Return all that a run stored, but for the time that it took."""
    from jaxlth import store

    run, found = store.open_readonly(path), {}
    for unit, record in run.records():
        trees = json.loads((path / unit / "record.json").read_text())["content"]["trees"]
        leaves = {name: _digest(run.load(unit, name)) for name in trees}
        found[unit] = [{k: v for k, v in record.items() if k != "seconds"}, leaves]
    about = store.about_run(path)
    lines = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
    files = [file for file in path.iterdir() if file.suffix in (".png", ".toml")]
    return {
        "units": found,
        "about": {name: about[name] for name in ("settings", "planned", "facts", "job", "label")},
        "lines": sorted(line["unit"] for line in lines),
        "table": store.table(path).drop(columns="seconds").to_csv(),
        "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "left": sorted(
            str(file.relative_to(path))
            for file in path.rglob("*")
            if file.name.startswith((".", "checkpoint_")) or file.suffix == ".part"
        ),
    }


def _digest(tree: object) -> str:
    """Return a digest of names, kinds, shapes and bytes of nested dictionaries of arrays."""
    if isinstance(tree, dict):
        return hashlib.sha256(
            json.dumps({name: _digest(tree[name]) for name in sorted(tree)}).encode()
        ).hexdigest()
    if tree is None:
        return "none"
    kind = f"{tree.dtype} {tree.shape}".encode()
    return hashlib.sha256(kind + tree.tobytes()).hexdigest()


# ---- outside of it


def forked(command: list[str], out: pathlib.Path, log: pathlib.Path) -> tuple[int, int]:
    """Start a process; return its id and the end of the pipe through which it tells phases."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(reading)
            code = work(command, out, writing, log)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    return child, reading


def watched(
    command: list[str],
    out: pathlib.Path,
    log: pathlib.Path,
    when: tuple[str, int, float] | None = None,
) -> tuple[int | None, list[Told]]:
    """Run a process until it ends or is killed; return its exit code, None if killed, and phases.

    Args:
      command: its words.
      out: folder of its runs.
      log: file for what it prints.
      when: (phase, which time it is entered, seconds after that) of the kill; None for none.
    """
    start = time.monotonic()
    child, reading = forked(command, out, log)
    told, kill_at, entered, killed = [], None, 0, False
    while True:
        now = time.monotonic()
        if now - start > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"{command[0]} does not end; see {log}")
        wait = 1.0 if kill_at is None else max(0.0, kill_at - now)
        ready, _, _ = select.select([reading], [], [], wait)
        if ready:
            codes = os.read(reading, 1024)
            if not codes:
                break
            for code in codes:
                told.append(Told(TOLD[code], time.monotonic() - start))
                entered += when is not None and TOLD[code] == when[0]
            if when is not None and kill_at is None and entered >= when[1]:
                kill_at = time.monotonic() + when[2]
        elif kill_at is not None and not killed:
            os.kill(child, signal.SIGKILL)
            killed, kill_at = True, None
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return (None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), told


def reference(job: str, folder: pathlib.Path) -> tuple[dict[str, object], list[Told]]:
    """Return what an uninterrupted run stored, and its phases once all is compiled."""
    for out in (folder / "compiles", folder / "whole"):
        out.mkdir(parents=True)
        code, told = watched(words(job), out, folder / "log")
        if code:
            raise RuntimeError(f"{job}: {(folder / 'log').read_text()[-2000:]}")
    return json.loads((folder / "whole" / "contents.json").read_text()), told


def moment(phase: str, told: list[Told], chance: random.Random) -> tuple[str, int, float]:
    """Return a random moment in a phase, by when an uninterrupted run was where.

    A kill while it trains or stores comes on average after a sixth of what there is to do: most
    runs are not at their end before the last of their kills.
    """
    pairs = itertools.pairwise(told)
    spans = [end.seconds - begin.seconds for begin, end in pairs if begin.phase == phase]
    if phase == "training":
        whole = max(t.seconds for t in told if t.phase == phase)
        return phase, 1, chance.uniform(0, (whole - told[1].seconds) / 3)
    which = chance.randint(1, max(1, len(spans) // 3))
    return phase, which, chance.uniform(0, spans[which - 1])


def killed(job: str, seed: str, folder: pathlib.Path, most: int) -> Run:
    """Kill one run up to so many times, let it end, and compare it."""
    chance = random.Random(seed)
    expected = json.loads((folder / "reference.json").read_text())
    told = [Told(*each) for each in json.loads((folder / "phases.json").read_text())]
    first = ["start", "training", "storing", "training", "storing", "storing"]
    last = ["table", "figure", "start", "table", "figure"]
    chance.shuffle(first)
    chance.shuffle(last)
    out, kills, wrong = folder / seed, [], []
    out.mkdir()
    has_ended = False
    for phase in [*first[: most - 2], *last][:most]:
        if has_ended and phase in ("training", "storing"):
            continue
        code, phases = watched(words(job), out, out / "log", moment(phase, told, chance))
        if code is None and phases[-1].phase != "end":
            kills.append(phases[-1].phase)
        elif code:
            wrong.append(f"{phase}: exit code {code}")
        has_ended |= any(each.phase in ("table", "figure", "end") for each in phases)
    code, _ = watched(words(job), out, out / "log")
    if code:
        return Run(job, kills, [*wrong, f"exit code {code}: {(out / 'log').read_text()[-3000:]}"])
    wrong += differences(json.loads((out / "contents.json").read_text()), expected)
    log = (out / "log").read_text()
    wrong += [f"traceback: {log[-3000:]}"] if "Traceback" in log else []
    if not wrong:
        shutil.rmtree(out)
    return Run(job, kills, wrong)


def differences(found: object, expected: object, where: str = "") -> list[str]:
    """Return where two nested values differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return [
            line
            for name in {**expected, **found}
            for line in differences(found.get(name), expected.get(name), f"{where}/{name}")
        ]
    return [] if found == expected else [f"{where}: {found!r}, not {expected!r}"[:500]]


def main() -> int:
    """Kill runs, print a table of the phases, and return 1 where something was lost or differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--each", type=int, default=10, help="kills of one run at most")
    parser.add_argument("--keep", action="store_true", help="keep the folder of all runs")
    asked = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="jaxlth-kills-"))
    print(f"seed {asked.seed}, in {folder}", flush=True)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["MPLBACKEND"] = "Agg"
    # A killed process may leave a torn entry there: no other program should find it.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # Runs are compared to runs that were compiled alike.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    _import()
    clock = time.monotonic()
    try:
        runs = _campaign(asked, folder)
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    _report(runs, asked.jobs, time.monotonic() - clock)
    return 1 if any(run.wrong for run in runs) else 0


def _import() -> None:
    """Import what a process needs, and start nothing: a fork has no threads."""
    import matplotlib.backends.backend_agg
    import orbax.checkpoint
    import sklearn.datasets
    import tensorstore

    from jaxlth.cli import commands, export, figure, parsing, results, train

    del matplotlib, orbax, sklearn, tensorstore, commands, export, figure, parsing, results, train


def _campaign(asked: argparse.Namespace, folder: pathlib.Path) -> list[Run]:
    """Kill runs until there were so many kills."""
    runs, started = [], 0
    workers = min(2, os.cpu_count() or 1)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        for job, (stored, told) in zip(
            asked.jobs,
            pool.map(reference, asked.jobs, [folder / job for job in asked.jobs]),
            strict=True,
        ):
            (folder / job / "reference.json").write_text(json.dumps(stored))
            (folder / job / "phases.json").write_text(json.dumps(told))
        waiting = set()
        while sum(len(run.kills) for run in runs) < asked.kills or waiting:
            missing = asked.kills - sum(len(run.kills) for run in runs) - asked.each * len(waiting)
            while missing > 0 and len(waiting) < workers:
                job = asked.jobs[started % len(asked.jobs)]
                most = min(asked.each, max(missing, 3))
                seed = f"{asked.seed}-{started}"
                waiting.add(pool.submit(killed, job, seed, folder / job, most))
                started, missing = started + 1, missing - most
            done, waiting = concurrent.futures.wait(
                waiting, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                runs.append(future.result())
                for line in runs[-1].wrong:
                    print(f"{runs[-1].job}: {line}", flush=True)
    return runs


def _report(runs: list[Run], jobs: list[str], seconds: float) -> None:
    """Print how often each job was killed in each phase."""
    print(f"{'kills':12}" + "".join(f"{phase:>10}" for phase in PHASES) + f"{'all':>10}")
    for job in [*jobs, "all"]:
        kills = [kill for run in runs if job in (run.job, "all") for kill in run.kills]
        counts = [kills.count(phase) for phase in PHASES]
        print(f"{job:12}" + "".join(f"{count:10}" for count in [*counts, len(kills)]))
    wrong = sum(bool(run.wrong) for run in runs)
    print(f"{len(runs)} runs, {wrong} of them differ, in {seconds:.0f} s")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
