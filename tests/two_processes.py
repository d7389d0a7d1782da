"""One of two processes that do IMP together: python two_processes.py PORT RANK OUT."""

import faulthandler
import sys

faulthandler.dump_traceback_later(100, exit=True)

import jax

port, rank, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
split = int(sys.argv[4])
jax.config.update("jax_num_cpu_devices", 2)
if rank >= 0:
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank)

from jaxlth import store, tickets
from jaxlth.models import ModelSettings
from jaxlth.tickets import ImpSettings
from jaxlth.training import TrainingSettings

chosen = ImpSettings(
    model=ModelSettings(name="mlp", hidden=(16,)),
    training=TrainingSettings(steps=200, batch_size=60, batch_devices=split),
    levels=2,
    replicates=3,
    controls=("random",),
)
problem = tickets.prepare(chosen)
with store.open_run(out, chosen, job="imp", label="two") as run:
    for event in tickets.imp(problem, run, checkpoint_seconds=0.05):
        pass
print("done", rank)
