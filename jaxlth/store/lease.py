"""The lease of a run at a bucket: one machine writes there at a time.

A bucket has no locks that end with their process, so the object `lock` says who writes and when it
was last heard of: its process renews it every minute. A lease that was silent for ten minutes is
that of a machine that is gone, and the next one takes it over. A process that was silent so long
and goes on finds that out before it writes.

Processes that share a run (`jaxlth.store.share`) have an object each, `lock.R` of their first
replicate R, with all their replicates in it: two that have one in common never write together.
"""

import json
import logging
import pathlib
import threading
import time
import uuid
from typing import Any

from jaxlth.store import atomic, bucket, lock
from jaxlth.store.atomic import StoreError
from jaxlth.store.bucket import Place

LOCK = "lock"
RENEW = 60.0  # seconds between two renewals
STALE = 600.0  # seconds of silence after which the holder is taken for gone
POLL = 5.0  # seconds between two looks at the lease of another
SETTLE = 2.0  # seconds in which a second one that takes over at the same moment shows

_log = logging.getLogger("jaxlth")


class Lease:
    """What this process has at a bucket until it is given back; see `acquire`."""

    def __init__(self, place: Place, own: dict[str, Any]):
        """Keep a lease alive that has just been made."""
        self._place, self._own = place, own
        self._renewed, self._lost = time.monotonic(), ""
        self._guard, self._ended = threading.Lock(), threading.Event()
        threading.Thread(target=self._keep, daemon=True, name="jaxlth-lease").start()

    def check(self) -> None:
        """Raise unless this process still has the lease.

        Raises:
          StoreError: another process has taken it over, or the bucket cannot be used.
        """
        with self._guard:
            if time.monotonic() - self._renewed >= RENEW:
                self._renew()
            if self._lost:
                raise StoreError(self._lost)

    def release(self) -> None:
        """Give the lease back, unless another process has taken it over.

        Raises:
          StoreError: the bucket cannot be used.
        """
        self._ended.set()
        with self._guard:
            if not self._lost and is_of(self._own, holder(self._place, _name(self._own))):
                bucket.remove(self._place, [_name(self._own)])

    def _keep(self) -> None:
        while not self._ended.wait(RENEW / 2):
            try:
                self.check()
            except StoreError:  # whoever writes next sees the error; the network may come back
                continue

    def _renew(self) -> None:
        current = holder(self._place, _name(self._own))
        if current is None:
            current = _rival(self._place, self._own)
        if current is not None and not is_of(self._own, current):
            self._lost = (
                f"{self._place.url} was taken over by {who(current)}, because this process was not "
                "heard of for ten minutes. What it stored there before is whole; run it once."
            )
        else:
            _write(self._place, self._own)
        self._renewed = time.monotonic()


def acquire(
    place: Place,
    folder: pathlib.Path,
    *,
    wait: bool,
    replicates: tuple[int, ...] | None = None,
) -> Lease:
    """Return the lease of a run at a bucket, once nobody else has it.

    Args:
      place: the run at the bucket.
      folder: where this machine works on it, held by this process: another lease from there is one
        of a process that died.
      wait: wait for another holder to end or to be silent, instead of raising.
      replicates: those that this process does, None for all.

    Raises:
      StoreError: another process has the lease, or the bucket cannot be used.
    """
    own = _me(folder) | {"replicates": replicates}
    waited = False
    while True:
        current = holder(place, _name(own))
        if current is None:
            own["seen"] = time.time()
            bucket.create(place, _name(own), _text(own))  # whose it became is seen at the next look
            continue
        if is_of(own, current):
            current = _rival(place, own)
            if current is None:
                return Lease(place, own)
            bucket.remove(place, [_name(own)])  # of two that come at once, both do so
        if _is_gone(current, own):
            _take_over(place, current, own)
        elif not wait:
            raise StoreError(
                f"{place.url} is held by {who(current)}. Wait for it to end, or give --wait; a "
                "machine that is gone is taken for that after ten minutes."
            )
        else:
            if not waited:
                _log.warning("waiting for %s, held by %s", place.url, who(current))
            waited = True
            time.sleep(POLL)


def is_lock(name: str) -> bool:
    """Return whether an object, or a file of a run, is a lock."""
    return name == LOCK or name.startswith(f"{LOCK}.")


def holder(place: Place, name: str = LOCK) -> dict[str, Any] | None:
    """Return the entries of a lock, by default that of the whole run; None if there is none.

    Raises:
      StoreError: the bucket cannot be used.
    """
    return parse(bucket.read_or_none(place, name))


def parse(content: bytes | None) -> dict[str, Any] | None:
    """Return the entries of a lock; one without entries is of a process that is gone."""
    try:
        entries = json.loads(content) if content is not None else None
    except ValueError:
        entries = {}
    return {"seen": 0.0} | entries if isinstance(entries, dict) else entries


def is_fresh(entries: dict[str, Any] | None) -> bool:
    """Return whether the holder was heard of lately."""
    return entries is not None and time.time() - entries["seen"] < STALE


def is_of(own: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Return whether two leases are of the same process."""
    return other is not None and other.get("token") == own["token"]


def who(entries: dict[str, Any]) -> str:
    """Return who holds a run and since when, in words."""
    shown = {key: entries.get(key, "?") for key in ("pid", "host", "since", "command")}
    return lock.HOLDER.format(**shown)


def _is_gone(other: dict[str, Any], own: dict[str, Any]) -> bool:
    is_same_folder = all(other.get(key) == own[key] for key in ("host", "folder"))
    return is_same_folder or not is_fresh(other)


def _take_over(place: Place, other: dict[str, Any], own: dict[str, Any]) -> None:
    """Put our lease in the place of one that is gone; of two that do so the later one has it."""
    _log.warning("taking over %s from %s, which is gone", place.url, who(other))
    if _name(other) == _name(own):
        _write(place, own)
    else:
        bucket.remove(place, [_name(other)])
    if other.get("folder") != own["folder"]:
        time.sleep(SETTLE)


def _write(place: Place, own: dict[str, Any]) -> None:
    own["seen"] = time.time()
    bucket.write(place, _name(own), _text(own))


def _name(entries: dict[str, Any]) -> str:
    """Return the name of the object of a lease."""
    replicates = entries.get("replicates")
    return LOCK if replicates is None else f"{LOCK}.{min(replicates)}"


def _rival(place: Place, own: dict[str, Any]) -> dict[str, Any] | None:
    """Return another lease that has a replicate of ours, None if there is none."""
    names = [name for name in bucket.listing(place) if is_lock(name) and name != _name(own)]
    leases = [entries for name in names if (entries := holder(place, name)) is not None]
    return next((entries for entries in leases if _overlap(entries, own)), None)


def _overlap(entries: dict[str, Any], own: dict[str, Any]) -> bool:
    theirs, ours = entries.get("replicates"), own["replicates"]
    return theirs is None or ours is None or not set(theirs).isdisjoint(ours)


def _text(entries: dict[str, Any]) -> bytes:
    return f"{atomic.to_json(entries)}\n".encode()


def _me(folder: pathlib.Path) -> dict[str, Any]:
    return {"token": uuid.uuid4().hex, "folder": str(folder)} | lock.this_process()
