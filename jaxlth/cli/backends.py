"""Checks of the environment variables of JAX: flags and backends that do not exist.

JAX aborts the process on an unknown flag. On a missing backend it prints tracebacks of many lines.
"""

import contextlib
import os
import re
import subprocess
import sys

from jaxlth.settings import require

PARSE = "from jaxlib import xla_client; xla_client.CompileOptions()"
FATAL = re.compile(r"^F.*?\] (.*)$", re.MULTILINE)  # a line before XLA ends the process
NO_BACKEND = "nable to initialize backend"
UNKNOWN = "Unknown backend"  # JAX says so of the older variable, JAX_PLATFORM_NAME


def check_flags() -> None:
    """Refuse $XLA_FLAGS at which XLA would abort this process.

    Raises:
      ValueError: XLA does not know a flag.
    """
    if not os.environ.get("XLA_FLAGS", "").strip():
        return
    command = [sys.executable, "-c", PARSE]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    fatal = FATAL.search(done.stderr)
    require(
        fatal is None and done.returncode >= 0,
        f"`$XLA_FLAGS` would end this process: {fatal[1] if fatal else 'XLA aborts'}.",
    )


def use_cpu() -> None:
    """Have JAX start one device of the CPU in this process, whatever the environment says.

    What only reads runs needs no more. It would take the memory of a GPU that trains, or fail
    beside a process that has the TPU, or on a machine without either.
    """
    import jax

    jax.config.update("jax_platforms", "cpu")
    with contextlib.suppress(RuntimeError):  # the CPU is in use already
        jax.config.update("jax_num_cpu_devices", 1)


def complaint(error: Exception) -> str | None:
    """Return what to say of a backend of JAX that cannot start; None where it does.

    Args:
      error: what was raised, of which the backend may be the cause.
    """
    cause = error if NO_BACKEND in str(error) else _start()
    if cause is None:
        return None
    reason = str(cause).partition(" (set JAX_PLATFORMS")[0].strip().rstrip(".")
    name = "JAX_PLATFORM_NAME" if reason.startswith(UNKNOWN) else "JAX_PLATFORMS"
    return (
        f"JAX cannot start the backend of {name}={os.environ.get(name, '')}: "
        f"{reason or 'there is no such device or driver'}. Unset {name}, or set it to a "
        "backend that is installed, such as cpu."
    )


def _start() -> Exception | None:
    """Start the backend, where JAX is imported, and return what prevents it."""
    jax = sys.modules.get("jax")
    try:
        if jax is not None and hasattr(jax, "devices"):
            jax.devices()
    except Exception as error:  # RuntimeError; AssertionError of CUDA
        return error
    return None
