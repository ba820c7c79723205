#!/usr/bin/env bash
# What a machine can say about the code without running it, the cheap first.
# usage: tools/check.sh [--full]
# With --full also golangci-lint, which finds what our own linter knows too little of other modules for, and govulncheck.
set -euo pipefail
cd "$(dirname "$0")/.."
full=${1:-}

part() { printf -- '--- check: %s\n' "$1"; }
fail() {
  printf 'FAIL\tcheck: %s\n' "$1" >&2
  exit 1
}

part gofmt
unformatted=$(git ls-files --cached --others --exclude-standard -- '*.go' | while read -r f; do [ -f "$f" ] && printf '%s\n' "$f"; done | xargs -r gofmt -l)
[ -z "$unformatted" ] || {
  printf '%s\n' "$unformatted"
  fail "these files are not formatted; run gofmt -w on them"
}

part "wiring and charts"
# Builds what is asked, so that a check never uses the labctl of yesterday.
make build
for environment in local staging prod technical; do
  bin/labctl validate -e "$environment" || fail "labctl validate -e $environment"
done

part "terraform fmt"
terraform=$(bin/labctl tool terraform) || fail "no terraform to be had"
"$terraform" fmt -check -diff -recursive stacks || fail "terraform fmt; run $terraform fmt -recursive stacks"

part lint
# The linter and golangci-lint load what the build has compiled.
export CGO_ENABLED=0
GOFLAGS="$(go env GOFLAGS) $(tools/flags.sh)"
export GOFLAGS
lint=$(tools/tool.sh lint) || fail "the linter does not build"
"$lint" ./... || fail lint
(cd tools/lint && go test -vet=off .) || fail "the linter's own tests"
[ "$full" = --full ] || exit 0

part golangci-lint
lint=$(tools/tool.sh golangci-lint) || fail "golangci-lint does not build"
"$lint" run ./... || fail golangci-lint

part govulncheck
vuln=$(tools/tool.sh govulncheck) || fail "govulncheck does not build"
report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
"$vuln" ./... >"$report" 2>&1 || status=$?
if [ $status -eq 0 ]; then
  tail -n 3 "$report"
elif grep -q '^govulncheck: fetching vulnerabilities' "$report" && ! grep -q '^Vulnerability #' "$report"; then
  # Only a database that cannot be reached is let pass, and never quietly.
  echo '!!! govulncheck could not reach its database: NO VULNERABILITY WAS LOOKED FOR. It said:'
  sed 's/^/!!!   /' "$report" | head -n 5
else
  cat "$report"
  fail govulncheck
fi
