"""The page on the command line: its commands run, its table is that of the program."""

import io
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from jaxlth import cli
from jaxlth.cli.commands import by_name

PAGE = (pathlib.Path(__file__).resolve().parents[1] / "docs/command_line.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = "".join(BLOCKS).splitlines()
CODE = re.compile(r"  # exit code (\d+)$")


def test_the_table_has_every_command_and_the_line_of_its_help():
    rows = re.findall(r"^\| `jaxlth (\S+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(name, cls.__doc__.splitlines()[0]) for name, cls in by_name().items()]


def test_the_page_names_every_group_of_options(capsys):
    table = PAGE.partition("| group |")[2].partition("\n\n")[0]
    groups = set(re.findall(r"^\| (\S+) \|", table, re.MULTILINE)) - {"what"}
    told = set()
    for name in ("imp", "train-supermasks"):
        with pytest.raises(SystemExit):
            cli.main([name, "--help-all"])
        out = capsys.readouterr().out
        told |= set(re.findall(r"─ (\S+) options ─", out))
    assert groups == told | {"options"}


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (settings,) = re.findall(r"^```toml\n# mine\.toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.toml").write_text(settings)
    for line in COMMANDS:
        code = int(found[1]) if (found := CODE.search(line)) else 0
        words = [os.path.expanduser(word) for word in shlex.split(CODE.sub("", line))]
        assert run(words) == code, line
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 3  # the first, which is extended, and two of the file
    for file in ("results.json", "training.svg", "ticket.safetensors", ".zfunc/_jaxlth"):
        assert (tmp_path / file).stat().st_size > 500, file


def run(words):
    """Return the exit code of a command of the page."""
    if words[0] == "jaxlth":
        try:
            return cli.main(words[1:])
        except SystemExit as stopped:  # after help
            return stopped.code or 0
    assert words[:2] == ["mkdir", "-p"]
    for folder in words[2:]:
        pathlib.Path(folder).mkdir(parents=True)
    return 0


# ---- completion

ASK = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p jaxlth | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def completion(tmp_path_factory):
    file = tmp_path_factory.mktemp("completion") / "jaxlth"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--tyro-write-completion", "bash", str(file)])
    assert not stopped.value.code
    return file


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("jaxlth ins", ["instability"]),
        ("jaxlth imp --rewi", ["--rewind-step", "--rewind-optimizer"]),
        ("jaxlth imp --dilat", ["--dilations"]),  # which the short help only names
        ("jaxlth imp --scale sm", ["smoke"]),
        ("jaxlth imp --model vgg", ["vgg-11", "vgg-16", "vgg-19"]),
        ("jaxlth figure --style p", ["paper"]),
        ("jaxlth figure --kind early", ["early-stopping"]),
        ("jaxlth prune-early --schedule before", ["before-once", "before-rounds"]),
    ],
)
def test_bash_completes_commands_options_and_names(typed, offered, completion):
    words = shlex.split(typed)
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", str(completion), *words],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.stdout.split() == offered
    assert not done.stderr


def test_names_of_ones_own_are_still_read_where_a_shell_completes_others(tmp_path, capsys):
    assert cli.main(["imp", "--score", "missing.py:score"]) == cli.MISTAKEN
    assert "missing.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tyro-write-completion", "csh", "file"], "has no value 'csh'"),
        (["--tyro-write-completion", "bash"], "--tyro-write-completion SHELL FILE"),
        (["--tyro-print-completion"], "where SHELL is bash, zsh, fish"),
    ],
)
def test_completions_that_cannot_be_written_are_refused_in_one_line(words, told, capsys):
    assert cli.main(words) == cli.MISTAKEN
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_printed_for_every_shell(shell, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        cli.main(["--tyro-print-completion", shell])
    assert "--rewind-step" in out.getvalue()
