#!/usr/bin/env bash
# Runs `go test` with the flags of tools/flags.sh and notes in .lab/tests.tsv how long each test took.
# It does not vet: tools/check.sh does, for the whole module at once.
# usage: tools/gotest.sh [--race] [--verbose] [--module DIRECTORY] [flags and packages of go test]
# With --module it tests packages of the module there, such as images/skipper.
set -euo pipefail
cd "$(dirname "$0")/.."
race=
show=()
module=()
export CGO_ENABLED=0
while :; do
  case ${1:-} in
  --race) race=race CGO_ENABLED=1 ;;
  --verbose) show=(-v) ;;
  --module)
    module=(-C "$2")
    shift
    ;;
  *) break ;;
  esac
  shift
done
report=$PWD/.lab/tools/report
mkdir -p .lab/tools
CGO_ENABLED=0 go build $(tools/flags.sh) -o "$report" ./test/report
go test "${module[@]}" -json -vet=off $(tools/flags.sh $race) "$@" | "$report" "${show[@]}" .lab/tests.tsv
