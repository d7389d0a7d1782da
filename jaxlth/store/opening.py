"""Runs are opened by their settings, to work on them, or by their folder, to read them."""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxlth import distributed
from jaxlth import settings as settings_lib
from jaxlth.store import atomic, bucket, lock, metadata, mirror, remote
from jaxlth.store import facts as facts_lib
from jaxlth.store.mirror import Mirror
from jaxlth.store.runs import Run

if TYPE_CHECKING:
    from jaxlth.data import Identity


def open_run(
    out: str | os.PathLike[str],
    settings: Any,
    *,
    job: str,
    label: str,
    wait: bool = False,
    data: "Identity | None" = None,
    fingerprint: Mapping[str, Any] | None = None,
    replicates: tuple[int, ...] | None = None,
) -> Run:
    """Return the run with these settings, new or existing, and held by this process until closed.

    The folder is `out`/JOB-LABEL-DIGEST. Settings outside the digest (levels, replicates ...) may
    differ from those stored: the larger whole number, or else the newer value, is kept.

    Args:
      out: Folder of all runs, on a local or mounted disk, made if missing; or a bucket, as
        gs://BUCKET/FOLDER, where the run has a mirror then (see `jaxlth.store.mirror`).
      settings: A frozen dataclass of settings; see `jaxlth.settings`.
      job: What is done, "imp" for instance.
      label: What it is done to, readable, such as "digits-lenet-300-100".
      wait: Wait for another process that holds the run, instead of raising.
      data: What the run is trained on, from `data.identify`, where that is known already; see
        `jaxlth.store.facts`.
      fingerprint: The fingerprint of a user's own parts: part -> text, or numbers.
      replicates: Those that this process does, where others may do others at the same time; see
        `jaxlth.store.share`. None for the whole run.

    Returns:
      A context manager that gives the run back when left.

    Raises:
      StoreError: another process holds the run; it was made with other defaults or data; or the
        folder or bucket cannot be written.
    """
    from jaxlth.data import workers  # which imports JAX, as those who only read do not

    workers.end_if_unguarded()
    path = folder(out, settings, job=job, label=label)
    mirrored: list[Mirror | None] = [None]  # stays in the process that has it
    differences: list[str] = []

    def acquire() -> list[int]:
        with atomic.writing(path):
            path.mkdir(parents=True, exist_ok=True)
        if replicates is None:
            descriptors = [lock.hold(path, wait=wait)]
        else:
            descriptors = lock.hold_share(path, replicates, wait=wait)
        run = Run(path, descriptors, replicates=replicates)
        try:
            with run.files():
                mirrored[0] = mirror.start(out, path, wait=wait, replicates=replicates)
                run = Run(path, descriptors, mirrored[0], replicates)
                facts = facts_lib.of_data(data) | facts_lib.of_parts(fingerprint)
                differences.extend(
                    metadata.describe(path, settings, job=job, label=label, new_facts=facts)
                )
            run.repair()
        except BaseException:
            run.abandon()
            raise
        return descriptors

    descriptors = distributed.on_main(acquire)
    run = Run(path, descriptors if distributed.is_main() else [], mirrored[0], replicates)
    run.other_bits = tuple(differences)
    return run


def folder(out: str | os.PathLike[str], settings: Any, *, job: str, label: str) -> pathlib.Path:
    """Return the folder of the run with these settings, which need not exist.

    Of a label that is too long for a folder's name, such as a path or many widths, its beginning
    is taken; the digest tells runs apart.

    Where `out` is a bucket, that is the working folder on this machine.
    """
    name = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in (job, label))
    named = settings_lib.file_name(name, settings_lib.digest(settings))
    return mirror.working_folder(out) / named


def open_readonly(path: str | os.PathLike[str]) -> Run:
    """Return the run in a folder or at a bucket for reading only: it is not held.

    Raises:
      StoreError: it is no run folder, its `run.json` is damaged, or the bucket cannot be used.
    """
    local_folder = remote.local(path)
    metadata.read(local_folder)
    return Run(local_folder, [])


def about_run(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of a run, in a folder or at a bucket: job, label, settings ...

    Raises:
      StoreError: it is no run folder, its `run.json` is damaged, or the bucket cannot be used.
    """
    return metadata.read(remote.local(path) if bucket.is_remote(path) else path)
