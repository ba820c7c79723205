#!/usr/bin/env bash
# Validates the Azure stacks and runs their tests against the real schema of the azurerm provider. Nothing asks Azure.
# The provider comes from a mirror in labctl's cache, which is filled once: by a download where the registry answers,
# else by a build from the module that images/azurerm pins (8 minutes on two cores, 12 GB of disk while it lasts).
# usage: tools/azure.sh                 test every stack, and compare test/azure/testdata/schema.json with the provider
#        tools/azure.sh --schema        write that file, by which make test checks the stacks without the provider
#        tools/azure.sh --mirror-only   fill the mirror and print the path of a terraform CLI configuration that uses it
set -euo pipefail
cd "$(dirname "$0")/.."

version=5.2.0 # the release of azurerm whose commit images/azurerm/go.mod pins
module=github.com/hashicorp/terraform-provider-azurerm
gigabytes=12 # that a build needs, of which it leaves 0.3

say() { printf 'azure: %s\n' "$*" >&2; }
fail() {
  printf 'FAIL\tazure: %s\n' "$1" >&2
  exit 1
}

case ${1:-} in
'' | --mirror-only | --schema) ;;
*) fail "usage: $0 [--mirror-only | --schema]" ;;
esac

cache=${LABCTL_CACHE:-${XDG_CACHE_HOME:-${HOME:?there is no place for the cache: set LABCTL_CACHE}/.cache}/labctl}
key=$(cat images/azurerm/go.mod images/azurerm/go.sum | sha256sum | cut -c 1-12)
mirror=$cache/providers/mirror-$key
# The same place and lock as those of labctl's own builds, so that labctl sweeps what a killed build left here.
private=$cache/build/azurerm-$key
work=$(mktemp -d)
child=
finish() {
  if [ -n "$child" ]; then
    kill -- "-$child" 2>/dev/null || true
    wait "$child" || true
    rm -rf "$private"
  fi
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

terraform=$(command -v terraform || command -v tofu) || {
  make build >&2
  terraform=$(bin/labctl tool terraform) || fail "no terraform to be had"
}
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0
unset TF_DATA_DIR TF_WORKSPACE "${!TF_CLI_ARGS@}"
platform=$("$terraform" version -json 2>/dev/null | sed -n 's/.*"platform": "\(.*\)".*/\1/p')

# Downloads the provider into the directory $1. Terraform checks the publisher's signature.
download() {
  mkdir "$work/wanted"
  cat >"$work/wanted/main.tf" <<EOF
terraform {
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "$version"
    }
  }
}
EOF
  (
    cd "$work/wanted"
    TF_REGISTRY_CLIENT_TIMEOUT=10 TF_REGISTRY_DISCOVERY_RETRY=0 timeout 600 \
      "$terraform" providers mirror -platform="$platform" "$1" >"$work/download.log" 2>&1
  )
}

# Counts what go prints of its work, a line every 20 s, and shows what it prints otherwise (an error).
watch() {
  local total=$1 n=0 next=$((SECONDS + 20)) line
  while IFS= read -r line; do
    case $line in
    "go: downloading "*) ;;
    *[:\ ]*) printf '%s\n' "$line" >&2 ;;
    *) n=$((n + 1)) ;;
    esac
    if ((SECONDS >= next)); then
      say "compiled $n packages of $total"
      next=$((SECONDS + 20))
    fi
  done
}

# Builds the provider into the directory $1, with caches that hold nothing but this build.
build() {
  command -v go >/dev/null || fail "the provider can be neither downloaded nor built: there is no go command"
  local have out=$1/registry.terraform.io/hashicorp/azurerm/$version/$platform
  have=$(df --output=avail --block-size=1G "$cache" | tail -n 1)
  ((have >= gigabytes)) || fail "building the provider takes $gigabytes GB for some minutes, and $cache has ${have// /} GB; free some, or set LABCTL_CACHE to a directory on a larger disk"

  # What this user's Go has already is taken from there; go.sum checks it like anything from the network.
  local proxy
  proxy=file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)
  rm -rf "$private"
  mkdir -p "$private/tmp" "$out"
  set -m # a process group of its own, which can be ended as a whole
  (
    cd images/azurerm
    export CGO_ENABLED=0 GOWORK=off GOFLAGS='-mod=readonly -modcacherw' GOPROXY=$proxy GOOS=${platform%_*} GOARCH=${platform#*_}
    export GOCACHE=$private/go-build GOMODCACHE=$private/mod GOTMPDIR=$private/tmp
    say "loading the provider's packages"
    go list -deps "$module" >"$private/packages" 2>"$private/said" || {
      grep -v '^go: downloading ' "$private/said" >&2
      exit 1
    }
    is=$(cat "$(go list -m -f '{{.Dir}}' "$module")/version/VERSION")
    [ "$is" = "$version" ] || fail "images/azurerm pins azurerm $is, and this script expects $version"
    # Nothing waits long for what a provider computes, and compiling without inlining takes a third less.
    nice -n 10 go build -v -trimpath -buildvcs=false "-gcflags=all=-l -dwarf=false" \
      -ldflags "-s -w -buildid= -X $module/version.ProviderVersion=$version" \
      -o "$out/terraform-provider-azurerm_v${version}_x5" "$module" 2>&1 | watch "$(wc -l <"$private/packages")"
  ) &
  child=$!
  set +m
  local status=0
  wait "$child" || status=$?
  child=
  rm -rf "$private"
  [ $status -eq 0 ] || fail "the provider does not build"
}

# Fills the mirror, unless that was done. The lock is inherited by the build, so nobody starts a second one beside an orphan.
fill() {
  [ ! -d "$mirror" ] || return 0
  mkdir -p "$cache/build" "$cache/providers"
  exec 9>"$private.lock"
  flock -n 9 || {
    say "waiting for another build of the provider"
    flock 9
  }
  if [ ! -d "$mirror" ]; then
    local part=$mirror.partial other
    rm -rf "$part"
    mkdir -p "$part"
    if download "$part"; then
      say "downloaded azurerm $version"
    else
      say "azurerm $version could not be downloaded, so it is built, once ($(sed -n 's/\x1b\[[0-9;]*m//g; s/.*Error: //p' "$work/download.log" | head -n 1 | grep . || echo 'no answer in time'))"
      rm -rf "$part"
      build "$part"
      say "built azurerm $version in $((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))"
    fi
    # The same provider under the names that terraform and OpenTofu give its registry.
    for other in registry.terraform.io registry.opentofu.org; do
      [ -d "$part/$other" ] || cp -rl "$(ls -d "$part"/registry.*/ | head -n 1)" "$part/$other"
    done
    cat >"$part/cli.tfrc" <<EOF
provider_installation {
  filesystem_mirror {
    path    = "$mirror"
    include = ["registry.terraform.io/hashicorp/azurerm", "registry.opentofu.org/hashicorp/azurerm"]
  }
  direct {
    exclude = ["registry.terraform.io/hashicorp/azurerm", "registry.opentofu.org/hashicorp/azurerm"]
  }
}
EOF
    mv -T "$part" "$mirror"
  fi
  exec 9>&-
}

# Runs one step of a stack's test in its copy; what it prints is kept in case it fails.
step() {
  local log=$work/$1.log
  shift
  "$@" >"$log" 2>&1 || {
    cat "$log"
    return 1
  }
}

# Tests one stack in a copy, so that nothing is left in the tree.
check() {
  local name=$1 from=$SECONDS
  cp -r "stacks/azure/$name" "$work/stack"
  if (
    cd "$work/stack"
    step fmt "$terraform" fmt -check -diff -recursive &&
      step init "$terraform" init -backend=false -no-color &&
      step validate "$terraform" validate -no-color &&
      step test "$terraform" test -no-color
  ); then
    printf 'ok  \tstacks/azure/%s\t%s\t%d.0s\n' "$name" "$(tail -n 1 "$work/test.log")" $((SECONDS - from))
  else
    printf 'FAIL\tstacks/azure/%s\n' "$name"
    failed=1
  fi
  rm -rf "$work/stack"
}

fill
export TF_CLI_CONFIG_FILE=$mirror/cli.tfrc
if [ "${1:-}" = --mirror-only ]; then
  printf '%s\n' "$TF_CLI_CONFIG_FILE"
  exit
fi

# Compares the committed schema with the provider's, or writes it, if $1 is -update.
schema() {
  mkdir "$work/provider"
  cat >"$work/provider/main.tf" <<EOF
terraform {
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "$version"
    }
  }
}
EOF
  (
    cd "$work/provider"
    step provider-init "$terraform" init -no-color &&
      "$terraform" providers schema -json >"$work/schema.json"
  ) || return
  CGO_ENABLED=0 go test $(tools/flags.sh) -vet=off -count=1 -run '^TestStacksFitTheSchema$' ./test/azure -schema "$work/schema.json" "$@"
}
if [ "${1:-}" = --schema ]; then
  schema -update
  exit
fi

failed=0
schema || failed=1
for dir in stacks/azure/*/; do
  check "$(basename "$dir")"
done
exit $failed
