"""`jaxlth export`: tickets for other frameworks."""

import pathlib

from jaxlth import masks, store
from jaxlth.cli import commands, results
from jaxlth.cli.commands import Export
from jaxlth.settings import require
from jaxlth.store.export import FORMATS
from jaxlth.studies import STUDIES, TicketName, run_info
from jaxlth.studies.parts import Parts


def export(command: Export) -> int:
    """Write a ticket to a file."""
    require(
        pathlib.Path(command.file).suffix in FORMATS,
        f"A ticket's file must end in {' or '.join(FORMATS)}; got {command.file!r}.",
    )
    (path,) = results.run_folders((command.run,) if command.run else (), command.out)
    name = TicketName(**{field: getattr(command, field) for field in TicketName._fields})
    study_name = run_info.study_name(path)
    exporting = {study.name: study.ticket for study in STUDIES.values() if study.ticket}
    require(
        study_name in exporting,
        f"{path.name} is a run of `jaxlth {study_name}`; tickets of "
        f"{commands.in_words(list(exporting))} are exported.",
    )
    (network, mask), named = exporting[study_name](name, path, Parts())
    about = {"run": path.name, **named, "replicate": command.replicate}
    counts = {"density": float(masks.density(mask)), "kept": int(masks.kept(mask))}
    store.export_ticket(
        command.file, network.params, mask, stats=network.stats, metadata=about | counts
    )
    print(command.file)
    return 0
