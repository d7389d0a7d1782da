"""One of several processes that do IMP together: python together.py PLACE COUNT PORT OUT SPLIT."""

import sys

import jax


def main(place: int, count: int, port: int, out: str, split: int) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, place)

    from jaxlth import store, tickets  # once JAX knows of the others
    from jaxlth.models import ModelSettings
    from jaxlth.tickets import ImpSettings
    from jaxlth.training import TrainingSettings

    chosen = ImpSettings(
        model=ModelSettings(name="mlp", hidden=(16,)),
        training=TrainingSettings(steps=60, batch_size=60, batch_devices=split),
        levels=1,
        replicates=3,
        controls=("random",),
    )
    with store.open_run(out, chosen, job="imp", label="together") as run:
        for event in tickets.imp(tickets.prepare(chosen), run, checkpoint_seconds=0.01):
            print(event.units[0], event.step, flush=True)


if __name__ == "__main__":
    place, count, port = map(int, sys.argv[1:4])
    main(place, count, port, sys.argv[4], int(sys.argv[5]))
