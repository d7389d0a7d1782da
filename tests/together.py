"""One of several processes that run studies together, each in a folder of its own.

    python tests/together.py '{"place": 0, "count": 2, "port": 4711, "devices": 2, "commands": [...]}'

Its words are those of `jaxlth`. With `stop_after` each command ends, as a killed process does, at
that event of its study, and the process kills itself at the last command's.
"""

import dataclasses
import itertools
import json
import os
import signal
import sys

import jax


class Killed(BaseException):
    """Nothing is saved at it, and nothing told."""


def main(place, count, port, devices, commands, stop_after=None):
    jax.config.update("jax_num_cpu_devices", devices)
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, place)

    from jaxlth import cli
    from jaxlth.studies import STUDIES
    from jaxlth.training import fit

    fit.FIRST_CHUNK_STEPS = 5  # several events, and so checkpoints, in these short trainings
    for number, command in enumerate(commands):
        study = STUDIES[command[0]]
        if stop_after is not None:
            kills = number == len(commands) - 1
            STUDIES[study.name] = dataclasses.replace(study, run=stopping(study, stop_after, kills))
        try:
            code = cli.main(command)
        except Killed:
            code = 0
        if code:
            return code
    return 0


def stopping(study, stop_after, kills):
    def run(lab, config):
        yield from itertools.islice(study.run(lab, config), stop_after)
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Killed

    return run


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
