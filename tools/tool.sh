#!/usr/bin/env bash
# Builds a development tool that tools/go.mod pins, once for each state of tools/go.sum, and prints its path.
# usage: tools/tool.sh NAME
set -euo pipefail
cd "$(dirname "$0")"
name=$1
case $name in
golangci-lint) package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
govulncheck) package=golang.org/x/vuln/cmd/govulncheck ;;
*)
  echo "$0: unknown tool $name" >&2
  exit 1
  ;;
esac
# The linters must be built by a Go at least as new as the code, so its version is part of the key.
key=$({ cat go.mod go.sum; go env GOVERSION; } | sha256sum | cut -c 1-12)
dir=$PWD/../.lab/tools/$key
if [ ! -x "$dir/$name" ]; then
  mkdir -p "$dir"
  echo "building $name, once (some minutes on a small machine)" >&2
  GOBIN=$dir CGO_ENABLED=0 go install -trimpath -gcflags=all=-dwarf=false "-ldflags=-s -w" "$package" >&2
fi
printf '%s\n' "$dir/$name"
