#!/usr/bin/env bash
# Prints the packages of this module that a stage of the tests covers. The rest of test/ are stages of their own.
# usage: tools/packages.sh unit
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
unit) go list ./... | grep -v -e '/node_modules/' -e '/test/acceptance' -e '/test/e2e' -e '/test/browser' -e '/test/kind' ;;
*)
  echo "usage: $0 unit" >&2
  exit 1
  ;;
esac
