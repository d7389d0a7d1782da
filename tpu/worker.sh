#!/usr/bin/env bash
# What the other scripts of this folder ask of a worker; it runs there, in the home directory.
# Under ~/jaxlth are: commit, source/, venv/, data/, runs/ and job/, which is what was started last.
# A lock on job/lock is held for as long as that runs, so nothing that died is taken for alive.

set -euo pipefail

root=$HOME/jaxlth
job=$root/job
export PATH="$HOME/.local/bin:$PATH:/snap/bin"

# 1 and 255 are left to gcloud and ssh, whose failures are worth another call.
trap 'code=$?; case $code in 1 | 255) exit 70 ;; esac' EXIT

say() { printf 'worker %s: %s\n' "$(hostname)" "$*" >&2; }
refuse() { say "$*"; exit 70; }

running() (
  mkdir -p "$job"
  exec 9>>"$job/lock"
  ! flock --shared --nonblock 9 # shared: two that ask do not take each other for the command
)

known() { cat "$job/$1" 2>/dev/null || true; }

status() { # a line: commit, state, exit code, who, since when, command
  local state=none
  if running; then
    state=running
  elif [ -e "$job/status" ]; then
    state=ended
  elif [ -e "$job/token" ]; then
    state=lost
  fi
  printf 'jaxlth-worker\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(cat "$root/commit" 2>/dev/null || echo none)" \
    "$state" "$(known status)" "$(known who)" "$(known since)" "$(known command)"
}

install() { # COMMIT VERSIONS PACKAGE..., with the versions in a file at a bucket, written at first
  local commit=$1 versions=$2 pinned=()
  shift 2
  if running; then refuse "a command runs: $(known command)"; fi
  rm -f "$root/commit"
  if [ -e "$root/source.new" ]; then
    rm -rf "$root/source"
    mv "$root/source.new" "$root/source"
  fi
  # uv brings a Python that is new enough; that of the TPU VM (Ubuntu 22.04) is 3.10.
  command -v uv >/dev/null || PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
  [ -e "$root/venv/bin/python" ] || uv venv --quiet --python 3.12 "$root/venv"
  if [ -n "$versions" ] && gcloud storage cp "$versions" "$root/versions" 2>/dev/null; then
    pinned=(--constraint "$root/versions")
  fi
  uv pip install --quiet --python "$root/venv/bin/python" ${pinned[@]+"${pinned[@]}"} \
    -e "$root/source[gcs,tensorboard]" "$@"
  if [ -n "$versions" ] && [ "${#pinned[@]}" -eq 0 ]; then
    uv pip freeze --exclude-editable --python "$root/venv/bin/python" >"$root/versions"
    gcloud storage cp --no-clobber "$root/versions" "$versions" ||
      say "the versions of packages are not kept at $versions: another TPU VM may get newer ones"
  fi
  printf '%s\n' "$commit" >"$root/commit"
}

data() { # copy|mount gs://BUCKET/FOLDER
  local how=$1 place=${2#gs://}
  mkdir -p "$root/data"
  if [ "$how" = copy ]; then
    gcloud storage rsync --recursive "gs://$place" "$root/data"
  elif ! mountpoint --quiet "$root/data"; then
    command -v gcsfuse >/dev/null || install_gcsfuse
    local flags=(--implicit-dirs -o ro)
    [[ $place != */* ]] || flags+=(--only-dir "${place#*/}")
    gcsfuse "${flags[@]}" "${place%%/*}" "$root/data"
  fi
}

install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc packages=https://packages.cloud.google.com/apt
  curl --fail --silent --show-error "$packages/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] $packages gcsfuse-$(lsb_release -c -s) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get update --quiet
  sudo apt-get install --yes --quiet gcsfuse
}

start() { # TOKEN WHO COMMAND ARGUMENT...
  local token=$1 who=$2 line
  shift 2
  [ -e "$root/commit" ] || refuse "jaxlth is not installed; run tpu/install"
  mkdir -p "$job"
  if [ "$(known token)" = "$token" ]; then return 0; fi # this call has started it before
  exec 9>>"$job/lock"
  if ! flock --timeout 1 9; then # longer than `running` holds it
    say "$(known who) runs $(known command) since $(known since)"
    exit 76
  fi
  rm -f "$job/status" "$job/token"
  printf -v line '%q ' "$@"
  printf '%s\n' "${line% }" >"$job/command"
  printf '%s\n' "$who" >"$job/who"
  date -u +%Y-%m-%dT%H:%M:%SZ >"$job/since"
  printf '%s\n' "$token" >"$job/token"
  : >"$job/log"
  nohup setsid bash "$root/worker.sh" job "$@" >>"$job/log" 2>&1 </dev/null &
}

job() { # COMMAND ARGUMENT..., with the lock on descriptor 9 inherited from `start`
  local code=0
  cd "$root"
  printf '%s\n' "$$" >"$job/guard"
  export PATH="$root/venv/bin:$PATH" PYTHONUNBUFFERED=1
  if [ -d "$root/data" ]; then export JAXLTH_DATA="$root/data"; fi
  "$@" &
  printf '%s\n' "$!" >"$job/process"
  wait "$!" || code=$?
  printf '%s\n' "$code" >"$job/status.new"
  mv "$job/status.new" "$job/status"
}

follow() { # LINE
  local guard
  guard=$(known guard)
  if running && [ -n "$guard" ]; then
    tail --lines="+$1" --follow --sleep-interval=0.2 --pid="$guard" "$job/log" 2>/dev/null
  elif [ -e "$job/log" ]; then
    tail --lines="+$1" "$job/log"
  fi
  if [ -n "$(tail --bytes=1 "$job/log" 2>/dev/null)" ]; then echo; fi
  status
}

stop() { # [TOKEN]
  if ! running || { [ $# -gt 0 ] && [ "$(known token)" != "$1" ]; }; then return 0; fi
  kill -TERM "$(known process)"
}

pack() { # NAME FOLDER...: NAME.tar.gz of those that are there; says so if one is
  local name=$1 folder folders=()
  shift
  for folder in "$@"; do
    if [ -d "$root/$folder" ]; then folders+=("$folder"); fi
  done
  [ "${#folders[@]}" -gt 0 ] || return 0
  tar -czf "$root/$name.tar.gz.new" --exclude='checkpoint_[0-9]*' -C "$root" "${folders[@]}"
  mv "$root/$name.tar.gz.new" "$root/$name.tar.gz"
  echo "packed $name"
}

"$@"
