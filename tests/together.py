"""One of several processes that run studies together, each in a folder of its own.

    python tests/together.py '{"place": 0, "count": 2, "port": 4711, "devices": 2, "commands": []}'

Its words are those of `jaxlth`. With `stop_after` each command ends, as a killed process does, at
that event of its study, and the process kills itself at the last command's. With `pause_in` it
joins as `--distributed` does, tells when it enters that phase, and stays there for a while.
"""

import dataclasses
import fcntl
import itertools
import json
import os
import signal
import sys
import time

import jax


class Killed(BaseException):
    """Nothing is saved at it, and nothing told."""


def main(place, count, port, devices, commands, stop_after=None, pause_in=None, cores=True):
    jax.config.update("jax_num_cpu_devices", devices)
    if pause_in is not None:
        pause(pause_in)
        address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
        os.environ |= address | {"JAXLTH_PROCESSES": str(count), "JAXLTH_PROCESS": str(place)}
    elif count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, place)

    from jaxlth import cli
    from jaxlth.studies import STUDIES
    from jaxlth.training import execution, fit

    if not cores:  # devices are accelerators as far as the layout of networks goes
        execution._on_cpu = lambda devices: False
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


def pause(phase):
    from jaxlth import distributed
    from jaxlth.cli import train
    from jaxlth.store import lock
    from jaxlth.studies import loading
    from jaxlth.training.train import Trainer

    module, name = {
        "joining": (distributed, "join"),
        "data": (loading.data, "load"),
        "waiting": (lock, "hold"),
        "compiling": (Trainer, "advance_and_measure"),
        "training": (train.running, "_tell_failures"),
        "table": (train, "_conclude"),
    }[phase]
    function = getattr(module, name)

    def paused(*arguments, **named):
        if phase == "waiting":
            other = os.open(arguments[0] / lock.LOCK, os.O_RDWR | os.O_CREAT)
            fcntl.flock(other, fcntl.LOCK_EX)
        print("PHASE", flush=True)
        if phase not in ("joining", "waiting"):  # which take their time
            time.sleep(2)
        return function(*arguments, **named)

    setattr(module, name, paused)


def stopping(study, stop_after, kills):
    def run(lab, config):
        yield from itertools.islice(study.run(lab, config), stop_after)
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Killed

    return run


if __name__ == "__main__":
    from jaxlth import cli

    sys.exit(cli.unhindered(main(**json.loads(sys.argv[1]))))
