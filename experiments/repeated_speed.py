"""Time of a study that is called again in one process, with another seed.

Claim: what a process has made of a network and a training it keeps, so the second call of a study
compiles nothing, and takes the time of its trainings.

    python experiments/repeated_speed.py          # two minutes on two cores

LeNet-300-100 on the digits of scikit-learn; each study has a process of its own. A study is called
once, then --rounds times with other seeds; printed are the seconds of the first call, the median of
the others, and the programs that were compiled, or read from the cache of programs, in each.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax

from jaxlth import cli, studies
from jaxlth.studies.functions import StudyFunction

STUDIES: dict[str, tuple[StudyFunction, dict[str, Any]]] = {
    "imp": (studies.imp, {"levels": 2, "replicates": 2}),
    "instability": (studies.instability, {"rewind_steps": (0, 10), "replicates": 2}),
    "prune-early": (studies.prune_early, {"densities": (0.1,), "replicates": 2}),
    "dynamic": (studies.dynamic, {"densities": (0.1,), "replicates": 2}),
    "train-supermasks": (studies.train_supermasks, {"replicates": 2}),
}


def main(study: str | None = None, steps: int = 300, rounds: int = 3) -> int:
    """Measure and print.

    Args:
      study: which one, in this process; every one in a process of its own by default.
      steps: of each training.
      rounds: how often a study is called again.
    """
    if study is not None:
        print(measured(study, steps, rounds), flush=True)
        return 0
    print("| study | first call | programs | again | programs |\n|---|---|---|---|---|", flush=True)
    for name in STUDIES:
        words = ["--study", name, "--steps", str(steps), "--rounds", str(rounds)]
        subprocess.run([sys.executable, __file__, *words], check=True)
    return 0


def measured(name: str, steps: int, rounds: int) -> str:
    """Return the row of a study."""
    function, fields = STUDIES[name]
    compiled: list[str] = []

    def listen(event: str, _seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def call(seed: int) -> tuple[float, int]:
        compiled.clear()
        experiment = studies.Experiment(
            model="lenet-300-100", data="digits", steps=steps, seed=seed
        )
        with tempfile.TemporaryDirectory() as out:
            clock = time.perf_counter()
            function(experiment, out=out, progress=False, **fields)
            return time.perf_counter() - clock, len(compiled)

    jax.monitoring.register_event_duration_secs_listener(listen)
    first, programs = call(0)
    seconds, more = zip(*(call(seed) for seed in range(1, rounds + 1)), strict=True)
    again = statistics.median(seconds)
    return f"| {name} | {first:.1f} s | {programs} | {again:.1f} s | {max(more)} |"


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
