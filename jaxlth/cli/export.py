"""`jaxlth export`: tickets for other frameworks."""

import pathlib

from jaxlth import masks, models, store, studies
from jaxlth.cli import commands, results
from jaxlth.cli.commands import Export
from jaxlth.models import Network
from jaxlth.settings import require
from jaxlth.store.export import FORMATS
from jaxlth.studies import STUDIES, TicketName, run_info
from jaxlth.studies.loading import for_reading
from jaxlth.studies.parts import Parts
from jaxlth.studies.ticket_rows import trained_network


def export(command: Export) -> int:
    """Write a ticket to a file."""
    require(
        pathlib.Path(command.file).suffix in FORMATS,
        f"A ticket's file must end in {' or '.join(FORMATS)}; got {command.file!r}.",
    )
    require(
        command.layout != "torch" or command.file.endswith(".safetensors"),
        f"A file for PyTorch must end in .safetensors; got {command.file!r}.",
    )
    (path,) = results.run_folders((command.run,) if command.run else (), command.out)
    name = TicketName(**{field: getattr(command, field) for field in TicketName._fields})
    study = studies.of_run(path)
    exporting = [name for name, other in STUDIES.items() if other.ticket]
    if study.ticket is None:
        raise ValueError(
            f"{path.name} is a run of `jaxlth {study.name}`; tickets of "
            f"{commands.in_words(exporting)} are exported."
        )
    (network, mask), named = study.ticket(name, path, Parts())
    if command.weights == "trained":
        name = name._replace(**{key: named[key] for key in named.keys() & set(name._fields)})
        network = trained_network(study.named_by, run_info.results(path), path, name)
    about = {"run": path.name, **named, "replicate": command.replicate, "weights": command.weights}
    about |= {"density": float(masks.density(mask)), "kept": int(masks.kept(mask))}
    if command.layout == "torch":
        config, images = run_info.read_config(store.open_readonly(path), study.Config)
        model = for_reading(config, **images).prunable.model
        pruned = Network(masks.apply(network.params, mask), network.stats)
        state, names = models.to_torch(pruned, flattened=model.flattened)
        store.export_arrays(command.file, state, metadata=about | {"names": names})
    else:
        store.export_ticket(command.file, network.params, mask, stats=network.stats, metadata=about)
    print(command.file)
    return 0
