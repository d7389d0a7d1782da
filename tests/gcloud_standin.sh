#!/usr/bin/env bash
# A stand-in for gcloud: TPU VMs are files, their workers home directories, buckets directories.
# It knows the commands that tpu/ calls, with the flags that Google Cloud SDK 528 has for them, and
# nothing else. All it keeps is in $STANDIN: calls, nodes/NAME, queue/NAME, workers/NAME/0, 1, ...,
# buckets/BUCKET, and failure/ with the pattern, message, code and times of a failure to come.
# In bash, since it is called some hundred times and starts in a few milliseconds.

set -euo pipefail

fail() { # MESSAGE [CODE]
  echo "ERROR: $1" >&2
  exit "${2:-1}"
}

known_flags() {
  case $1 in
    "tpu-vm create") echo zone accelerator-type version spot network tags scopes internal-ips ;;
    "queued-resources create")
      echo zone node-id accelerator-type runtime-version spot internal-ips
      ! $alpha || echo provisioning-model max-run-duration
      ;;
    "tpu-vm describe" | "queued-resources describe") echo zone format ;;
    "tpu-vm delete") echo zone ;;
    "queued-resources delete") echo zone force ;;
    "tpu-vm ssh") echo zone worker command "${tunnel[@]}" ;;
    "tpu-vm scp") echo zone worker recurse "${tunnel[@]}" ;;
    "storage rsync") echo recursive exclude ;;
    "storage cp") echo no-clobber ;;
    "buckets create") echo location ;;
    "auth login" | "services enable") ;;
    *) fail "(gcloud) Invalid choice: '$1'" 2 ;;
  esac
}

fail_if_told() {
  local folder=$STANDIN/failure times
  [ -e "$folder" ] && [[ $* =~ $(cat "$folder/pattern") ]] || return 0
  times=$(cat "$folder/times")
  [ "$times" -gt 0 ] || return 0
  echo $((times - 1)) >"$folder/times"
  fail "$(cat "$folder/message")" "$(cat "$folder/code")"
}

is_there() { [ -e "$STANDIN/$1/$2" ] || fail "NOT_FOUND: Resource 'projects/p/$1/$2' was not found."; }
is_new() { [ ! -e "$STANDIN/$1/$2" ] || fail "ALREADY_EXISTS: Resource '$1/$2' already exists."; }

make_node() {
  local worker
  is_new nodes "$1"
  mkdir -p "$STANDIN/nodes"
  for ((worker = 0; worker < ${STANDIN_WORKERS:-1}; worker++)); do
    mkdir -p "$STANDIN/workers/$1/$worker"
  done
  echo READY >"$STANDIN/nodes/$1"
}

remove_node() {
  local guard
  is_there nodes "$1"
  for guard in "$STANDIN/workers/$1"/*/jaxlth/job/guard; do
    [ ! -e "$guard" ] || kill -KILL -- "-$(cat "$guard")" 2>/dev/null || true
  done
  rm -rf "$STANDIN/nodes/$1" "$STANDIN/workers/$1"
}

advance() { # a queued resource: each look brings it one further
  local state
  is_there queue "$1"
  state=$(cat "$STANDIN/queue/$1")
  echo "$state"
  case $state in
    WAITING_FOR_RESOURCES) echo PROVISIONING >"$STANDIN/queue/$1" ;;
    PROVISIONING) make_node "$1" && echo ACTIVE >"$STANDIN/queue/$1" ;;
  esac
}

workers() { # NAME: the homes of those that --worker names
  local state
  is_there nodes "$1"
  state=$(cat "$STANDIN/nodes/$1")
  [ "$state" = READY ] || fail "(gcloud.compute.tpus.tpu-vm.ssh) This TPU is in unusable state $state."
  if [ "${worker:-0}" = all ]; then
    homes=("$STANDIN/workers/$1"/*)
  else
    homes=("$STANDIN/workers/$1/${worker:-0}")
  fi
}

ssh() {
  local home code first=0
  workers "$1"
  for home in "${homes[@]}"; do
    echo "SSH: Attempting to connect to worker ${home##*/}..." >&2
    code=0
    (
      cd "$home"
      exec env -i HOME="$home" PATH="$STANDIN/worker-bin:$STANDIN_TOOLS" STANDIN="$STANDIN" \
        STANDIN_TOOLS="$STANDIN_TOOLS" bash -c "$command"
    ) || code=$?
    [ "$first" -ne 0 ] || first=$code
  done
  exit "$first"
}

scp() {
  local home
  if [[ $1 == *:* ]]; then
    workers "${1%%:*}"
    cp "${homes[0]}/${1#*:}" "$2"
  else
    workers "${2%%:*}"
    for home in "${homes[@]}"; do cp "$1" "$home/${2#*:}"; done
  fi
}

rsync() {
  local source=${1/#gs:\/\//$STANDIN/buckets/} target=${2/#gs:\/\//$STANDIN/buckets/} file
  [ -d "$source" ] || fail "(gcloud.storage.rsync) $1 was not found."
  [[ $2 == gs://* ]] || [ -d "$target" ] || fail "(gcloud.storage.rsync) $2 must be a directory."
  (cd "$source" && find . -type f) | while IFS= read -r file; do
    file=${file#./}
    if [ -n "${exclude:-}" ] && [[ $file =~ ^$exclude ]]; then continue; fi
    if cmp -s "$source/$file" "$target/$file"; then continue; fi
    mkdir -p "$(dirname "$target/$file")"
    cp "$source/$file" "$target/$file"
    echo "Copying $file"
  done
}

{ printf '%s\001' "$@" | tr '\n' '\002'; echo; } >>"$STANDIN/calls"
fail_if_told "$*"
alpha=false tunnel=() # what gcloud's alpha commands know besides
if [ "${1-}" = alpha ]; then
  shift
  alpha=true tunnel=(tunnel-through-iap)
fi
if [ "${1-} ${2-}" = "compute tpus" ]; then shift 2; fi
if [ "${1-} ${2-}" = "storage buckets" ]; then shift 1; fi
verb="${1-} ${2-}"
flags=$(known_flags "$verb")
shift 2
names=()
for argument in "$@"; do
  flag=${argument#--} value=
  if [ "$flag" = "$argument" ]; then
    names+=("$argument")
    continue
  fi
  [[ $flag != *=* ]] || value=${flag#*=}
  flag=${flag%%=*}
  [[ " ${flags//$'\n'/ } project quiet " == *" $flag "* ]] || fail "(gcloud) unrecognized arguments: --$flag" 2
  case $flag in
    worker) worker=$value ;;
    command) command=$value ;;
    exclude) exclude=$value ;;
  esac
done
set -- ${names[@]+"${names[@]}"}
case $verb in
  "tpu-vm create") make_node "$1" ;;
  "tpu-vm describe") is_there nodes "$1" && cat "$STANDIN/nodes/$1" ;;
  "tpu-vm delete") remove_node "$1" ;;
  "tpu-vm ssh") ssh "$1" ;;
  "tpu-vm scp") scp "$1" "$2" ;;
  "queued-resources create")
    is_new queue "$1"
    mkdir -p "$STANDIN/queue"
    echo WAITING_FOR_RESOURCES >"$STANDIN/queue/$1"
    ;;
  "queued-resources describe") advance "$1" ;;
  "queued-resources delete")
    is_there queue "$1"
    rm "$STANDIN/queue/$1"
    if [ -e "$STANDIN/nodes/$1" ]; then remove_node "$1"; fi
    ;;
  "storage rsync") rsync "$1" "$2" ;;
  "storage cp")
    set -- "${1/#gs:\/\//$STANDIN/buckets/}" "${2/#gs:\/\//$STANDIN/buckets/}"
    [ -e "$1" ] || fail "(gcloud.storage.cp) The following URLs matched no objects or files: $1"
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2"
    ;;
  "buckets create") mkdir -p "$STANDIN/buckets/${1#gs://}" ;;
esac
