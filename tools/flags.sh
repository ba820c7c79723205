#!/usr/bin/env bash
# Prints the flags that tests and checks are compiled with. They are those of tools/build.sh and pkg/gobuild, so that what
# labctl, its tests and the linter share (client-go, Helm, Kubernetes) is compiled once. Use them with CGO_ENABLED=0.
# With "race" they are those of the race detector, which needs cgo and its own compilation of everything.
# usage: tools/flags.sh [race]
set -euo pipefail
case ${1:-} in
'') echo -trimpath -gcflags=all=-dwarf=false -tags=timetzdata ;;
race) echo -race -trimpath -gcflags=all=-dwarf=false -tags=timetzdata ;;
*)
  echo "usage: $0 [race]" >&2
  exit 1
  ;;
esac
