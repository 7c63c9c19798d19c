#!/usr/bin/env bash
# Installs FastChat's controller and API server from PyPI for packages/services/test/fastchat/real.test.ts: two versions over one virtual environment,
# outside the clone, about 140 MB. Without torch: what they import and never use has stand-ins (real/stand-ins/sitecustomize.py).
# Where Python or the registry is missing it says so and ends well: the test then names itself left out.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
list=$top/packages/services/test/fastchat/real/requirements.txt
target=${FASTCHAT_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/veritee/fastchat}
versions="0.2.18 0.2.36"
wanted="$(cat "$list") $versions"
if [ "$(cat "$target/installed.txt" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

fail() { echo "left out: FastChat could not be installed: $1"; exit 0; }
command -v python3 >/dev/null || fail "there is no python3"
{ rm -rf "$target" && mkdir -p "$target"; } || fail "no room at $target"
python3 -m venv "$target/venv" >"$target/pip.log" 2>&1 || fail "$(tail -n 1 "$target/pip.log")"
pip() { "$target/venv/bin/python" -m pip install --quiet --no-deps --disable-pip-version-check "$@" >>"$target/pip.log" 2>&1; }
pip --only-binary :all: --requirement "$list" || fail "$(tail -n 1 "$target/pip.log")"
for version in $versions; do
  pip --only-binary :all: --target "$target/$version" "fschat==$version" || fail "$(tail -n 1 "$target/pip.log")"
done
echo "$wanted" >"$target/installed.txt"
echo "FastChat $versions in $target"
