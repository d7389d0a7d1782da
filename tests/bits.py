"""What small runs of all studies store, to the bit: kept, so that a change of form changes nothing.

`python tests/bits.py` writes `tests/bits/*.json` anew for this version of JAX and this processor,
after a change that is meant to change results. Digests of other versions and processors stay.
"""

import contextlib
import io
import json
import pathlib
import re
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from jaxlth import cli, models, store, trees
from jaxlth.models.resnet import ResNet
from jaxlth.process import programs

SHORT = "--steps 12 --batch-size 50 --evaluate-every 6 --train-examples 100 --replicates 2"
MLP = f"--model mlp --hidden 8 {SHORT}"
ALL_CONTROLS = "--controls reinitialized shuffled random random-layerwise"
RESNET = "--model resnet-8 --augment flip-crop --steps 3 --evaluate-every 1 --batch-size 8"
RESNET += " --train-examples 20"
EARLY = f"prune-early {MLP} --density 0.2 --rounds 2 --per-class 2"
MASKS = "--model mlp --hidden 8 --steps 12 --evaluate-every 1 --batch-size 50"
MASKS += " --train-examples 100 --replicates 1"

# Name -> words of the command line.
CASES = {
    "imp": f"imp {MLP} --levels 2 {ALL_CONTROLS}",
    "imp-rewinding": f"imp {MLP} --levels 2 --rewind-step 5 {ALL_CONTROLS}",
    "imp-one-shot": f"imp {MLP} --levels 2 --rewind-step 5 --one-shot --controls random",
    "imp-layerwise": f"imp {MLP} --levels 2 --scope layerwise --exclude Dense_1/* --controls",
    "imp-learning-rate": f"imp {MLP} --levels 2 --after-pruning learning-rate",
    "imp-fine-tune": f"imp {MLP} --levels 2 --after-pruning fine-tune --rewind-step 5",
    "imp-dilations": f"imp {MLP} --levels 1 --dilations 0.5 1.5 --rewind-step 4 --controls random",
    "imp-compact": "imp --model mlp --hidden 12 --steps 12 --evaluate-every 1 --batch-size 50"
    " --train-examples 100 --replicates 2 --levels 2 --prune-fraction 0.9 --compact"
    " --controls shuffled",
    "imp-early-stopping": f"imp --data moons {MLP} --levels 1 --patience 6 --checkpoint best"
    " --optimizer momentum --lr 0.5 --lr-schedule milestones --milestones 8 --warmup 4 --controls",
    "imp-batch-norm": f"imp {RESNET} --levels 1 --replicates 1 --rewind-step 1 --controls shuffled",
    "early-before-training": f"{EARLY} --score snip grasp synflow magnitude random"
    " --schedule before-once before-rounds --controls shuffled reinitialized inverted",
    "early-between-trainings": f"{EARLY} --score snip magnitude-increase --schedule iterative-once"
    " iterative-rounds"
    " --references after after-rewind --rewind-steps 0 5",
    "early-weights": f"{EARLY} --score snip+synflow --schedule before-rounds"
    " --weights standard bimodal synflow",
    "early-batch-norm": f"prune-early {RESNET} --score snip synflow --density 0.2"
    " --schedule before-rounds"
    " --rounds 2 --per-class 1 --replicates 1",
    "dynamic": f"dynamic {MLP} --density 0.2 --update-every 3 --lengths 1 2 --rewind-step 5"
    " --prune-fraction 0.5",
    "dynamic-layerwise": f"dynamic {MLP} --density 0.3 --update-every 3 --distribution uniform"
    " --scope layerwise --prune-fraction 0.4 --changes 0.25 0.5 --exclude Dense_1/*",
    "dynamic-batch-norm": f"dynamic {RESNET} --density 0.3 --update-every 1 --replicates 1"
    " --methods set rigl dynamic-imp --changes 0.34",
    "instability": f"instability {MLP} --twins 2 --points 3 --rewind-steps 0 5 --levels 2"
    " --networks dense ticket reinitialized shuffled random random-layerwise",
    "instability-lengths": f"instability {MLP} --twins 3 --points 4 --rewind-steps 6"
    " --lengths remaining whole --compare-every 6",
    "instability-scores": f"instability {MLP} --twins 2 --points 3 --rewind-steps 0 6 --density 0.2"
    " --networks dense snip synflow magnitude --search bisection",
    "instability-batch-norm": f"instability {RESNET} --replicates 1 --twins 2 --points 3"
    " --rewind-steps 1 --estimate-statistics",
    "separation": "separation --data moons+circles --model mlp --hidden 8 8 --epochs 2"
    " --batch-size 50 --counts 60 30 12 --replicates 2 --stop never",
    "separation-scores": "separation --data moons+circles --model mlp --hidden 8 8 --epochs 2"
    " --batch-size 50 --levels 3 --prune-fraction 0.5 --score synflow --alive --rewind-step 3"
    " --replicates 1 --stop never",
    "threshold-masks": "threshold-masks --hidden 12 6 --sizes 5 --thresholds 0 0.1 50 --lr 0.03"
    " --steps 12 --batch-size 50 --evaluate-every 4 --train-examples 100 --replicates 2"
    " --mask-biases",
    "train-supermasks-bernoulli": f"train-supermasks {MASKS} --method bernoulli --finetune 4"
    f" {ALL_CONTROLS}",
    "train-supermasks-edge-popup": f"train-supermasks {MASKS} --method edge-popup --density 0.5 0.2"
    " --finetune 4 --controls shuffled",
    "train-supermasks-gem-miner": "train-supermasks --model mlp --hidden 8 --steps 60"
    " --batch-size 50 --evaluate-every 3 --train-examples 100 --replicates 1"
    " --method gem-miner --density 0.3 --score-l2 0",
}
# Names that studies had when the digests were made.
OLD_SCHEDULES = {
    "before-once": "uss",
    "before-rounds": "ums",
    "iterative-once": "iss",
    "iterative-rounds": "ims",
    "after-rewind": "ltr",
}
OLD_NAMES = {
    "prune-early": "early",
    "threshold-masks": "supermask",
    "train-supermasks": "train-mask",
}
# Fields of comparisons of twins that are newer than the digests; tests/test_instability.py holds
# their values.
LOSSES = {
    f"{before}{split}_{name}"
    for split in ("test", "train")
    for before, name in (
        *(("", "loss"), ("", "loss_barrier"), ("twins_", "loss")),
        *(("", "loss_at_start"), ("dense_", "loss_at_start")),
    )
}
# Fields of records that say roughly the same on every machine.
NUMBERS = ("kept", "prunable", "test_loss")
FOLDER = pathlib.Path(__file__).parent / "bits"


def stored(name: str) -> tuple[dict, dict]:
    """Run a case in a folder of its own and read what it stores of each artifact.

    Returns:
      Artifact -> checksums of its record and of its trees, and artifact -> numbers of its record.
    """
    with tempfile.TemporaryDirectory() as out:
        with contextlib.redirect_stdout(io.StringIO()), resnet_8():
            assert cli.main([*CASES[name].split(), "--out", out]) == 0
        (info,) = store.runs(out)
        run = store.open_readonly(info.path)
        digests, numbers = {}, {}
        for artifact, record in run.records():
            record = {key: value for key, value in record.items() if key != "seconds"}
            record = without_losses(record)
            if "job" in record:
                record["job"] = OLD_NAMES.get(record["job"], record["job"])
            content = json.loads((info.path / artifact / "record.json").read_text())["content"]
            of_trees = {tree: checksum(run.load(artifact, tree)) for tree in content["trees"]}
            text = with_old_schedules(json.dumps(record, sort_keys=True))
            artifact = with_old_schedules(artifact)
            digests[artifact] = {"record": f"{zlib.crc32(text.encode()):08x}", **of_trees}
            numbers[artifact] = {key: record[key] for key in NUMBERS if key in record}
        return digests, numbers


def without_losses(record: dict) -> dict:
    """Return a record of a comparison without its losses, which are newer than the digests."""
    if record.get("kind") not in ("pair", "average"):
        return record
    curve = {"curve": without(LOSSES, record["curve"])} if "curve" in record else {}
    return without(LOSSES, record) | curve


def without(names: Iterable[str], record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in names}


def with_old_schedules(text: str) -> str:
    for new, old in OLD_SCHEDULES.items():
        text = text.replace(new, old)
    return text


@contextlib.contextmanager
def resnet_8() -> Iterator[None]:
    """Have a network with batch norm that compiles fast."""
    models.MODELS["resnet-8"] = lambda _, n, own: ResNet((1, 1), 4, n, own)
    try:
        yield
    finally:
        del models.MODELS["resnet-8"]


def checksum(tree: object) -> str:
    """Return a checksum of the names, types, shapes and bytes of all leaves of a tree."""
    crc = 0
    for name, leaf in sorted(trees.named(tree).items()):
        array = np.ascontiguousarray(leaf)
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.tobytes(), crc)
    return f"{crc:08x}"


def known(name: str) -> dict:
    """Return what is kept of a case: digests by environment, and numbers."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"digests": {}, "numbers": {}}


def a_line_each(kept: dict) -> str:
    """Return the content of a case's file, a line for each artifact."""
    text = json.dumps(kept, indent=1, sort_keys=True)
    return re.sub(r"\{\n {3,}([^{}]*?)\n *\}", lambda found: one_line(found[1]), text) + "\n"


def one_line(fields: str) -> str:
    return "{" + " ".join(line.strip() for line in fields.splitlines()) + "}"


def main(names: list[str]) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    for name in names or CASES:
        digests, numbers = stored(name)
        kept = known(name)
        kept["digests"][programs.kind()] = digests
        kept["numbers"] = numbers
        (FOLDER / f"{name}.json").write_text(a_line_each(kept))
        print(name, len(digests), "artifacts")


if __name__ == "__main__":
    main(sys.argv[1:])
