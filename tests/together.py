"""One of several processes that do IMP together; its arguments are those of `main`, in order."""

import sys

import jax


def main(place, count, port, devices, split, model, steps, out):
    jax.config.update("jax_num_cpu_devices", int(devices))
    if int(count) > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(place))

    from jaxlth import store
    from jaxlth.models import ModelConfig
    from jaxlth.studies.imp import run as imp
    from jaxlth.studies.imp.config import ImpConfig
    from jaxlth.studies.lab import Lab
    from jaxlth.training import TrainingConfig

    config = ImpConfig(
        model=ModelConfig(name=model, hidden=(16,) if model == "mlp" else ()),
        training=TrainingConfig(
            steps=int(steps), batch_size=64, data_parallel=int(split), train_examples=100
        ),
        levels=1,
        replicates=3 if model == "mlp" else 1,
        controls=("random",),
    )
    with store.open_run(out, config, job="imp", label="together") as run:
        for event in imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=0.01), config):
            print(event.artifacts[0], event.step, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
