#!/usr/bin/env bash
# Checks and tests, the cheap first. It installs what they need, stops at the first stage that fails (with --full, which
# takes hours, it goes on with the others), says how long each stage and the slowest tests took, and its last line says in
# the manner of `go test` how it went.
# usage: tools/test.sh          what finds the most in the least time
#        tools/test.sh --full   everything: all seeds and points of the tests (test/scope), all with the race detector,
#                               golangci-lint and govulncheck, Apache Kafka of three nodes, kind, azurerm's own schema
set -euo pipefail
cd "$(dirname "$0")/.."

full=
case ${1:-} in
'') ;;
--full)
  full=1
  export LABCTL_TEST_FULL=1
  ;;
*)
  echo "usage: $0 [--full]" >&2
  exit 1
  ;;
esac

stage=start
provider=
stages=()
failed=()
finish() {
  local status=$?
  trap - EXIT
  [ -z "$provider" ] || kill -- "-$provider" 2>/dev/null || true
  if [ ${#stages[@]} -gt 0 ]; then
    printf '=== stages\n'
    printf '%s\n' "${stages[@]}"
  fi
  if [ -s .lab/tests.tsv ]; then
    printf '=== slowest tests\n'
    .lab/tools/report -slowest 10 .lab/tests.tsv || true
  fi
  if [ $status -eq 0 ]; then
    printf 'ok  \tlabctl\tall stages\t%d.0s\n' "$SECONDS"
  else
    printf 'FAIL\tlabctl\tstage %s\t%d.0s\n' "$stage" "$SECONDS"
  fi
  exit $status
}
trap finish EXIT
# Without these, bash hands an end by a signal to finish as success.
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# cpu sets spent to the seconds of processor time that this script's ended children have taken, without what the tests left
# running and the build of the provider. A subshell would know nothing of them.
cpu() {
  times >.lab/times
  spent=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); s += 60 * t[1] + t[2] } printf "%d", s }' .lab/times)
}

run() {
  stage=$1
  shift
  local from=$SECONDS before line
  cpu
  before=$spent
  printf '=== %s\n' "$stage"
  local result=PASS
  if [ -n "$full" ]; then
    "$@" || { result=FAIL && failed+=("$stage"); }
  else
    "$@"
  fi
  cpu
  printf -v line '%6d s, %6d s of CPU  %s' $((SECONDS - from)) $((spent - before)) "$stage"
  stages+=("$line")
  printf -- '--- %s: %s (%d.0s)\n' "$result" "$stage" $((SECONDS - from))
}

frontend() (
  cd services/frontend/web && npm test
)
# Building the azurerm provider takes a quarter of an hour where it cannot be downloaded. It begins here, with what others
# leave of the processors, of which tests that wait leave much. tools/azure.sh waits for it.
early() {
  setsid chrt --idle 0 tools/azure.sh --mirror-only >.lab/azurerm.log 2>&1 &
  provider=$!
}

mkdir -p .lab
rm -f .lab/tests.tsv

run build make build
run machine bin/labctl doctor --fix --for test
run web tools/web.sh
run check tools/check.sh ${full:+--full}
run frontend frontend
run acceptance tools/gotest.sh -count=1 ./test/acceptance
[ -z "$full" ] || early
if [ -n "$full" ]; then
  run unit tools/gotest.sh --race -timeout 60m $(tools/packages.sh unit)
else
  run unit tools/gotest.sh -p 3 -parallel 4 -timeout 20m $(tools/packages.sh plain)
  run race tools/gotest.sh --race -timeout 20m $(tools/packages.sh race)
fi
run ingress tools/gotest.sh ${full:+--race} --module images/skipper ./capture
export LABCTL=$PWD/bin/labctl
run e2e tools/gotest.sh --verbose -count=1 -timeout 90m ./test/e2e/...
if [ -n "$full" ]; then
  run browser tools/gotest.sh --race --verbose -count=1 -timeout 60m ./test/browser/...
  run azure tools/azure.sh
  provider=
  run kafka tools/kafka.sh
  run kind tools/kind.sh
else
  NODES=1 run kafka tools/kafka.sh --smoke
fi
if [ ${#failed[@]} -gt 0 ]; then
  stage=$(IFS=,; printf '%s' "${failed[*]}")
  exit 1
fi
