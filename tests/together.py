"""One of several processes that do IMP together; its arguments are those of `main`, in order."""

import sys

import jax


def main(place, count, port, devices, split, model, steps, out):
    jax.config.update("jax_num_cpu_devices", int(devices))
    if int(count) > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(place))

    from jaxlth import store, tickets  # once JAX knows of the others
    from jaxlth.models import ModelConfig
    from jaxlth.tickets import ImpConfig
    from jaxlth.training import TrainingConfig

    config = ImpConfig(
        model=ModelConfig(name=model, hidden=(16,) if model == "mlp" else ()),
        training=TrainingConfig(
            steps=int(steps), batch_size=64, batch_devices=int(split), train_examples=100
        ),
        levels=1,
        replicates=3 if model == "mlp" else 1,
        controls=("random",),
    )
    with store.open_run(out, config, job="imp", label="together") as run:
        for event in tickets.imp(tickets.prepare(config), run, checkpoint_seconds=0.01):
            print(event.units[0], event.step, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
