#!/usr/bin/env bash
# Builds one program of this module and says how far it is, since a cold build takes minutes and `go build` is silent.
# usage: tools/build.sh OUT PACKAGE [go build flags]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1 package=$2
shift 2

name=$(basename "$out")
next=10
live=
[ -t 2 ] && live=1

say() {
  if [ -n "$live" ]; then
    printf '\r\033[K%s' "$(printf '%s' "$1" | cut -c "1-$(($(tput cols 2>/dev/null || echo 80) - 1))")" >&2
  elif ((SECONDS >= next)); then
    printf '%s\n' "$1" >&2
    next=$((SECONDS + 10))
  fi
}

# What go says of its work is counted; what it says otherwise (an error) is shown.
watch() {
  local total=$1 what=$2 n=0 line
  while IFS= read -r line; do
    case $line in
      "go: downloading "*) n=$((n + 1)); say "$name: downloaded $n modules of at most $total: ${line#go: downloading }" ;;
      *[:\ ]*) [ -n "$live" ] && printf '\r\033[K' >&2; printf '%s\n' "$line" >&2 ;;
      *) n=$((n + 1)); say "$name: $what $n packages of at most $total: $line" ;;
    esac
  done
  [ -n "$live" ] && printf '\r\033[K' >&2
  return 0
}

export CGO_ENABLED=0
modules=$(grep -cE '^\s+[^ ]+ v[0-9]' go.mod)
list=$(mktemp)
trap 'rm -f "$list"' EXIT
go list -deps -tags=timetzdata "$package" 2>&1 >"$list" | watch "$modules" "read"
# The flags of pkg/gobuild, so that labctl and what it builds share what is compiled.
go build -v -trimpath -gcflags=all=-dwarf=false -tags=timetzdata "$@" -o "$out" "$package" 2>&1 | watch "$(wc -l <"$list")" "compiled"
if ((SECONDS >= 10)); then
  printf '%s: built in %d:%02d\n' "$name" $((SECONDS / 60)) $((SECONDS % 60)) >&2
fi
