#!/usr/bin/env bash
# The test of the clusters that kind makes, on a real container engine: the machine's own Docker where it works and has
# a node image (LABCTL_KIND_NODE_IMAGE, or kind's own, which must be pulled), else a private Docker Engine and a node
# image built from source. The private one has namespaces of its own for network, mounts and processes, so that bridges,
# packet filter rules, mounts and containers end with it, however it ends.
# usage: tools/kind.sh [flags of the test binary, such as -test.run=…]
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")/.."
work=$PWD/.lab/kind
engine=$work/engine
cgroup=kindtest-$(printf '%s' "$PWD" | sha256sum | cut -c 1-8)

# What the namespaces do not take with them. Nothing of another run is here: the lock below is held. A control group is
# in use until the last of its processes has died, which those of a namespace that was killed take a moment for.
clean() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
    [ -n "$(find /sys/fs/cgroup -type d -name "$cgroup" -print -quit 2>/dev/null)" ] || break
    sleep 0.1
  done
  rm -rf "$engine"
}

# inside runs in the namespaces.
inside() {
  mount -t tmpfs tmpfs /run
  ip link set lo up
  export DOCKER_HOST=unix:///run/engine.sock
  runtime=()
  # Runc cannot give to a privileged container a capability that this machine does not have, and Docker asks for all.
  if ! (($(printf '%d' "0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status)") >> 24 & 1)); then
    cat >"$engine/runc" <<'EOF'
#!/bin/bash
bundle=. edited=
for ((i = 1; i < $#; i++)); do
  next=$((i + 1))
  case ${!i} in
  --bundle) bundle=${!next} ;;
  create) edited=config ;;
  --process) edited=${!next} ;;
  esac
done
[ "$edited" != config ] || edited=$bundle/config.json
if [ -n "$edited" ]; then
  jq 'def less: del(.oomScoreAdj) | if .capabilities then .capabilities[] -= ["CAP_SYS_RESOURCE"] else . end;
    if .process then .process |= less else less end' "$edited" >"$edited.new" && cat "$edited.new" >"$edited"
  rm -f "$edited.new"
fi
exec runc "$@"
EOF
    chmod 0755 "$engine/runc"
    runtime=(--add-runtime "reduced=$engine/runc" --default-runtime reduced)
  fi
  dockerd --data-root "$engine/data" --exec-root /run/engine --pidfile /run/engine.pid --host "$DOCKER_HOST" \
    --cgroup-parent "/$cgroup" "${runtime[@]}" >"$work/dockerd.log" 2>&1 &
  local tries
  for ((tries = 0; ; tries++)); do
    docker info >/dev/null 2>&1 && break
    if ((tries == 120)) || ! kill -0 $!; then
      tail -n 20 "$work/dockerd.log" >&2
      echo "kind: the private Docker Engine did not start" >&2
      return 1
    fi
    sleep 0.5
  done
  docker import "$work/node.tar" localhost/labctl/kind-root:test >/dev/null
  printf '%s\n' 'FROM localhost/labctl/kind-root:test' 'ENV container=docker' 'STOPSIGNAL SIGRTMIN+3' 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' |
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$LABCTL_KIND_NODE_IMAGE" - >/dev/null 2>&1
  local status=0
  (cd test/kind && "$work/kind.test" "$@") || status=$?
  docker ps --all --quiet | xargs -r docker rm --force --volumes >/dev/null
  return $status
}

if [ "${1:-}" = --inside ]; then
  shift
  inside "$@"
  exit
fi

mkdir -p "$work"
exec {lock}>"$work/lock"
flock "$lock"
CGO_ENABLED=0 go test -c $(tools/flags.sh) -o "$work/kind.test" ./test/kind

image=${LABCTL_KIND_NODE_IMAGE:-$(sed -n 's/^const Image = "\(.*\)"$/\1/p' "$(go list -m -f '{{.Dir}}' sigs.k8s.io/kind)/pkg/apis/config/defaults/image.go")}
if docker info >/dev/null 2>&1 && { docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >&2; }; then
  echo "kind: on this machine's Docker, with $image" >&2
  cd test/kind
  LABCTL_KIND_NODE_IMAGE=$image exec "$work/kind.test" -test.v -test.timeout=40m "$@"
fi

missing=
[ "$(id -u)" = 0 ] || missing+=" root's rights,"
for program in dockerd docker debootstrap unshare setpriv jq; do command -v $program >/dev/null || missing+=" $program,"; done
if [ -n "$missing" ]; then
  echo "!!! SKIP: kind was NOT TESTED: no node image for this machine's Docker, and for a private engine there are missing:${missing%,}" >&2
  exit 0
fi
child=
finish() {
  local status=$?
  trap - EXIT
  if [ -n "$child" ]; then
    kill -KILL "$child" 2>/dev/null || true # ended already, but for an interrupted run; unshare heeds no other signal
    wait "$child" || true
  fi
  clean
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM
clean
export TMPDIR=$engine/tmp # the test's directories go with the engine too
mkdir -p "$TMPDIR"
tools/kind-node.sh "$work/node.tar"
export LABCTL_KIND_NODE_IMAGE=localhost/labctl/kind-node:test
# The engine dies with this script, also where that is killed: setpriv sees to the first process, and the end of the
# first process of a namespace is the end of all.
setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc "$self" --inside -test.v -test.timeout=40m "$@" {lock}>&- &
child=$!
wait "$child"
