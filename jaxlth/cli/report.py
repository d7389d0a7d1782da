"""`jaxlth report`: a page of stored runs."""

import pathlib
import sys

from jaxlth import store, studies
from jaxlth.cli import results
from jaxlth.cli.commands import Report
from jaxlth.studies import Study, report_page, run_info


def report(command: Report) -> int:
    """Write the page, and print its name."""
    if command.file is not None:
        report_page.check(command.file)
    paths = results.run_folders(command.runs, command.out)
    runs = store.damage.skip_damaged(paths, _readable, errors=(ValueError,))
    file = pathlib.Path(command.file or runs[0][0] / "report.html")
    print(report_page.write(runs, file, tolerance=command.tolerance))
    for path, _ in runs:
        if lacking := run_info.unfinished(path):
            print(lacking, file=sys.stderr)
    return 0


def _readable(path: pathlib.Path) -> tuple[pathlib.Path, Study]:
    run_info.results(path)
    return path, studies.of_run(path)
