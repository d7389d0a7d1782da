"""The claim to a run at a bucket: one machine writes there at a time.

A bucket has no locks that end with their process, so the object `lock` says who writes and when it
was last heard of: its process renews it every minute. A claim that was silent for ten minutes is
that of a machine that is gone, and the next one takes it over. A process that was silent so long
and goes on finds that out before it writes.
"""

import json
import logging
import os
import pathlib
import shlex
import socket
import sys
import threading
import time
import uuid
from typing import Any

from jaxlth.store import atomic, bucket
from jaxlth.store.atomic import StoreError
from jaxlth.store.bucket import Place

LOCK = "lock"
RENEW = 60.0  # seconds between two renewals
STALE = 600.0  # seconds of silence after which the holder is taken for gone
POLL = 5.0  # seconds between two looks at the claim of another
SETTLE = 2.0  # seconds in which a second one that takes over at the same moment shows

_tell = logging.getLogger("jaxlth")


class Claim:
    """What this process has at a bucket until it is given back; see `take`."""

    def __init__(self, place: Place, mine: dict[str, Any]):
        """Keep a claim alive that has just been made."""
        self._place, self._mine = place, mine
        self._renewed, self._taken = time.monotonic(), ""
        self._one, self._over = threading.Lock(), threading.Event()
        threading.Thread(target=self._keep, daemon=True, name="jaxlth-claim").start()

    def check(self) -> None:
        """Raise unless this process still has the claim.

        Raises:
          StoreError: another process has taken it over, or the bucket cannot be used.
        """
        with self._one:
            if time.monotonic() - self._renewed >= RENEW:
                self._renew()
            if self._taken:
                raise StoreError(self._taken)

    def release(self) -> None:
        """Give the claim back, unless another process has taken it over.

        Raises:
          StoreError: the bucket cannot be used.
        """
        self._over.set()
        with self._one:
            if not self._taken and is_of(self._mine, holder(self._place)):
                bucket.remove(self._place, [LOCK])

    def _keep(self) -> None:
        while not self._over.wait(RENEW / 2):
            try:
                self.check()
            except StoreError:  # whoever writes next is told; the network may come back
                continue

    def _renew(self) -> None:
        found = holder(self._place)
        if found is not None and not is_of(self._mine, found):
            self._taken = (
                f"{self._place.url} was taken over by {who(found)}, because this process was not "
                "heard of for ten minutes. What it stored there before is whole; run it once."
            )
        else:
            _write(self._place, self._mine)
        self._renewed = time.monotonic()


def take(place: Place, folder: pathlib.Path, *, wait: bool) -> Claim:
    """Return the claim to a run at a bucket, once nobody else has it.

    Args:
      place: the run at the bucket.
      folder: where this machine works on it, held by this process: another claim from there is one
        of a process that died.
      wait: wait for another holder to end or to be silent, instead of raising.

    Raises:
      StoreError: another process has the claim, or the bucket cannot be used.
    """
    mine = _me(folder)
    waited = False
    while True:
        found = holder(place)
        if found is None:
            mine["seen"] = time.time()
            bucket.create(place, LOCK, _text(mine))  # whose it became is seen at the next look
        elif is_of(mine, found):
            return Claim(place, mine)
        elif _is_gone(found, mine):
            _take_over(place, found, mine)
        elif not wait:
            raise StoreError(
                f"{place.url} is held by {who(found)}. Wait for it to end, or give --wait; a "
                "machine that is gone is taken for that after ten minutes."
            )
        else:
            if not waited:
                _tell.warning("waiting for %s, held by %s", place.url, who(found))
            waited = True
            time.sleep(POLL)


def holder(place: Place) -> dict[str, Any] | None:
    """Return what the object `lock` says, None if there is none.

    Raises:
      StoreError: the bucket cannot be used.
    """
    return parse(bucket.look(place, LOCK))


def parse(content: bytes | None) -> dict[str, Any] | None:
    """Return what a lock says; one that says nothing is that of somebody gone."""
    try:
        found = json.loads(content) if content is not None else None
    except ValueError:
        found = {}
    return {"seen": 0.0} | found if isinstance(found, dict) else found


def is_fresh(found: dict[str, Any] | None) -> bool:
    """Return whether the holder was heard of lately."""
    return found is not None and time.time() - found["seen"] < STALE


def is_of(mine: dict[str, Any], found: dict[str, Any] | None) -> bool:
    """Return whether two claims are of the same process."""
    return found is not None and found.get("token") == mine["token"]


def who(found: dict[str, Any]) -> str:
    """Return who holds a run and since when, in words."""
    by = {key: found.get(key, "?") for key in ("pid", "host", "since", "command")}
    return "process {pid} on {host} since {since} ({command})".format(**by)


def _is_gone(found: dict[str, Any], mine: dict[str, Any]) -> bool:
    here = all(found.get(key) == mine[key] for key in ("host", "folder"))
    return here or not is_fresh(found)


def _take_over(place: Place, found: dict[str, Any], mine: dict[str, Any]) -> None:
    """Put our claim in the place of one that is gone; of two that do so the later one has it."""
    _tell.warning("taking over %s from %s, which is gone", place.url, who(found))
    _write(place, mine)
    if found.get("folder") != mine["folder"]:
        time.sleep(SETTLE)


def _write(place: Place, mine: dict[str, Any]) -> None:
    mine["seen"] = time.time()
    bucket.write(place, LOCK, _text(mine))


def _text(mine: dict[str, Any]) -> bytes:
    return f"{atomic.to_json(mine)}\n".encode()


def _me(folder: pathlib.Path) -> dict[str, Any]:
    return {
        "token": uuid.uuid4().hex,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "folder": str(folder),
        "since": atomic.now(),
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
