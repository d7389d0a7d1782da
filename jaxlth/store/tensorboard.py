"""The curves of a run as event files for TensorBoard; needs the extra `jaxlth[tensorboard]`."""

import os

from jaxlth.process import paths
from jaxlth.store import artifacts, atomic, metadata, remote
from jaxlth.store.atomic import StoreError
from jaxlth.store.table import points


def write_events(path: str | os.PathLike[str], directory: str | os.PathLike[str]) -> list[str]:
    """Write the curves of each finished artifact of a run, and return the names of these artifacts.

    Args:
      path: The run folder.
      directory: Where the event files go, one folder for each artifact; what was there is replaced.

    Raises:
      StoreError: the extra is not installed, the folder is no run, or a file cannot be written.
    """
    try:
        import tensorboardX
    except ImportError as error:
        raise StoreError(
            "Event files need tensorboardX: run `pip install 'jaxlth[tensorboard]'`."
        ) from error
    target = paths.given(directory, setting="directory").absolute()
    run = remote.local(path)
    metadata.read(run)
    written = []
    for artifact, record in artifacts.records(run):
        curve = points(record.get("curve") or {})
        if not curve or "step" not in curve[0]:  # a line between networks is no training
            continue
        folder = target / run.name / artifact
        atomic.remove(folder)
        with atomic.writing(folder), tensorboardX.SummaryWriter(str(folder)) as writer:
            for point in curve:
                step = point.pop("step")
                for metric, value in point.items():
                    if value is not None:
                        writer.add_scalar(metric, value, step)
        written.append(artifact)
    return written
