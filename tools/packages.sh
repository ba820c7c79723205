#!/usr/bin/env bash
# Prints the packages of this module that a stage of the tests covers. The rest of test/ are stages of their own.
# usage: tools/packages.sh unit         all
#        tools/packages.sh race         those that `make test` runs with the race detector: goroutines of ours, few dependencies
#        tools/packages.sh plain        those that it runs without
set -euo pipefail
cd "$(dirname "$0")/.."
unit() { go list ./... | grep -v -e '/node_modules/' -e '/test/acceptance' -e '/test/e2e' -e '/test/browser' -e '/test/kind'; }
# devlab's tests take longer than all others': begun last, they would run alone in the end.
longest_first() { awk '/\/pkg\/devlab$/ { print; next } { rest = rest $0 "\n" } END { printf "%s", rest }'; }
race='/labctl/\(services\(/.*\)\?\|pkg/\(lab\|load\|kafka\|mongodb\|shadow\|shadow/\(join\|records\|replay\)\)\)$'
case ${1:-} in
unit) unit ;;
race) unit | grep "$race" ;;
plain) unit | grep -v "$race" | longest_first ;;
*)
  echo "usage: $0 unit|race|plain" >&2
  exit 1
  ;;
esac
