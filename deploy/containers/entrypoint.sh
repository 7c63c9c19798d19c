#!/bin/sh
# The contract of BigDL's image: entrypoint.sh -m|--mode controller|worker, and its environment variables, which become /etc/veritee/config.json.
# What the host says here is data: the program in the enclave checks it, and the quote binds its digest.
set -eu

directory=${VERITEE_CONFIGURATION:-/etc/veritee}
config=$directory/config.json

usage() {
  cat <<'TEXT'
entrypoint.sh -m|--mode controller|worker|broker    starts the enclave of that role
entrypoint.sh --health                              0 where the role answers
entrypoint.sh -h|--help                             this text
entrypoint.sh -- COMMAND...                         runs COMMAND and no enclave
entrypoint.sh                                       starts the role that the image holds

config.json in /etc/veritee is used as it is. Where there is none, it is written from:
  controller  API_HOST (localhost) API_PORT (8000) CONTROLLER_HOST (localhost) CONTROLLER_PORT (21001) ENABLE_ATTESTATION_API (false) VERITEE_OPEN (false)
  worker      WORKER_HOST (localhost) WORKER_PORT (21002) MODEL_PATH CONTROLLER_HOST CONTROLLER_PORT OMP_NUM_THREADS (1) VERITEE_ADVERTISE
  both        PCCS_URL, which goes to /etc/sgx_default_qcnl.conf; VERITEE_METRICS_PORT, which needs VERITEE_METRICS_TOKEN
Beyond loopback a controller asks for API keys, unless VERITEE_OPEN=true.
TEXT
}

fail() {
  echo "entrypoint: $1" >&2
  exit 2
}

# Values go into JSON: what would need quoting is refused.
word() { # name, value
  case $2 in '' | *[!A-Za-z0-9._:/@+-]*) fail "$1: expected letters, digits and . _ : / @ + -, found '$2'" ;; esac
}
number() { # name, value
  case $2 in '' | 0?* | *[!0-9]* | ??????*) fail "$1: expected a number, found '$2'" ;; esac
}
switch() { # name, value
  case $2 in true | false) ;; *) fail "$1: expected true or false, found '$2'" ;; esac
}
host() { # upstream says localhost
  if [ "$1" = localhost ]; then echo 127.0.0.1; else echo "$1"; fi
}

controller_config() {
  api=$(host "${API_HOST:-localhost}") && word API_HOST "$api"
  number API_PORT "${API_PORT:-8000}"
  control=$(host "${CONTROLLER_HOST:-localhost}") && word CONTROLLER_HOST "$control"
  number CONTROLLER_PORT "${CONTROLLER_PORT:-21001}"
  open=${VERITEE_OPEN:-false} && switch VERITEE_OPEN "$open"
  attest=${ENABLE_ATTESTATION_API:-false} && switch ENABLE_ATTESTATION_API "$attest"
  if [ "$open" = true ]; then keys=false; else keys=true; fi
  printf '{"api":{"host":"%s","port":%s,"tls":true,"open":%s,"legacy_attest":%s},"control":{"host":"%s","port":%s,"open":true},"access":{"keys":%s}%s%s}\n' \
    "$api" "${API_PORT:-8000}" "$open" "$attest" "$control" "${CONTROLLER_PORT:-21001}" "$keys" "$(admission)" "$(metrics)"
}

worker_config() {
  worker=$(host "${WORKER_HOST:-localhost}") && word WORKER_HOST "$worker"
  number WORKER_PORT "${WORKER_PORT:-21002}"
  [ -n "${MODEL_PATH:-}" ] || fail "MODEL_PATH: expected a .gguf file, or sealed:PATH, below /var/lib/veritee/models"
  word MODEL_PATH "$MODEL_PATH"
  number OMP_NUM_THREADS "${OMP_NUM_THREADS:-1}"
  control=$(host "${CONTROLLER_HOST:-localhost}") && word CONTROLLER_HOST "$control"
  number CONTROLLER_PORT "${CONTROLLER_PORT:-21001}"
  advertise=${VERITEE_ADVERTISE:-https://$worker:${WORKER_PORT:-21002}} && word VERITEE_ADVERTISE "$advertise"
  printf '{"listen":{"host":"%s","port":%s,"advertise":"%s"},"models":{"sources":["%s"]},"engine":{"threads":%s},"controllers":{"urls":["https://%s:%s"]}%s%s}\n' \
    "$worker" "${WORKER_PORT:-21002}" "$advertise" "$MODEL_PATH" "${OMP_NUM_THREADS:-1}" "$control" "${CONTROLLER_PORT:-21001}" "$(admission)" "$(metrics)"
}

# Who may take part: signed by people whose keys are measured, so the host may hand it over.
admission() {
  if [ -e "$directory/manifest.json" ]; then printf ',"admission":{"manifest":"/etc/veritee/manifest.json"}'; fi
  release ,
}

# Shown to whoever verifies the service, who believes nothing of it but its signatures.
release() { # what stands before it
  if [ -e "$directory/release.json" ]; then printf '%s"release":{"statements":["/etc/veritee/release.json"]}' "$1"; fi
}

metrics() {
  if [ -n "${VERITEE_METRICS_PORT:-}" ]; then
    number VERITEE_METRICS_PORT "$VERITEE_METRICS_PORT"
    printf ',"metrics":{"host":"0.0.0.0","port":%s}' "$VERITEE_METRICS_PORT"
  fi
}

# Variables of the upstream image that have no meaning here: said, so that nobody relies on them.
ignored() {
  for name in ATTESTATION ATTESTATION_URL ATTESTATION_POLICYID APP_ID API_KEY ENABLE_PERF_OUTPUT DISPATCH_METHOD BIGDL_CONV_TEMPLATE; do
    eval "value=\${$name:-}"
    if [ -n "$value" ]; then echo "entrypoint: $name is not used: see docs/migration.md" >&2; fi
  done
}

start() { # role
  case $1 in controller | worker | broker) ;; *) fail "-m: expected controller, worker or broker, found '$1'" ;; esac
  if [ -n "${VERITEE_ROLE:-}" ] && [ "$VERITEE_ROLE" != "$1" ]; then fail "this image holds a $VERITEE_ROLE, not a $1"; fi
  if [ ! -e "$config" ]; then
    case $1 in
      controller) text=$(controller_config) ;;
      worker) text=$(worker_config) ;;
      broker) text="{$(release '')}" ;;
    esac
    printf '%s\n' "$text" >"$config"
  fi
  ignored
  if [ -n "${PCCS_URL:-}" ]; then
    word PCCS_URL "$PCCS_URL"
    printf '{"pccs_url": "%s/sgx/certification/v4/", "use_secure_cert": false}\n' "${PCCS_URL%/}" >"${VERITEE_QCNL:-/etc/sgx_default_qcnl.conf}" || fail "PCCS_URL: /etc/sgx_default_qcnl.conf cannot be written; mount it"
  fi
  cd "${VERITEE_HOME:-/opt/veritee}"
  exec gramine-sgx enclave
}

# Without a word the image starts the role that it holds, as the chart expects.
if [ $# = 0 ] && [ -n "${VERITEE_ROLE:-}" ]; then set -- -m "$VERITEE_ROLE"; fi
case ${1:-} in
  -m | --mode) start "${2:-}" ;;
  --health)
    # However somebody has laid the file out.
    port=$(tr -d '[:space:]' <"$config" 2>/dev/null | sed -n 's/.*"\(api\|listen\)":{[^}]*"port":\([0-9]*\).*/\2/p')
    # A process that hangs still takes connections: it must say something, or end this one, as TLS does.
    exec bash -c "trap '' PIPE; exec 3<>/dev/tcp/127.0.0.1/${port:-8080} || exit 1; printf 'GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 2>/dev/null; IFS= read -r -t 4 -N 1 -u 3; [ \$? -le 128 ]"
    ;;
  -h | --help | '') usage ;;
  --)
    shift
    exec "$@"
    ;;
  *) fail "expected -m controller|worker|broker, found '$1'; see -h" ;;
esac
