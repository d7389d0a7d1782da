"""What is kept of a run: its folder, the networks in it, and one tidy table of results.

A *run* is one job with one set of settings; it has one folder. An *artifact* is a result that is
stored whole or not at all, one trained network for instance, named by a path such as
"level_03/reinitialized/replicate_0". An artifact is finished if and only if its `record.json`
exists, and that file is put there last. So a job asks `run.has(artifact)` and computes what is
missing:

    with store.open_run("runs", settings, job="imp", label="digits-lenet-300-100") as run:
        if not run.has(artifact):
            run.save(artifact, {"params": params, "mask": mask}, record)
        params = run.load(artifact, "params", like=params)

A run folder holds

    settings.toml               all settings, to be given back as a settings file
    run.json                    job, settings, versions, machines, data, with a checksum
    lock                        who works here now
    results.jsonl               a line with a checksum for each finished artifact, from its record
    ARTIFACT/record.json        numbers of a finished artifact, with checksums
    ARTIFACT/arrays/            its trees, a file of safetensors
    ARTIFACT/checkpoint_NNNNNN/ the state inside an unfinished artifact, written by orbax

The folders live on a local or mounted disk: the lock and the promise to survive a crash rest on
`flock`, `fsync` and `rename`, which a bucket does not have. `open_run("gs://bucket/runs", ...)`
works in such a folder too, and keeps a mirror of it at the bucket: `jaxlth.store.mirror`.
"""

from jaxlth.store import damage, export, facts, share, tensorboard
from jaxlth.store.artifacts import Checkpoint
from jaxlth.store.atomic import StoreError
from jaxlth.store.bucket import connect, is_remote
from jaxlth.store.bucket_programs import BucketPrograms
from jaxlth.store.export import export_arrays, export_ticket, load_network, load_ticket
from jaxlth.store.metadata import check_settings, is_run, understood
from jaxlth.store.opening import about_run, folder, open_readonly, open_run
from jaxlth.store.runs import Run
from jaxlth.store.summaries import RunInfo, runs
from jaxlth.store.table import curves, export_results, table, table_names
from jaxlth.store.tensorboard import write_events

__all__ = [
    "BucketPrograms",
    "Checkpoint",
    "Run",
    "RunInfo",
    "StoreError",
    "about_run",
    "check_settings",
    "connect",
    "curves",
    "damage",
    "export",
    "export_arrays",
    "export_results",
    "export_ticket",
    "facts",
    "folder",
    "is_remote",
    "is_run",
    "load_network",
    "load_ticket",
    "open_readonly",
    "open_run",
    "runs",
    "share",
    "table",
    "table_names",
    "tensorboard",
    "understood",
    "write_events",
]
