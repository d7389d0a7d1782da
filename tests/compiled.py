"""Programs that earlier test runs compiled, kept so that no run compiles them again.

Each process of pytest has a folder of its own, filled with links to the programs that are kept. So
a process that is killed while it writes a program leaves nothing broken for the next run, and two
processes never write the same file. What a process adds is kept at its end, if it is whole.
"""

import contextlib
import os
import pathlib
import tempfile
import zlib
from importlib import metadata

LIMIT = 2**30  # bytes of all programs that are kept; the oldest go first


def kept() -> pathlib.Path:
    """Return the folder of all programs that are kept, in the user's cache if there is one."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    at = pathlib.Path(home if os.path.isabs(home) else tempfile.gettempdir())
    return at / "jaxlth-tests"


def kept_here() -> pathlib.Path:
    """Return the folder of what this version of JAX compiles for this kind of processor."""
    versions = [f"{name}-{metadata.version(name)}" for name in ("jax", "jaxlib")]
    return kept() / f"{'-'.join(versions)}-{_processor():08x}"


def begin(folder: pathlib.Path) -> None:
    """Fill an empty folder with links to the programs that are kept."""
    with contextlib.suppress(OSError):
        kept_here().mkdir(parents=True, exist_ok=True)
        for program in kept_here().iterdir():
            os.link(program, folder / program.name)


def end(folder: pathlib.Path) -> None:
    """Keep the programs that a folder has besides those kept already, if they are whole."""
    for program in folder.iterdir():
        if program.is_file() and program.stat().st_nlink == 1 and _is_whole(program):
            with contextlib.suppress(OSError):  # another process keeps it, or the disk is full
                os.link(program, kept_here() / program.name)


def bound(limit: int = LIMIT) -> None:
    """Remove the programs that were used least recently until `limit` bytes are left."""
    files = [(path.stat(), path) for path in kept().rglob("*") if path.is_file()]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda pair: max(pair[0].st_atime, pair[0].st_mtime)):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size


def _is_whole(program: pathlib.Path) -> bool:
    """Return whether a program decompresses. Those of zstandard, where it is installed, do not."""
    content = program.read_bytes()
    if not content.startswith(b"\x78"):
        return False
    stream = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        stream.decompress(content)
    return stream.eof


def _processor() -> int:
    """Return a checksum of what the processor can do, which compiled programs depend on."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return zlib.crc32(line.encode())
    return 0
