"""A stand-in for gcloud: TPU VMs are folders, their workers home directories, buckets folders.

It knows the commands that tpu/ calls, with the flags of Google Cloud SDK 528, and nothing else. All
it keeps is in the folder $STANDIN: calls.jsonl, nodes/NAME, queue/NAME, workers/NAME/0, 1, ...,
buckets/BUCKET, and failures.json, a list of {pattern, code, message, times} to fail with.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import sys

ROOT = pathlib.Path(os.environ["STANDIN"])
WIDE = {"--project", "--quiet"}
FLAGS = {
    "compute tpus tpu-vm create": {"--zone", "--accelerator-type", "--version", "--spot"}
    | {"--network", "--tags", "--scopes"},
    "compute tpus tpu-vm describe": {"--zone", "--format"},
    "compute tpus tpu-vm delete": {"--zone"},
    "compute tpus tpu-vm ssh": {"--zone", "--worker", "--command"},
    "compute tpus tpu-vm scp": {"--zone", "--worker", "--recurse"},
    "compute tpus queued-resources create": {"--zone", "--node-id", "--accelerator-type"}
    | {"--runtime-version", "--spot"},
    "compute tpus queued-resources describe": {"--zone", "--format"},
    "compute tpus queued-resources delete": {"--zone", "--force"},
    "storage rsync": {"--recursive", "--exclude"},
    "storage buckets create": {"--location"},
    "auth login": set(),
    "services enable": set(),
}


def fail(message: str, code: int = 1) -> None:
    print(f"ERROR: {message}", file=sys.stderr)
    sys.exit(code)


def fail_if_told(line: str) -> None:
    path = ROOT / "failures.json"
    failures = json.loads(path.read_text()) if path.exists() else []
    for failure in failures:
        if failure["times"] and re.search(failure["pattern"], line):
            failure["times"] -= 1
            path.write_text(json.dumps(failures))
            fail(failure["message"], failure["code"])


def parse(arguments: list[str]) -> tuple[str, list[str], dict[str, str]]:
    command = max((c for c in FLAGS if arguments[: len(c.split())] == c.split()), default=None)
    if command is None:
        fail(f"(gcloud) Invalid choice: {arguments}", 2)
    rest = arguments[len(command.split()) :]
    flags = dict(a.partition("=")[::2] for a in rest if a.startswith("--"))
    if unknown := set(flags) - FLAGS[command] - WIDE:
        fail(f"(gcloud) unrecognized arguments: {unknown}", 2)
    return command, [a for a in rest if not a.startswith("--")], flags


def resource(kind: str, name: str, *, there: bool) -> pathlib.Path:
    path = ROOT / kind / name
    if there and not path.exists():
        fail(f"NOT_FOUND: Resource 'projects/p/locations/z/{kind}/{name}' was not found.")
    if not there and path.exists():
        fail(f"ALREADY_EXISTS: Resource '{kind}/{name}' already exists.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def make_node(name: str) -> None:
    resource("nodes", name, there=False).write_text("READY")
    for worker in range(int(os.environ.get("STANDIN_WORKERS", "1"))):
        (ROOT / "workers" / name / str(worker)).mkdir(parents=True)


def kill_jobs(name: str) -> None:
    """End what runs on the workers, as the end of a machine does."""
    for guard in (ROOT / "workers" / name).glob("*/jaxlth/job/guard"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(guard.read_text()), signal.SIGKILL)


def remove_node(name: str) -> None:
    import shutil

    kill_jobs(name)
    resource("nodes", name, there=True).unlink()
    shutil.rmtree(ROOT / "workers" / name)


def advance(name: str) -> str:
    """Return the state of a queued resource; each look brings it one further."""
    path = resource("queue", name, there=True)
    state = path.read_text()
    following = {"WAITING_FOR_RESOURCES": "PROVISIONING", "PROVISIONING": "ACTIVE"}
    if state in following:
        path.write_text(following[state])
        if following[state] == "ACTIVE":
            make_node(name)
    return state


def workers(name: str, which: str) -> list[pathlib.Path]:
    state = resource("nodes", name, there=True).read_text()
    if state != "READY":
        fail(f"(gcloud.compute.tpus.tpu-vm.ssh) This TPU is in unusable state {state}.")
    folder = ROOT / "workers" / name
    return sorted(folder.iterdir()) if which == "all" else [folder / which]


def ssh(name: str, flags: dict[str, str]) -> None:
    import subprocess  # here, since most calls of a script are a look at a state: they need none

    codes = []
    for home in workers(name, flags.get("--worker", "0")):
        print(f"SSH: Attempting to connect to worker {home.name}...", file=sys.stderr)
        path = f"{ROOT}/worker-bin:{os.environ['STANDIN_TOOLS']}"
        environ = {"HOME": str(home), "PATH": path, "STANDIN": str(ROOT)}
        environ["STANDIN_TOOLS"] = os.environ["STANDIN_TOOLS"]
        command = ["bash", "-c", flags["--command"]]
        codes.append(subprocess.run(command, cwd=home, env=environ, check=False).returncode)
    sys.exit(next((code for code in codes if code), 0))


def scp(source: str, target: str, flags: dict[str, str]) -> None:
    import shutil

    if ":" in source:
        name, _, path = source.partition(":")
        (home,) = workers(name, flags.get("--worker", "0"))
        shutil.copy(home / path, target)
    else:
        name, _, path = target.partition(":")
        for home in workers(name, flags.get("--worker", "0")):
            shutil.copy(source, home / path)


def place(url: str) -> pathlib.Path:
    return (
        ROOT / "buckets" / url.removeprefix("gs://")
        if url.startswith("gs://")
        else pathlib.Path(url)
    )


def rsync(source: str, target: str, flags: dict[str, str]) -> None:
    import shutil

    if not place(source).is_dir():
        fail(f"(gcloud.storage.rsync) {source} was not found.")
    if not target.startswith("gs://") and not place(target).is_dir():
        fail(f"(gcloud.storage.rsync) {target} must be a directory.")
    for path in sorted(place(source).rglob("*")):
        name = str(path.relative_to(place(source)))
        copy = place(target) / name
        if path.is_dir() or ("--exclude" in flags and re.match(flags["--exclude"], name)):
            continue
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            print(f"Copying {name}")


def main() -> None:
    arguments = sys.argv[1:]
    with (ROOT / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    fail_if_told(" ".join(arguments))
    command, names, flags = parse(arguments)
    match command.removeprefix("compute tpus "):
        case "tpu-vm create":
            make_node(*names)
        case "tpu-vm describe":
            print(resource("nodes", *names, there=True).read_text())
        case "tpu-vm delete":
            remove_node(*names)
        case "tpu-vm ssh":
            ssh(*names, flags)
        case "tpu-vm scp":
            scp(*names, flags)
        case "queued-resources create":
            resource("queue", *names, there=False).write_text("WAITING_FOR_RESOURCES")
        case "queued-resources describe":
            print(advance(*names))
        case "queued-resources delete":
            resource("queue", *names, there=True).unlink()
            if (ROOT / "nodes" / names[0]).exists():
                remove_node(*names)
        case "storage rsync":
            rsync(*names, flags)
        case "storage buckets create":
            place(*names).mkdir(parents=True)
