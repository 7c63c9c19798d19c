#!/usr/bin/env bash
# Makes the image that stands in for base images in packages/services/test/deploy/images.test.ts: Debian 12 of its packages, by mmdebstrap, in a store of
# buildah outside the clone. Once, 180 MB, some minutes. Where a tool, a right or the mirror is missing it says so and ends well: the tests then name
# themselves left out.
set -u
target=${IMAGE_STORE:-${XDG_CACHE_HOME:-$HOME/.cache}/veritee/images}
wanted="bookworm, minbase"
if [ "$(cat "$target/installed.txt" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

fail() { echo "left out: no image to build on: $1"; exit 0; }
for tool in buildah mmdebstrap; do command -v "$tool" >/dev/null || fail "$tool is not installed"; done
[ "$(id -u)" = 0 ] || fail "this is for root: chroot and mounts"
{ rm -rf "$target" && mkdir -p "$target"; } || fail "no room at $target"
mmdebstrap --quiet --variant=minbase --mode=root bookworm "$target/base.tar" >"$target/log" 2>&1 || fail "$(tail -n 1 "$target/log")"
for driver in overlay vfs; do
  buildah() { command buildah --root "$target/store" --runroot "$target/run" --storage-driver "$driver" "$@"; }
  rm -rf "$target/store"
  { container=$(buildah from scratch) && buildah add --quiet "$container" "$target/base.tar" / && buildah commit --quiet --timestamp 0 "$container" veritee-base &&
    buildah rm "$container" && buildah run --isolation chroot "$(buildah from --name try veritee-base)" -- /bin/true && buildah rm try; } >>"$target/log" 2>&1 || continue
  rm "$target/base.tar"
  echo "$driver" >"$target/driver.txt"
  echo "$wanted" >"$target/installed.txt"
  echo "Debian 12 in $target, driver $driver"
  exit 0
done
fail "$(tail -n 1 "$target/log")"
