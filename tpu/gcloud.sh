# shellcheck shell=bash disable=SC2034
# How the scripts of this folder call gcloud: printed in a dry run, repeated when a connection
# fails, explained when that does not help.

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
# shellcheck source-path=SCRIPTDIR source=settings.sh
source "$here/settings.sh"

script=tpu/${0##*/}
dry_run=false
answers=jaxlth-worker # how lines of worker.sh begin that are meant for these scripts
TEMPORARY=75          # exit code: the same may succeed later
REFUSED=76            # exit code of worker.sh: a command runs already

exec 3>&1 # where a dry run prints, also from inside $(...)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
: >"$scratch/errors"

note() { printf '%s: %s\n' "$script" "$*" >&2; }
fail() { note "$*"; exit 1; }
mistake() { note "$* (see $script --help)"; exit 2; }
usage() { sed -e '/^#!/d' -e '/^$/,$d' -e 's/^# \{0,1\}//' "$0"; exit 0; }

# Print a command so that one can paste it.
show() {
  local line
  printf -v line '%q ' "$@"
  printf '%s\n' "${line% }" >&3
}

# Stop with one line that says what to do, unless all that gcloud needs is there.
require_gcloud() {
  [ -n "$PROJECT" ] || fail "no project is set: set PROJECT in tpu/settings.sh or the environment"
  [ -n "$ZONE" ] || fail "no zone is set: set ZONE in tpu/settings.sh or the environment"
  $dry_run || command -v gcloud >/dev/null ||
    fail "gcloud is missing: install it, https://cloud.google.com/sdk/docs/install"
}

# Run a command, or print it in a dry run. What it says on stderr is kept for `explain`.
call() {
  if $dry_run; then
    show "$@"
    return 0
  fi
  "$@" 2>"$scratch/errors" </dev/null 3>&-
}

# Call until it succeeds, fails for a reason that stays, or has failed too often. 1 and 255 are the
# codes of gcloud and ssh; any other is that of a command on a worker.
retry() {
  local code left=$RETRIES
  while :; do
    code=0
    call "$@" || code=$?
    if [ "$code" -ne 1 ] && [ "$code" -ne 255 ]; then return "$code"; fi
    if [ "$left" -le 0 ] || lasting; then return "$code"; fi
    left=$((left - 1))
    note "the connection failed; again in $RETRY_SECONDS s"
    sleep "$RETRY_SECONDS"
  done
}

said() { grep -Eqi "$1" "$scratch/errors"; }
missing() { said 'NOT_FOUND|was not found'; }
denied() { said 'PERMISSION_DENIED|does not have permission|forbidden|HTTPError 403'; }
unknown_user() { said 'UNAUTHENTICATED|active account|reauthentication|gcloud auth login'; }
no_key() { said 'SSH key is not present|ssh-add'; }
unusable() { said 'TPU is in state|unusable state'; }
lasting() { missing || denied || unknown_user || unusable; }

# Pass on what gcloud said, and end with one line that says what to check: explain CODE WHAT
explain() {
  local what="$2 failed" code=1
  cat "$scratch/errors" >&2
  if said 'does not have.* components? installed|gcloud components install'; then
    what+=": gcloud lacks its alpha commands; run: gcloud components install alpha"
  elif said 'RESOURCE_EXHAUSTED|quota|no more capacity|insufficient capacity|UNAVAILABLE|stockout'; then
    what+=": no quota or no capacity; check the TPU quota of $PROJECT in $ZONE"
    what+=" (https://console.cloud.google.com/iam-admin/quotas), or try --spot, --queued or another ZONE"
    code=$TEMPORARY
  elif denied; then
    what+=": not allowed; check that your account has the role TPU Admin in $PROJECT,"
    what+=" and that the Cloud TPU API is enabled: gcloud services enable tpu.googleapis.com"
  elif unknown_user; then
    what+=": nobody is logged in; run: gcloud auth login"
  elif no_key; then
    what+=": ssh has no key for several workers; run: ssh-add ~/.ssh/google_compute_engine"
  elif missing; then
    what+=": $NAME or what it asks for is not in $ZONE of $PROJECT; check NAME, ZONE,"
    what+=" ACCELERATOR_TYPE and RUNTIME_VERSION, or make it with tpu/create"
  elif unusable; then
    what+=": $NAME was preempted or stopped; tpu/watch makes it anew"
  elif said 'INVALID_ARGUMENT|invalid'; then
    what+=": check that ACCELERATOR_TYPE=$ACCELERATOR_TYPE and RUNTIME_VERSION exist in ZONE=$ZONE"
  else
    what+=" with exit code $1; what is above says why"
  fi
  note "$what"
  exit "$code"
}

# gcloud compute tpus: tpus HOW KIND VERB ARGUMENT..., where HOW is call or retry. Tunnels and
# flex-start are in gcloud's alpha commands only.
tpus() {
  local how=$1 gcloud=(gcloud)
  shift
  case $2 in
    ssh | scp) if [ "$INTERNAL_IP" = yes ]; then set -- "$@" --tunnel-through-iap; fi ;;
  esac
  case " $* " in
    *" --tunnel-through-iap "* | *" --provisioning-model=flex-start "*) gcloud+=(alpha) ;;
  esac
  "$how" "${gcloud[@]}" compute tpus "$@" --project="$PROJECT" --zone="$ZONE" --quiet
}

# Run a command line on a worker, 0 for instance, or on "all".
on_worker() { tpus retry tpu-vm ssh "$NAME" --worker="$1" --command="$2"; }

# Print arguments as a shell reads them.
quoted() {
  local line
  printf -v line '%q ' "$@"
  printf '%s' "${line% }"
}

# Print the state of the TPU VM (READY, PREEMPTED, ...) or MISSING. $1 is what a dry run assumes.
node_state() { state "$1" tpu-vm "value(state)"; }

# The same of the queued resource (ACTIVE, SUSPENDED, ...).
queue_state() { state "$1" queued-resources "value(state.state)"; }

state() {
  local code=0
  tpus retry "$2" describe "$NAME" --format="$3" || code=$?
  if $dry_run; then
    echo "$1"
  elif [ "$code" -ne 0 ]; then
    missing || explain "$code" "looking at $NAME"
    echo MISSING
  fi
}

# Print a line for each worker, or for one: what worker.sh prints as its status.
worker_status() {
  local look="if [ -e jaxlth/worker.sh ]; then bash jaxlth/worker.sh status;"
  look+=" else printf '$answers\tnone\tnone\n'; fi"
  local lines
  lines=$(on_worker "$1" "$look") || explain $? "asking the workers"
  grep "^$answers" <<<"$lines" || true
}

# Print a field of the first line of `worker_status` that has a state: field NUMBER STATE <<<LINES.
# 2 is the commit, 3 the state, 4 the exit code, 5 who started the command, 6 when, 7 the command.
field() { awk -F '\t' -v number="$1" -v state="$2" '$3 == state { print $number; exit }'; }

# Set the array `command` to what runs on the workers: with BUCKET, results go there.
complete_command() {
  [ $# -gt 0 ] || mistake "which command? For instance: $script jaxlth imp --data mnist"
  command=("$@")
  [ "$1" = jaxlth ] && [ -n "$BUCKET" ] && [ $# -gt 1 ] || return 0
  local argument wait=
  if [ "$2" = imp ]; then wait=--wait; fi # for what a preempted TPU VM held to be given up
  for argument in "$@"; do
    case $argument in
      --out | --out=* | --help | -h) return 0 ;;
      --wait) wait= ;;
    esac
  done
  command+=(--out "gs://$BUCKET/runs" ${wait:+"$wait"})
}
