"""Compiled programs, kept in the user's cache folder so that no later process compiles them again.

JAX writes a program straight to its place, so that a process which is killed meanwhile leaves a
broken one. Therefore each process has a folder of its own, filled with links to the programs that
are kept, and what it adds is kept at its end, if it is whole. A process that has been killed is
tidied up after by the next one.
"""

import atexit
import contextlib
import functools
import glob
import importlib
import os
import pathlib
import platform
import re
import shutil
import tempfile
import zlib
from importlib import metadata

LIMIT = 2**30  # bytes of all programs that are kept; those used least recently go first
FOLDER = "JAX_COMPILATION_CACHE_DIR"  # names JAX's own cache, which wins where it is set
# Keep short programs too, and do not make a program's key depend on the folder, as JAX would.
OPTIONS = {
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": "none",
}
PROCESS = "process-"  # begins the name of a process's folder


def home(name: str) -> pathlib.Path:
    """Return the folder for all programs, in the user's cache if there is one."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache if os.path.isabs(cache) else tempfile.gettempdir()) / name


def kind() -> str:
    """Return the versions of JAX and the processor that programs are compiled for, as a name."""
    versions = [f"{name}-{metadata.version(name)}" for name in ("jax", "jaxlib")]
    with contextlib.suppress(metadata.PackageNotFoundError):  # it is there for TPUs only
        versions.append(f"libtpu-{metadata.version('libtpu')}")
    return f"{'-'.join(versions)}-{_processor():08x}"


@functools.cache
def keep(home: pathlib.Path) -> None:
    """Have JAX keep the programs of this process, from now on to its end, where that is possible.

    A cache of JAX's own that the user has set stays.

    Args:
      home: folder for all programs; see `home`.
    """
    import jax

    store = home / kind()
    is_set = jax.config.values.get("jax_compilation_cache_dir") is not None
    folder = None if is_set else begin(store)
    if folder is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    for option, value in OPTIONS.items():
        jax.config.update(option, value)
    atexit.register(end, store, folder)


def kept() -> tuple[pathlib.Path, pathlib.Path] | None:
    """Return where programs are kept and the folder of this process there, None without `keep`."""
    import jax

    folder = pathlib.Path(jax.config.values.get("jax_compilation_cache_dir") or "")
    return (folder.parent, folder) if folder.name.startswith(_prefix()) else None


def begin(store: pathlib.Path) -> pathlib.Path | None:
    """Return a new folder for this process, with links to the programs that are kept.

    Returns:
      The folder, to be handed to `end`; None where there can be none: the home cannot be written
      to, or the disk is full.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        tidy(store)
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=store))
    except OSError:
        return None
    share(store, folder)
    return folder


def share(store: pathlib.Path, folder: pathlib.Path) -> None:
    """Keep what a process has compiled so far, and give it what others have."""
    with contextlib.suppress(OSError):
        compiled, kept_programs = (
            {path.name: path for path in directory.iterdir()} for directory in (folder, store)
        )
        for name, program in compiled.items():
            if name not in kept_programs and program.is_file() and _is_whole(program):
                _link(program, store / name)
        for name, program in kept_programs.items():
            if name not in compiled and program.is_file():
                _link(program, folder / name)


def end(store: pathlib.Path, folder: pathlib.Path) -> None:
    """Keep what a process has compiled, remove its folder, and bound the size of all programs."""
    share(store, folder)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        bound(store.parent)


def tidy(store: pathlib.Path) -> None:
    """Keep the programs that killed processes of this machine compiled."""
    for folder in store.glob(f"{glob.escape(_prefix())}*"):
        # The name of another machine may begin with that of this one, and a hyphen.
        process = re.fullmatch(r"(\d+)-\w+", folder.name.removeprefix(_prefix()))
        if process is not None and not _is_running(int(process[1])):
            end(store, folder)


def bound(home: pathlib.Path, limit: int = LIMIT) -> None:
    """Remove the programs that were used least recently until `limit` bytes are left."""
    files = [(path.stat(), path) for path in home.glob("*/*") if path.is_file()]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda pair: max(pair[0].st_atime, pair[0].st_mtime)):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size


def _link(program: pathlib.Path, target: pathlib.Path) -> None:
    """Link a program, unless another process has removed it or has linked its own there."""
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        os.link(program, target)


def _prefix() -> str:
    """Return the beginning of the names of folders of this machine's processes."""
    return f"{PROCESS}{platform.node()}-"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


def _is_whole(program: pathlib.Path) -> bool:
    """Return whether a program decompresses, by what JAX compresses with here."""
    content = program.read_bytes()
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return _is_whole_zstd(content)
    stream = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        stream.decompress(content)
    return stream.eof


def _is_whole_zstd(content: bytes) -> bool:
    for name in ("compression.zstd", "zstandard"):  # of Python 3.14, and of a package
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            with contextlib.suppress(module.ZstdError):
                module.decompress(content)
                return True
            return False
    return False


def _processor() -> int:
    """Return a checksum of what the processor can do, which compiled programs depend on."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return zlib.crc32(line.encode())
    return 0
