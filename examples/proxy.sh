#!/bin/sh
# curl through the verifying proxy: veritee proxy --upstream URL --policy FILE, then: sh examples/proxy.sh
set -eu
proxy=${VERITEE_PROXY:-http://127.0.0.1:8787}

# --fail: an answer that cannot be proven is an error of HTTP, or breaks off.
curl --silent --show-error --fail-with-body "$proxy/v1/chat/completions" -H 'content-type: application/json' \
  -d '{"model":"veritee-demo","messages":[{"role":"user","content":"Who are you?"}]}'
echo
# What was proven of it; the same as a page: open $proxy/proofs in a browser.
curl --silent --show-error --fail "$proxy/proofs"
