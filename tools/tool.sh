#!/usr/bin/env bash
# Builds a development tool that tools/go.mod pins, or our own in tools/lint, once for each state of its sources, and
# prints its path.
# usage: tools/tool.sh NAME
set -euo pipefail
cd "$(dirname "$0")"
name=$1 module=.
case $name in
lint) package=. module=lint ;;
golangci-lint) package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
govulncheck) package=golang.org/x/vuln/cmd/govulncheck ;;
*)
  echo "$0: unknown tool $name" >&2
  exit 1
  ;;
esac
# The linters must be built by a Go at least as new as the code, so its version is part of the key.
dir=$PWD/../.lab/tools flags=$PWD/flags.sh
cd "$module"
key=$({ cat go.mod go.sum; [ "$module" = . ] || cat ./*.go; go env GOVERSION; } | sha256sum | cut -c 1-12)
dir=$dir/$key
if [ ! -x "$dir/$name" ]; then
  mkdir -p "$dir"
  echo "building $name, once (some minutes on a small machine)" >&2
  # With labctl's own flags, so that the standard library is compiled once.
  CGO_ENABLED=0 go build $("$flags") "-ldflags=-s -w" -o "$dir/$name" "$package" >&2
fi
printf '%s\n' "$dir/$name"
