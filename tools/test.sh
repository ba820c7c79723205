#!/usr/bin/env bash
# All checks and tests, the cheap first. It installs what they need, stops at the first stage that fails, and its last
# line says in the manner of `go test` how it went.
set -euo pipefail
cd "$(dirname "$0")/.."

stage=start
provider=
finish() {
  local status=$?
  [ -z "$provider" ] || kill -- "-$provider" 2>/dev/null || true
  if [ $status -eq 0 ]; then
    printf 'ok  \tlabctl\tall stages\t%d.0s\n' "$SECONDS"
  else
    printf 'FAIL\tlabctl\tstage %s\t%d.0s\n' "$stage" "$SECONDS"
  fi
  exit $status
}
trap finish EXIT

run() {
  stage=$1
  shift
  local from=$SECONDS
  printf '=== %s\n' "$stage"
  "$@"
  printf -- '--- PASS: %s (%d.0s)\n' "$stage" $((SECONDS - from))
}

frontend() (
  cd services/frontend/web
  npm test
)
# Building the azurerm provider takes a quarter of an hour where it cannot be downloaded. It begins here, with what others leave of the
# processors, of which tests that wait leave much. tools/azure.sh waits for it.
early() {
  mkdir -p .lab
  setsid chrt --idle 0 tools/azure.sh --mirror-only >.lab/azurerm.log 2>&1 &
  provider=$!
}
unit() { go test $flags -timeout 30m $(tools/packages.sh unit); }

flags=$(tools/flags.sh)

run build make build
run machine bin/labctl doctor --fix --for test
run web tools/web.sh
run check tools/check.sh
run frontend frontend
run acceptance go test $flags -count=1 ./test/acceptance
early
run unit unit
export LABCTL=$PWD/bin/labctl
run e2e go test $flags -count=1 -v -timeout 90m ./test/e2e/...
run browser go test $flags -count=1 -v -timeout 60m ./test/browser/...
run azure tools/azure.sh
provider=
run kafka tools/kafka.sh
