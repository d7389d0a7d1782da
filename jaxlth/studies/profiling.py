"""Where the time of a training goes: a trace by JAX, for TensorBoard and Perfetto."""

import jax

FIRST = 2  # event of a study after which it is traced, up to the next: its programs are compiled


class Trace:
    """A trace of the training between two events of a study; to its end, if it has fewer.

    Args:
      folder: where it is written; None for no trace.
    """

    def __init__(self, folder: str | None):
        """Trace nothing yet."""
        self._folder = folder
        self._events = 0
        self._is_on = False

    def __enter__(self) -> "Trace":
        """Return the trace itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the trace, if it has begun."""
        self._end()

    def advance(self) -> None:
        """Begin or end the trace at an event, such as an evaluation or a checkpoint."""
        self._events += 1
        self._end()
        if self._folder is not None and self._events == FIRST:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # what Python calls would fill the trace
            jax.profiler.start_trace(
                self._folder, create_perfetto_trace=True, profiler_options=options
            )
            self._is_on = True

    def _end(self) -> None:
        if self._is_on:
            self._is_on = False
            jax.profiler.stop_trace()
