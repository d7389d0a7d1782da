"""What the command line says: interruptions, files of results, several runs, help."""

import contextlib
import importlib
import io
import json
import logging
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile

import jax
import matplotlib.figure
import pandas as pd
import PIL.Image
import pytest
import rich.console
from jax.experimental.compilation_cache import compilation_cache
from tiny import COMMAND as TINY
from tiny import once, printed

import jaxlth
from jaxlth import cli, data, models, settings, store
from jaxlth.cli import errors, formats, notices, options
from jaxlth.cli.commands import READING, TOLERANCE, by_name
from jaxlth.process import signals
from jaxlth.store import lock, metadata
from jaxlth.studies import STUDIES, field_docs, figure_kinds, level_artifacts
from jaxlth.studies.controls import CONTROLS
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.training import optimizers

COMMANDS = by_name()

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 240  # seconds that a busy machine may take


def page_of(*words, columns=100):
    """Return what a command line that asks for help prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stopped:
            cli.main([*words])
    assert not stopped.value.code
    return out.getvalue()


def joined(page):
    """Return a page of help as one line."""
    return " ".join(page.replace("│", " ").split())


def help_of(command):
    """Return the whole help of a command, its lines joined."""
    return joined(page_of(command, "--help-all"))


# ---- interruptions

INTERRUPT_AT_IMPORT = """
import os, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Interrupt())
from jaxlth.cli import main
sys.exit(main())
"""


def interrupted(capfd):
    """Return the one line that an interrupted command says last."""
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    return [line for line in captured.err.splitlines() if line.startswith("jaxlth: ")]


def test_a_signal_while_a_class_is_made_is_one_line(capfd):
    class Named:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    def make():
        type("Made", (), {"field": Named()})

    assert cli.guarded(make) == 130
    assert interrupted(capfd) == ["jaxlth: interrupted."]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["jax", "sklearn.datasets"])
def test_a_signal_while_importing_or_loading_data_is_one_line(module, number, tmp_path):
    code = INTERRUPT_AT_IMPORT.format(module=module, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", code, *TINY, "--data", "moons"],  # made by scikit-learn
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 130, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("jaxlth: interrupted")
    if module == "jax":
        assert "saved" not in line
        assert list(tmp_path.iterdir()) == []
    # It arrives soon after an import is over: a fast machine may have made the run's folder then.
    assert list(tmp_path.rglob("level_*")) == []


def test_an_interruption_that_gets_lost_comes_again(capfd, monkeypatch):
    monkeypatch.setattr(signals, "AGAIN", 0.05)

    class Swallowing:
        def __del__(self):  # Python ignores what is raised here, as in hooks of the collector
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    def work():
        Swallowing()
        time.sleep(PATIENCE)
        return 0

    assert cli.guarded(work) == 130
    assert capfd.readouterr().err == "jaxlth: interrupted.\n"


def test_a_signal_while_waiting_for_another_process_is_one_line(finished):
    code = "import sys; from jaxlth.cli import main; sys.exit(main())"
    descriptor = lock.hold(finished, wait=False)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *TINY, "--out", str(finished.parent), "--wait"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        _until_it_waits(process)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
    finally:
        os.close(descriptor)
    assert process.returncode == 130
    assert told == "jaxlth: interrupted; nothing was computed.\n"


def _until_it_waits(process):
    """Wait until the kernel has the process wait for a lock."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        locks = pathlib.Path("/proc/locks").read_text().splitlines()
        if any("->" in line and f" {process.pid} " in line for line in locks):
            return
        time.sleep(0.05)
    pytest.fail(f"it does not wait: {process.communicate()}")


LONG = once([*TINY, "--steps", "200000"])


def test_a_signal_while_training_compiles_saves_once_there_is_something_to_save(
    interrupt_after_training_began, tmp_path, capfd
):
    out = ["--out", str(tmp_path)]
    assert cli.main([*LONG, *out]) == 130
    (line,) = interrupted(capfd)
    assert "interrupted and saved in" in line
    assert "the same command goes on from there." in line
    assert list(tmp_path.rglob("checkpoint_*/record.json"))


@pytest.fixture
def interrupt_after_training_began(monkeypatch):
    """Send the signal to this process when the run has been opened, before anything compiles."""
    set_expected_count = store.Run.set_expected_count

    def set_and_interrupt(self, total):
        set_expected_count(self, total)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(store.Run, "set_expected_count", set_and_interrupt)


def test_a_second_signal_while_a_checkpoint_is_written_claims_nothing(
    interrupt_after_training_began, tmp_path, capfd, monkeypatch
):
    def interrupted_checkpoint(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal was not obeyed")

    monkeypatch.setattr(store.Run, "checkpoint", interrupted_checkpoint)
    assert cli.main([*LONG, "--out", str(tmp_path)]) == 130
    (line,) = interrupted(capfd)
    assert "and saved" not in line
    assert "the same command goes on from there." in line
    assert not list(tmp_path.rglob("checkpoint_*"))


def test_a_signal_with_the_last_network_claims_no_checkpoint(tmp_path, capfd, monkeypatch):
    save = store.Run.save

    def saved(self, *arguments):
        save(self, *arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(store.Run, "save", saved)
    assert cli.main(once([*TINY, "--levels", "0", "--out", str(tmp_path)])) == 130
    (line,) = interrupted(capfd)
    assert "what was stored before is in" in line
    assert len(list(tmp_path.rglob("record.json"))) == 1


def test_a_signal_while_concluding_says_that_all_is_stored(finished, capfd, monkeypatch):
    save = matplotlib.figure.Figure.savefig

    def interrupted_save(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        save(*arguments, **named)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", interrupted_save)
    assert cli.main([*TINY, "--out", str(finished.parent)]) == 130
    (line,) = interrupted(capfd)
    assert "every network is stored in" in line


def test_handlers_of_signals_are_given_back(finished):
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    assert cli.guarded(lambda: 7) == 7
    for number in signals.SIGNALS:
        assert cli.guarded(lambda number=number: os.kill(os.getpid(), number) or 0) == 130
        assert [signal.getsignal(number) for number in signals.SIGNALS] == before


def test_a_terminal_that_closes_is_no_second_signal_and_none_under_nohup(monkeypatch):
    def close_terminal():
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    with signals.noted() as received:
        close_terminal()
        close_terminal()
        assert received == [signal.SIGHUP] * 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.guarded(close_terminal) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_no_mistake_is_not_hidden(monkeypatch):
    def broken():
        raise RuntimeError("a defect")

    def mistaken():
        raise ValueError("a mistake")

    with pytest.raises(RuntimeError, match="a defect"):
        cli.guarded(broken)
    assert cli.guarded(mistaken) == 2
    monkeypatch.setenv("JAXLTH_TRACEBACK", "1")
    with pytest.raises(ValueError, match="a mistake"):
        cli.guarded(mistaken)


# ---- networks that diverged


def test_networks_that_diverged_are_told_with_folder_and_step_and_again_later(tmp_path, capfd):
    out = tmp_path / "runs [old] [" / "b]"  # which rich would read as marks of its own
    arguments = [*TINY, "--optimizer", "sgd", "--lr", "1e30", "--out", str(out)]
    assert cli.main(arguments) == 0
    first = capfd.readouterr()
    (info,) = store.runs(out)
    unit = level_artifacts.network(0, "ticket", 0)
    step = store.open_readonly(info.path).record(unit)["nan_step"]
    (line,) = [row for row in first.err.splitlines() if str(info.path / unit) in row]
    assert f"the loss is not finite from step {step} on" in line
    assert "Diverged before" not in first.err
    assert cli.main(arguments) == 0
    again = capfd.readouterr()
    assert again.out == first.out
    assert again.err == f"Diverged before, in {info.path}: {unit} (step {step}).\n"


def test_a_run_is_listed_under_the_name_that_its_folder_has(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "best [old] [b]")
    assert "best [old] [b] " in printed("list", "--out", str(tmp_path))


# ---- results and figures


@pytest.mark.parametrize("curves", [[], ["--curves"]])
@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_results_are_written_to_a_file(finished, tmp_path, curves, suffix):
    file, out = tmp_path / f"table{suffix}", ["--out", str(finished.parent)]
    assert printed("results", "--file", str(file), *curves, *out) == f"{file}\n"
    rows = json.loads(printed("results", "--format", "json", *curves, *out))
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[suffix]
    frame = read(file)
    assert list(frame.columns) == list(rows[0])
    assert list(frame["test_accuracy"]) == pytest.approx([row["test_accuracy"] for row in rows])
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["json", "csv"])
def test_a_file_holds_what_is_printed(finished, tmp_path, name):
    file, out = tmp_path / f"table.{name}", ["--out", str(finished.parent)]
    printed("results", "--file", str(file), *out)
    assert printed("results", "--format", name, *out).rstrip("\n") == file.read_text().rstrip("\n")


@pytest.mark.parametrize("name", ["json", "csv"])
def test_printed_rows_are_those_of_the_table(finished, name):
    frame = store.table([finished])
    text = formats.to_json(frame) if name == "json" else formats.to_csv(frame)
    told = printed("results", "--format", name, "--out", str(finished.parent))
    assert told == text.rstrip("\n") + "\n"


def test_runs_of_one_name_are_drawn_under_names_that_differ(finished, tmp_path):
    paths = [tmp_path / place / "run" for place in ("here", "there")]
    for path in paths:
        shutil.copytree(finished, path)
    file = tmp_path / "both.svg"
    printed("figure", *map(str, paths), "--file", str(file))
    told = re.findall(r"<!-- (.*?) -->", file.read_text())
    assert {"here/run", "there/run"} <= set(told)


def test_tables_of_runs_of_one_name_tell_them_apart(finished, tmp_path):
    paths = [tmp_path / lab / finished.name for lab in ("one", "two")]
    for path in paths:
        shutil.copytree(finished, path)
    names = [f"{lab}/{finished.name}" for lab in ("one", "two")]
    for read in (store.table, store.curves):
        assert list(read(paths)["run"].unique()) == names
        assert set(read(paths[:1])["run"]) == set(read([*paths[:1]] * 2)["run"]) == {finished.name}
    told = printed("results", *map(str, paths)).splitlines()
    assert [line for line in told if line.endswith(finished.name)] == names


def test_a_run_named_twice_is_drawn_once(finished, tmp_path):
    file = tmp_path / "twice.svg"
    printed("figure", str(finished), str(finished), "--file", str(file))
    told = re.findall(r"<!-- (.*?) -->", file.read_text())
    assert told.count("ticket") == 1
    assert not any(finished.name in text for text in told)


@pytest.mark.parametrize("kind", ["network", "pixels"])
def test_tickets_of_perceptrons_are_drawn_level_by_level(finished, kind, tmp_path):
    file = tmp_path / f"{kind}.svg"
    printed("figure", str(finished), "--kind", kind, "--file", str(file))
    assert re.findall(r"<!-- (Level \d) -->", file.read_text()) == ["Level 0", "Level 1"]


# ---- settings and help


def test_options_win_over_the_settings_file(finished, tmp_path):
    file = finished / "settings.toml"
    out = ["--out", str(tmp_path)]
    printed("imp", *out, "--settings", str(file), "--seed", "7", "--steps", "10")
    (info,) = store.runs(tmp_path)
    stored = settings.read_toml(ImpConfig, info.path / "settings.toml")
    given = settings.read_toml(ImpConfig, file)
    assert (stored.seed, stored.training.steps) == (7, 10)
    assert stored.model == given.model
    assert stored.levels == given.levels


def test_an_option_takes_back_what_the_settings_file_says(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("controls = []\nlevels = 0\nreplicates = 1\n[training]\nsteps = 500\n")
    out = ["--out", str(tmp_path / "runs"), "--model", "mlp", "--hidden", "4"]
    shorter = ["--steps", "none", "--epochs", "0.5"]
    printed("imp", "--settings", str(file), *shorter, *out)
    (info,) = store.runs(tmp_path / "runs")
    assert (
        store.open_readonly(info.path).record(level_artifacts.network(0, "ticket", 0))["steps"] < 20
    )


def test_the_version_is_printed():
    assert printed("--version") == f"jaxlth {jaxlth.__version__}\n"


def test_the_tolerance_has_one_default():
    assert COMMANDS["imp"]().tolerance == COMMANDS["results"]().tolerance == TOLERANCE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_its_help_and_a_readable_value(command):
    text = help_of(command)
    assert not re.search(r"\b(STR|INT|FLOAT)\b|\{None\}|\(default: ?\)", text)
    for option in options.names(COMMANDS[command]):
        if not option.startswith("--no-"):
            after = text.split(f" {option} ", 1)[-1].split(" --", 1)[0] + " --"
            assert f" {option}" in text, option
            assert len(after) > 20, option


TAKES = {  # option -> every value that it takes
    "--data": data.NAMES,
    "--normalize": data.NORMALIZERS,
    "--model": models.MODELS,
    "--initializer": models.INITIALIZERS,
    "--optimizer": optimizers.RULES,
    "--lr-schedule": optimizers.SCHEDULES,
    "--controls": CONTROLS,
    "--after-pruning": ["rewind", "learning-rate", "fine-tune"],
    "--scope": ["global", "layerwise"],
    "--checkpoint": ["last", "best"],
}


def test_the_help_names_only_the_scores_that_separation_takes():
    paragraph = paragraph_of("--score", help_of("separation"))
    assert "magnitude-increase" in paragraph
    assert "snip" not in paragraph
    assert "snip" in paragraph_of("--score", help_of("prune-early"))


@pytest.mark.parametrize("option", TAKES)
def test_the_help_names_every_value_of_an_option(option):
    paragraph = paragraph_of(option, help_of("imp"))
    for value in TAKES[option]:
        assert re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", paragraph), value


def paragraph_of(option, text):
    """Return what the help says of an option."""
    return re.search(rf" {option} (.*?\(default: .*?\))", text)[1]


def test_the_help_of_jaxlth_is_a_line_for_each_command_and_fits_one_screen():
    for columns in (80, 100):
        page = page_of("--help", columns=columns)
        assert len(page.splitlines()) <= 26 + (columns == 80)
        for name, cls in COMMANDS.items():
            (line,) = (line for line in page.splitlines() if f"• {name} " in line)
            assert cls.__doc__.splitlines()[0] in line
    assert page_of("--help-all") == page


@pytest.mark.slow
def test_the_help_has_no_code_where_python_leaves_out_docstrings():
    help_page = "sys.exit(cli.main(['imp', '--help-all']))"
    page = program(help_page, PYTHONOPTIMIZE="2").stdout
    assert page.count(field_docs.NO_TEXT) > 1
    assert "--levels" in page
    assert "typing." not in page


@pytest.mark.parametrize("name", STUDIES)
def test_the_help_of_a_study_fits_in_120_lines_and_explains_or_names_every_option(name):
    page, rest = page_of(name, "--help"), page_of(name, "--help-all")
    for columns, text in ((100, page), (80, page_of(name, "--help", columns=80))):
        assert len(text.splitlines()) <= 120 < len(rest.splitlines())
        assert max(map(len, text.splitlines())) <= columns
    explained, _, named = page.partition("less common options")
    rare = {option for _, option in options.rare(COMMANDS[name])}
    assert set(re.findall(r"--[a-z][a-z0-9-]*", named)) == rare | {"--help-all"}
    assert rare == {option for option in rare if f"│ {option}" not in explained}
    shown = {option for option in options.names(COMMANDS[name]) if not option.startswith("--no-")}
    assert shown - rare == {option for option in shown if f"│ {option} " in explained}
    assert shown == {option for option in shown if re.search(rf"│ {option}[ ,]", rest)}


def test_the_short_help_of_an_option_is_its_first_sentence_and_the_long_one_all_of_it():
    page, rest = joined(page_of("imp", "--help")), help_of("imp")
    assert "Directory with a folder for each data set." in page
    assert "Digits need none." not in page
    assert "Digits need none." in rest


def test_an_option_that_the_help_only_names_is_read_all_the_same(capsys):
    assert cli.main(["imp", "--dilations", "-1"]) == cli.MISTAKEN
    assert "`dilations` must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", STUDIES)
def test_the_help_of_figure_has_a_line_for_every_kind_of_a_study(name):
    table = STUDIES[name].figures
    assert set(table.help) == set(table.kinds) <= set(figure_kinds())
    _, _, page = page_of("figure", "--help").partition("kinds of figures")
    (part,) = re.findall(rf"│ {name} +│\n((?:│   .*\n)*)", page)
    for kind, line in table.help.items():
        assert re.search(rf"│   {kind} +{re.escape(line)} +│", part), kind


# ---- what the terminal and the environment are like


@pytest.mark.parametrize("columns", ["0", "abc", "-5", "1", "10", "", "9" * 30])
def test_any_width_of_the_terminal_shows_the_table_and_the_help(columns, finished, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out = ["--out", str(finished.parent)]
    plain = printed("results", *out)
    monkeypatch.setenv("COLUMNS", columns)
    told = printed("results", *out)
    assert "Winning tickets match" in " ".join(told.split())
    if columns not in ("1", "10", "9" * 30):
        assert told == plain
    assert "ticket" in told.split()
    widest = max(map(len, told.splitlines()))
    assert 30 < widest <= cli.WIDEST
    with contextlib.redirect_stdout(io.StringIO()) as text, pytest.raises(SystemExit):
        cli.main(["list", "--help"])
    assert "--out" in text.getvalue()


def test_a_width_that_can_be_used_is_used(monkeypatch):
    monkeypatch.setenv("COLUMNS", "63")
    cli.guarded(lambda: 0)
    assert os.environ["COLUMNS"] == "63"


@pytest.mark.parametrize("words", [["-V"], ["imp", "--version"], ["imp", "--lr", "x", "-V"]])
def test_the_version_is_told_wherever_it_is_asked_for(words):
    assert printed(*words) == f"jaxlth {jaxlth.__version__}\n"


def program(code, **environment):
    """Return what a program says that is guarded as the command is."""
    start = f"import os, sys\nfrom jaxlth import cli\n{code}"
    return subprocess.run(
        [sys.executable, "-c", start],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


DEVICES = """
def devices():
    import jax
    return len(jax.devices()) - 1
sys.exit(cli.guarded(devices))
"""


@pytest.mark.parametrize(
    ("platforms", "reason"),
    [
        ("cuda", ": "),
        ("nope", "'nope' is not in the list of known backends"),
        ("cpu,", "'' is not in the list of known backends"),
        ("CPU", "'CPU' is not in the list of known backends"),
    ],
)
def test_a_backend_that_is_not_there_is_a_line_that_names_the_variable(platforms, reason):
    done = program(DEVICES, JAX_PLATFORMS=platforms)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"jaxlth: JAX cannot start the backend of JAX_PLATFORMS={platforms}: ")
    assert reason in line
    assert line.endswith("or set it to a backend that is installed, such as cpu.")


@pytest.mark.slow
def test_the_older_variable_of_a_backend_is_named_where_it_is_to_blame():
    done = program(DEVICES, JAX_PLATFORMS="cpu", JAX_PLATFORM_NAME="cuda")
    assert done.returncode == 2
    assert "backend of JAX_PLATFORM_NAME=cuda: Unknown backend cuda." in done.stderr
    assert "Unset JAX_PLATFORM_NAME, or set it to" in done.stderr


@pytest.mark.parametrize("name", [*READING, "imp"])
def test_a_process_that_only_reads_runs_starts_no_accelerator(name, monkeypatch, capfd):
    jax.devices()  # those of this process stay as they are
    before = jax.config.jax_platforms
    try:
        for arguments, platforms in ((None, "cpu"), ([name, "--nope"], "cuda")):
            jax.config.update("jax_platforms", "cuda")
            monkeypatch.setattr(sys, "argv", ["jaxlth", name, "--nope"])
            monkeypatch.setenv("MPLBACKEND", "rubbish")
            assert cli.main(arguments) == 2
            assert os.environ["MPLBACKEND"] == ("agg" if arguments is None else "rubbish")
            assert jax.config.jax_platforms == ("cuda" if name in STUDIES else platforms)
    finally:
        jax.config.update("jax_platforms", before)


@pytest.mark.slow
def test_results_are_read_on_a_machine_without_the_accelerator_of_the_environment(finished):
    show = f"sys.argv[1:] = ['results', {str(finished)!r}]\nsys.exit(cli.main())"
    done = program(show, JAX_PLATFORMS="cuda")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--xla_no_such_flag=1", "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1."),
        ("nowhere", 'Could not open file "nowhere"'),
    ],
)
def test_flags_at_which_xla_aborts_are_a_line(flags, words, monkeypatch, capfd):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert cli.main(["list"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("jaxlth: `$XLA_FLAGS` would end this process: ")
    assert words in line


def test_flags_that_xla_knows_are_none(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert cli.main(["list"]) == 0


# ---- errors that others raise


def raising(error):
    """Return a function that raises an error of Python itself or of another package."""

    def function():
        raise error

    return function


def read(reader, content, tmp_path):
    """Return a function that reads a file which it cannot read."""

    def function():
        (tmp_path / "file").write_bytes(content)
        reader(tmp_path / "file")
        return 0

    return function


def load_pickle(path):
    return pickle.loads(path.read_bytes())


OF_OTHERS = {  # what cannot be read, by whom, and what is told
    "zip": (zipfile.ZipFile, b"no zip", "Python: BadZipFile: File is not a zip file"),
    "pickle": (load_pickle, b"no pickle", "Python: UnpicklingError: "),
    "short pickle": (load_pickle, b"", "Python: EOFError: Ran out of input"),
    "image": (PIL.Image.open, b"no image", "cannot identify image file"),
    "table": (pd.read_csv, b"", "No columns to parse from file"),
    "text": (lambda path: path.read_text(), b"\xff", "can't decode byte 0xff"),
    "nested": (lambda path: json.loads(path.read_text()), b"[" * 99999, "Python: RecursionError: "),
    "folder": (lambda path: os.listdir(path), b"", "file: Not a directory."),
    "key": (lambda path: pd.DataFrame({"a": [1]})["b"], b"", "pandas: KeyError: 'b'"),
}


@pytest.mark.parametrize("name", OF_OTHERS)
def test_an_error_of_another_package_is_one_line(name, tmp_path, capfd):
    reader, content, words = OF_OTHERS[name]
    assert cli.guarded(read(reader, content, tmp_path)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("jaxlth: ")
    assert words in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "There is not enough memory for this: MemoryError ("),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB\nmore"), "There is not enough mem"),
        (jax.errors.JaxRuntimeError("INTERNAL: it broke"), "jax: JaxRuntimeError: INTERNAL: it"),
        (OverflowError("Python int too large"), "Python: OverflowError: Python int too large"),
        (OSError(28, "No space left on device"), "jaxlth: No space left on device."),
        (PermissionError(13, "Permission denied", "/a/b"), "jaxlth: /a/b: Permission denied."),
        (ModuleNotFoundError("No module named 'x'", name="x"), "x: ModuleNotFoundError: No mod"),
        (store.StoreError("the run is damaged"), "jaxlth: the run is damaged\n"),
        (ValueError("a\n\x1b[31m  b"), "jaxlth: a \\x1b[31m b\n"),
    ],
)
def test_an_error_is_told_in_one_line_without_its_line_breaks(error, words, capfd):
    assert cli.guarded(raising(error)) == 2
    told = capfd.readouterr().err
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "error", [KeyError("a"), AttributeError("b"), AssertionError(), ImportError(name="jaxlth.x")]
)
def test_a_defect_shows_its_traceback_and_how_to_report_it(error):
    with pytest.raises(type(error)) as caught:
        cli.guarded(raising(error))
    assert caught.value.__notes__ == [errors.REPORT]


@pytest.mark.parametrize("name", ["wave", "networkx"])  # of Python, and of a package
@pytest.mark.parametrize(
    ("text", "words"), [("", "AttributeError: module "), ("1 / 0", "ZeroDivisionError: division ")]
)
def test_a_file_that_hides_a_module_is_named(name, text, words, tmp_path, monkeypatch, capfd):
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)

    def work():
        return importlib.import_module(name).nothing

    try:
        assert cli.guarded(work) == 2
    finally:
        sys.modules.pop(name, None)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"jaxlth: {tmp_path / name}.py hides another module of that name: ")
    assert words in line


@pytest.mark.parametrize(
    ("file", "words", "code"),
    [
        ("stdout", "jaxlth: standard output: No space left on device.\n", 2),
        ("stderr", "", 0),
    ],
)
def test_a_full_disk_behind_a_stream_is_told_or_does_not_matter(file, words, code, monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, file, full)

        def talk():
            print("much", file=getattr(sys, file), flush=True)
            return 0

        assert cli.guarded(talk) == code
    assert told.getvalue() == words
    assert getattr(sys, file) is full


@pytest.mark.parametrize("talk", [print, rich.console.Console(file=None).print])
def test_a_command_whose_reader_has_enough_ends_its_work_without_a_word(talk, monkeypatch, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    done = []

    def work():
        talk("much", end="\n" * 99999)
        done.append("figure")
        talk("more")
        return 0

    with open(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert cli.guarded(work) == 0
    assert done == ["figure"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", "38.7 +- 17.9, caf?"), ("latin-1", "38.7 \xb1 17.9, caf\xe9"), ("utf-8", None)],
)
def test_letters_that_a_stream_lacks_stop_no_command(encoding, written):
    content, text = io.BytesIO(), "38.7 \xb1 17.9, caf\xe9"
    stream = errors.Stream(io.TextIOWrapper(content, encoding=encoding), name="standard output")
    print(text, file=stream, flush=True)
    assert content.getvalue().decode(encoding) == f"{written or text}\n"


def test_programs_that_cannot_be_kept_are_told_once(tmp_path, capsys):
    (tmp_path / "file").touch()
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file"))
        compilation_cache.reset_cache()
        with pytest.warns(UserWarning, match=notices.UNKEPT) as caught:
            jax.jit(lambda x: x + 1234)(1.0)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()

    def warn():
        for _ in range(2):
            print(warnings.formatwarning(caught[0].message, UserWarning, "file.py", 7), end="")
        return 0

    assert cli.guarded(warn) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("jaxlth: warning: compiled programs are not kept, so that later runs")
    assert line.endswith(f"again: FileExistsError: [Errno 17] File exists: '{tmp_path / 'file'}'")


def test_what_matplotlib_says_of_its_cache_is_not_shown(caplog):
    log = logging.getLogger("matplotlib")

    def warn():
        log.warning("%s is not a writable directory", "/home/m")
        log.warning("no font")
        return 0

    assert cli.guarded(warn) == 0
    assert caplog.messages == ["no font"]


def test_commands_of_several_threads_leave_the_streams_as_they_were(capfd):
    before, codes = (sys.stdout, sys.stderr), []

    def work():
        codes.append(cli.main(["imp", "--levels", "-1"]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    assert codes == [2] * 4
    assert (sys.stdout, sys.stderr) == before
    assert capfd.readouterr().err == "jaxlth: `levels` must be at least 0; got -1.\n" * 4


def test_a_process_without_streams_works(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["list", "--out", str(tmp_path)]) == 0
    assert cli.main(["lst"]) == 2


# ---- damaged runs beside whole ones


@pytest.fixture
def both(finished, tmp_path):
    """A folder with a whole run and one whose `run.json` is damaged, and what is said of that."""
    runs = tmp_path / "runs"
    for name in ("imp-good", "imp-bad"):
        shutil.copytree(finished, runs / name)
    (runs / "imp-bad" / "run.json").write_text("{")
    return runs, f"jaxlth: left out: {runs}/imp-bad/run.json is damaged"


def said(capfd, *words):
    """Return exit code, output and the lines of errors of a command."""
    code = cli.main(list(map(str, words)))
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, out, err.splitlines()


def test_a_damaged_run_hides_no_other(both, tmp_path, capfd):
    runs, warning = both
    file = tmp_path / "file"
    for words, shown in [
        (["list"], "imp-good"),
        (["results"], "inning tickets"),
        (["results", "--all"], "inning tickets"),
        (["results", "imp-bad", "imp-good"], "inning tickets"),
        (["results", "--all", "--format", "csv"], "imp-good,level_01"),
        (["results", runs / "imp-bad", runs / "imp-good", "--format", "json"], "imp-good"),
        (["figure", "--file", f"{file}.svg"], "file.svg"),
        (["figure", "imp-bad", "imp-good", "--file", f"{file}.svg"], "file.svg"),
        (["report", "--file", f"{file}.html"], "file.html"),
        (["report", "imp-bad", "imp-good", "--file", f"{file}.html"], "file.html"),
        (["export", f"{file}.npz"], "file.npz"),
    ]:
        code, out, (line,) = said(capfd, *words, "--out", runs)
        assert code == 0, words
        assert shown in out, words
        assert "imp-bad" not in out, words
        assert line.startswith(warning), words
    assert store.load_ticket(f"{file}.npz").metadata["run"] == "imp-good"


def test_a_damaged_run_that_alone_is_asked_for_is_a_mistake_in_one_line(both, tmp_path, capfd):
    runs, warning = both
    line_of = warning.replace("left out: ", "")
    for name in ("imp-bad", runs / "imp-bad"):
        for words in (
            ["results", name],
            ["results", name, "--format", "csv"],
            ["figure", name, "--file", tmp_path / "file.svg"],
            ["report", name, "--file", tmp_path / "file.html"],
            ["export", tmp_path / "file.npz", "--run", name],
        ):
            code, out, (line,) = said(capfd, *words, "--out", runs)
            assert (code, out) == (2, "")
            assert line.startswith(line_of)
    for words in (["results", "imp-good"], ["results", runs / "imp-good", "--format", "csv"]):
        code, _, lines = said(capfd, *words, "--out", runs)
        assert (code, lines) == (0, [])  # whoever names a run hears nothing of others
    shutil.rmtree(runs / "imp-good")
    for words in (["list"], ["results"], ["results", "--all"]):
        code, out, (line,) = said(capfd, *words, "--out", runs)
        assert (code, out) == (2, "")
        assert line.startswith(line_of)


def test_an_unfinished_run_and_a_damaged_record_hide_no_other_run(both, capfd, tmp_path):
    runs, _ = both
    shutil.rmtree(runs / "imp-bad")
    for name in ("imp-empty", "imp-torn"):
        shutil.copytree(runs / "imp-good", runs / name)
    shutil.rmtree(runs / "imp-empty" / "level_00")
    shutil.rmtree(runs / "imp-empty" / "level_01")
    record = runs / "imp-torn" / "level_01/ticket/replicate_0/record.json"
    record.write_text(record.read_text()[:-30])
    for words in (
        ["results", "--all"],
        ["figure", "imp-empty", "imp-torn", "imp-good", "--file", tmp_path / "file.svg"],
        ["report", "imp-empty", "imp-torn", "imp-good", "--file", tmp_path / "file.html"],
    ):
        code, out, lines = said(capfd, *words, "--out", runs)
        assert code == 0
        assert "imp-empty" not in out
        assert "imp-torn" not in out
        damaged, empty = sorted(lines)
        assert damaged.startswith(f"jaxlth: left out: {record} is damaged")
        assert empty.startswith("jaxlth: left out: The run imp-empty has no finished network")


@pytest.mark.parametrize("left", [["lock"], ["lock", "settings.toml"], []])
def test_a_run_killed_before_it_had_its_run_json_goes_on(finished, left, tmp_path):
    path = tmp_path / finished.name
    path.mkdir()
    for name in left:
        shutil.copy(finished / name, path)
    printed(*TINY, "--out", str(tmp_path))
    (info,) = store.runs(tmp_path)
    assert (info.path, info.state) == (path, "finished")


def test_a_damaged_run_json_is_made_again_once_it_is_deleted(finished, tmp_path, capfd):
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    (path / "run.json").write_text("{")
    code, _, (line,) = said(capfd, *TINY, "--out", tmp_path)
    assert code == 2
    assert line.endswith(
        "Delete this file and give the command of the run again: its results are still there."
    )
    (path / "run.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("record.json")}
    printed(*TINY, "--out", str(tmp_path))
    assert before == {file: file.stat().st_mtime_ns for file in before}
    again, whole = store.about_run(path), store.about_run(finished)
    for name in ("settings", "facts", "planned", "job", "label", "changed"):
        assert again[name] == whole[name]
    for kind in ("pixels", "accuracy"):
        printed("figure", str(path), "--kind", kind)


def test_a_changed_settings_file_of_a_run_is_refused_and_a_copy_is_not(finished, tmp_path, capfd):
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    file = path / "settings.toml"
    file.write_text(file.read_text().replace("steps = 20", "steps = 60"))
    out = ["--out", tmp_path / "others"]
    code, _, (line,) = said(capfd, "imp", "--settings", file, *out)
    assert code == 2
    assert line.startswith(f"jaxlth: {file} is damaged or was changed")
    copy = shutil.copy(file, tmp_path)
    code, _, _ = said(capfd, "imp", "--settings", copy, *out)
    assert code == 0
    (info,) = store.runs(tmp_path / "others")
    assert store.about_run(info.path)["settings"]["training"]["steps"] == 60


def test_settings_that_this_version_does_not_know_are_named(finished, tmp_path, capfd):
    path = tmp_path / "imp-newer"
    shutil.copytree(finished, path)
    story = metadata.read(path)
    story["environments"][0]["versions"]["jaxlth"] = "9.9"
    story["settings"]["thaw"] = 3
    metadata.write(path, story)
    for words in (["figure", path, "--kind", "network"], ["export", tmp_path / "file.npz"]):
        code, _, (line,) = said(capfd, *words, "--out", tmp_path)
        assert code == 2
        assert line.startswith(f"jaxlth: {path}/run.json was made by jaxlth 9.9 and is not")
        assert "There is no setting `thaw`" in line
    assert said(capfd, "results", path)[0] == 0  # which does not need them
    del story["settings"]["rewind_step"]
    metadata.write(path, story)
    code, _, (line,) = said(capfd, "results", path)
    assert code == 2
    assert "it has no entry 'rewind_step'" in line


@pytest.mark.slow
def test_the_training_figure_shows_the_networks_that_were_not_dilated(finished, tmp_path):
    out = ["--out", str(tmp_path)]
    printed(*TINY, "--dilations", "0.5", *out)
    (info,) = store.runs(tmp_path)
    files = []
    for path in (finished, info.path):
        files.append(tmp_path / f"{path.parent.name}.svg")
        printed("figure", str(path), "--kind", "training", "--file", str(files[-1]))
    assert files[0].read_bytes() == files[1].read_bytes()
