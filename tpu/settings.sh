# shellcheck shell=bash disable=SC2034
# What the scripts of this folder work with. Change a value here, or give it in the environment,
# which goes first: ZONE=us-east5-b tpu/create

PROJECT=${PROJECT:-}           # of Google Cloud; required
ZONE=${ZONE:-}                 # required; which zones have which TPU: README.md
NAME=${NAME:-jaxlth}           # of the TPU VM, and of its queued resource
ACCELERATOR_TYPE=${ACCELERATOR_TYPE:-v5litepod-8}
RUNTIME_VERSION=${RUNTIME_VERSION:-} # software of the VM; by accelerator type where empty
INTERNAL_IP=${INTERNAL_IP:-}   # yes: no external address; connections go through IAP
CREATE_FLAGS=${CREATE_FLAGS:-} # more flags of gcloud's create, separated by spaces

BUCKET=${BUCKET:-}             # without gs://; results go to gs://BUCKET/runs where it is set
DATA=${DATA:-}                 # gs:// folder of data sets, copied to or mounted on each worker
REPOSITORY=${REPOSITORY:-$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)} # what is installed
PACKAGES=${PACKAGES:-jax[tpu]} # installed beside it, separated by spaces

POLL_SECONDS=${POLL_SECONDS:-60}   # between two looks at a TPU VM
WAIT_SECONDS=${WAIT_SECONDS:-0}    # to wait for a TPU VM to be ready; 0 waits without end
ATTEMPTS=${ATTEMPTS:-20}           # times that watch may make a new TPU VM
RETRIES=${RETRIES:-3}              # times that a call is repeated after a connection failed
RETRY_SECONDS=${RETRY_SECONDS:-10} # between two of them
