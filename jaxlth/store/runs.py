"""Run folders: held by one process at a time, or a share each, extended by asking for more."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxlth import distributed
from jaxlth.store import artifacts, atomic, lock, metadata, remote, results, share
from jaxlth.store import facts as facts_lib
from jaxlth.store.atomic import StoreError
from jaxlth.store.mirror import Mirror

T = TypeVar("T")
NO_NOTES: Mapping[str, str] = {}


def _on_main(method: Callable[..., T]) -> Callable[..., T]:
    """Return a method that only the first of several processes runs, with the result in all."""

    @functools.wraps(method)
    def run_on_main(self: "Run", *args: Any, **kwargs: Any) -> T:
        return distributed.on_main(lambda: method(self, *args, **kwargs))

    return run_on_main


class Run:
    """A run folder, held by this process if it came from `open_run`; see there.

    Where several processes work together, the first one holds, reads and writes the folder for all.

    Attributes:
      path: The folder, absolute.
      url: Address of the mirror, None without one.
      replicates: Those that this process does, None for all.
      other_bits: What was other when the run was last worked on, and decides the last bits of
        numbers, such as "jax 0.10.1, not 0.10.2".
    """

    other_bits: tuple[str, ...] = ()

    def __init__(
        self,
        path: pathlib.Path,
        descriptors: list[int],
        mirrored: Mirror | None = None,
        replicates: tuple[int, ...] | None = None,
    ):
        """Take over a folder whose lock files are held through `descriptors`, and its mirror."""
        self.path = path
        self.replicates = replicates
        self.url = None if mirrored is None else mirrored.place.url
        self._descriptors = descriptors
        self._mirror = mirrored

    def __enter__(self) -> "Run":
        """Return the run itself."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Give the run back; an error that is on its way goes before one of the mirror."""
        if kind is None:
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Give the run back, so that another process may hold it.

        Raises:
          StoreError: the mirror cannot be written.
        """
        descriptors, self._descriptors = self._descriptors, []
        mirrored, self._mirror = self._mirror, None
        try:
            if mirrored is not None:
                mirrored.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def abandon(self) -> None:
        """Give the run back, whatever the mirror says to that."""
        with contextlib.suppress(StoreError):
            self.close()

    @_on_main
    def set_expected_count(self, total: int) -> None:
        """Store how many artifacts the settings ask for, so that progress can be shown.

        Raises:
          StoreError: the folder cannot be written.
        """
        self._require_held()
        with self.files():
            info = metadata.read(self.path)
            if info["planned"] != total:
                metadata.write(self.path, info | {"planned": total})
                self._copy(None)

    @_on_main
    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Store under `facts` what a reader of the run needs to know besides its settings.

        Args:
          facts: What JSON can hold: the shape of the images, say.

        Raises:
          StoreError: the run is of other data, or the folder cannot be written.
        """
        self._require_held()
        with self.files():
            info = metadata.read(self.path)
            old_facts = info.get("facts", {})
            new_facts = facts_lib.joined(self.path, old_facts, facts)
            if new_facts != old_facts:
                metadata.write(self.path, info | {"facts": new_facts})
                self._copy(None)

    @_on_main
    def has(self, artifact: str) -> bool:
        """Return whether an artifact is finished."""
        return (artifacts.locate(self.path, artifact) / artifacts.RECORD).exists()

    @_on_main
    def save(self, artifact: str, trees: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Store a finished artifact, whole or not at all, and remove its checkpoints.

        Args:
          artifact: Its relative path, such as "level_03/reinitialized/replicate_0".
          trees: Trees of arrays by name. Leaves may be arrays, Python numbers or None.
          record: Numbers and text for JSON; `curve`, if any, is not a column of the table.

        Raises:
          StoreError: the disk is full or the folder unwritable; nothing stored before has changed.
        """
        self._require_held(artifact)
        folder = artifacts.locate(self.path, artifact)
        artifacts.put(artifacts.stage_of(self.path, self.replicates), folder, trees, record)
        with self.files():
            if self.replicates is None or not results.has(self.path, artifact):
                results.append(self.path, artifact, record)
        artifacts.drop_checkpoints(folder)
        self._copy(artifact)

    @_on_main
    def load(self, artifact: str, name: str, like: Any = None) -> Any:
        """Return one stored tree, with NumPy arrays as leaves.

        Args:
          artifact: A finished artifact.
          name: Which of its trees.
          like: A tree of arrays or of `jax.ShapeDtypeStruct` that gives structure, shapes and
            kinds; without it dictionaries, lists and tuples come back as they were, other
            containers as dictionaries. What is stored as None comes back as None in both cases.

        Raises:
          StoreError: something is missing or damaged; the message says what to delete.
          ValueError: there is no such tree, or it differs from `like`; the first leaf that does is
            named.
        """
        folder = artifacts.locate(self.path, artifact)
        remote.fetch_arrays(self.path, artifact)
        return artifacts.load(folder, name, like)

    @_on_main
    def record(self, artifact: str) -> dict[str, Any]:
        """Return the record of a finished artifact.

        Raises:
          StoreError: it is missing or damaged; the message says what to delete.
        """
        return artifacts.record(artifacts.locate(self.path, artifact))

    @_on_main
    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """Return name and record of each finished artifact, sorted by name, replicate 2 before 10.

        Raises:
          StoreError: a record is damaged; the message says what to delete.
        """
        return artifacts.records(self.path)

    @_on_main
    def remove(self, artifact: str) -> None:
        """Remove an artifact, finished or not, its checkpoints, and artifacts below it.

        Raises:
          StoreError: the folder cannot be written.
        """
        self._require_held(artifact)
        folder = artifacts.locate(self.path, artifact)
        with atomic.writing(folder):
            (folder / artifacts.RECORD).unlink(missing_ok=True)
        atomic.remove(folder)
        self.repair()

    @_on_main
    def checkpoint(self, artifact: str, step: int, state: Any, notes: Mapping[str, Any]) -> None:
        """Store the state inside an artifact; the one before is removed once the new one is whole.

        Args:
          artifact: An artifact that is not finished.
          step: The training step reached.
          state: Any tree of arrays: parameters, optimiser state, statistics. Typed PRNG keys go in
            as `jax.random.key_data`.
          notes: Whatever else JSON can hold.

        Raises:
          StoreError: it cannot be written; the checkpoint before is still there.
        """
        self._require_held(artifact)
        stage = artifacts.stage_of(self.path, self.replicates)
        folder = artifacts.locate(self.path, artifact)
        artifacts.put_checkpoint(stage, folder, step, state, notes)
        self._copy(artifact)

    @_on_main
    def latest_step(self, artifact: str, noted: Mapping[str, str] = NO_NOTES) -> int | None:
        """Return the step of the newest checkpoint of an artifact, or None; see `latest`."""
        return artifacts.latest_step(artifacts.locate(self.path, artifact), noted)

    @_on_main
    def latest(
        self, artifact: str, like: Any, noted: Mapping[str, str] = NO_NOTES
    ) -> artifacts.Checkpoint | None:
        """Return (step, state, notes) of the newest checkpoint of an artifact, or None.

        Args:
          artifact: its name.
          like: a tree of the state's structure.
          noted: what the notes must say for the checkpoint to be of use.

        Raises:
          StoreError: it is damaged, or its state differs from `like`; the message says what to
            delete.
        """
        return artifacts.latest(artifacts.locate(self.path, artifact), like, noted)

    @_on_main
    def repair(self) -> None:
        """Bring the folder in order after a killed process; what is in order stays untouched.

        Raises:
          StoreError: the folder cannot be written, or a record is damaged.
        """
        self._require_held()
        artifacts.clear(self.path, self.replicates)
        with self.files():
            finished = artifacts.finished(self.path)
            results.repair(self.path, finished)
        for artifact in finished:
            if share.is_own(self.replicates, artifact):
                artifacts.drop_checkpoints(artifacts.locate(self.path, artifact))
        self._copy("")

    def files(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no process that shares the run changes its common files."""
        return contextlib.nullcontext() if self.replicates is None else lock.files(self.path)

    def _copy(self, artifact: str | None) -> None:
        """Copy changes to the mirror: of an artifact, all ("") or the run's own files (None)."""
        if self._mirror is not None:
            self._mirror.push(artifact)

    def _require_held(self, artifact: str | None = None) -> None:
        """Raise unless this process may write to the run, or to one of its artifacts."""
        if not self._descriptors:
            raise StoreError(f"{self.path} is not held by this process: open it with `open_run`.")
        if artifact is not None and not share.is_own(self.replicates, artifact):
            raise StoreError(f"{artifact} is of another share of {self.path}: it is not written.")
