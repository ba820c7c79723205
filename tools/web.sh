#!/usr/bin/env bash
# Builds the chat's page into services/frontend/web/dist, when a file that it is made of is newer than the last build.
set -euo pipefail
cd "$(dirname "$0")/../services/frontend/web"
page=dist/index.html
if [ -f "$page" ] && [ -z "$(find . -path ./node_modules -prune -o -path ./dist -prune -o -type f -newer "$page" -print -quit)" ]; then
  exit 0
fi
if ! command -v npm >/dev/null; then
  echo "web: npm is missing, so the chat's page cannot be built" >&2
  echo "next:  bin/labctl doctor --fix" >&2
  exit 4
fi
# What npm installed is kept until the lock file changes.
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --no-audit --no-fund
fi
npm run build
