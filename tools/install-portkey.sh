#!/usr/bin/env bash
# Installs Portkey's gateway from npm for `npm run bench -- gateway`, outside the clone, about 25 MB. No scripts of packages run.
# Where npm or the registry is missing it says so and ends well: the bench then names it left out.
set -u
target=${PORTKEY_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/veritee/portkey}
wanted="@portkey-ai/gateway@1.15.2"
if [ "$(cat "$target/installed.txt" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

fail() { echo "left out: Portkey could not be installed: $1"; exit 0; }
command -v npm >/dev/null || fail "there is no npm"
{ rm -rf "$target" && mkdir -p "$target"; } || fail "no room at $target"
echo '{"private":true}' >"$target/package.json"
npm install --prefix "$target" --ignore-scripts --no-audit --no-fund --save-exact "$wanted" >"$target/npm.log" 2>&1 || fail "$(tail -n 1 "$target/npm.log")"
echo "$wanted" >"$target/installed.txt"
echo "Portkey's gateway in $target"
