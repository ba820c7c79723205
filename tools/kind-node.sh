#!/usr/bin/env bash
# Builds a node image for kind from source, for machines on which kindest/node can't be pulled: a root of the
# distribution's packages, kind's own files out of its module, and the Kubernetes that images/kubernetes pins. It is a
# stand-in for tests: its network is a bridge, and its storage is that of the embedded node.
# usage: tools/kind-node.sh OUT.tar    (tools/kind.sh makes an image of it)
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
work=$PWD/.lab/kind
mkdir -p "$work/bin"

say() { printf 'kind-node: %s\n' "$1" >&2; }

version=$(sed -n 's/^\tk8s.io\/kubernetes //p' images/kubernetes/go.mod)
kind=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kind)
[ -n "$kind" ] || {
  go mod download sigs.k8s.io/kind
  kind=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kind)
}

# Without this capability no process may be protected from the kernel's shortage of memory, and runc and systemd fail
# where they try.
resource=1
(($(printf '%d' "0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status)") >> 24 & 1)) || resource=

key=$({ cat "$0" images/kubernetes/go.sum images/kubernetes/*.go images/coredns/go.sum images/pause/*; find test/kind -type f -print0 | sort -z | xargs -0 cat; echo "$kind $resource"; } | sha256sum | cut -c 1-16)
if [ -f "$out" ] && [ "$(cat "$out.key" 2>/dev/null)" = "$key" ]; then
  exit 0
fi

packages=systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,conntrack,iptables,nftables,iproute2,ethtool,socat,mount,kmod,jq,procps,ca-certificates
base=$work/root-$(printf '%s' "$packages" | sha256sum | cut -c 1-12).tar
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
if [ ! -f "$base" ]; then
  say "a root of Debian's packages"
  mirror=$(find /etc/apt -name sources.list -o -path '*/sources.list.d/*.list' -o -path '*/sources.list.d/*.sources' | sort | xargs cat |
    sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' | sed -n 1p)
  debootstrap --variant=minbase --include=$packages "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
    tail -n 20 "$work/debootstrap.log" >&2
    exit 1
  }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
  tar -C "$root" -cf "$base.new" .
  mv "$base.new" "$base"
else
  tar -C "$root" -xf "$base"
fi

say "kubeadm and kubectl $version"
# In a copy, because the module asks for less than these two need.
module=$(mktemp -d)
trap 'rm -rf "$root" "$module"' EXIT
cp images/kubernetes/go.mod images/kubernetes/go.sum images/kubernetes/*.go "$module"
flags=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  minor=${version#v1.}
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
done
(cd "$module" && CGO_ENABLED=0 nice -n 10 go build -mod=mod -trimpath -ldflags "-s -w$flags" -o "$work/bin/" k8s.io/kubernetes/cmd/kubeadm k8s.io/kubernetes/cmd/kubectl)

say "kind's files and Kubernetes"
cp -r --no-preserve=mode "$kind/images/base/files/." "$root/"
chmod 0755 "$root"/usr/local/bin/* "$root/kind" "$root/kind/bin" "$root"/kind/bin/*
install -m 0755 "$work/bin/kubeadm" "$work/bin/kubectl" "$root/usr/bin/"
# What the archives hold: the control plane's images under the names that kubeadm asks for, and the multi-call binary.
mkdir -p "$root/kind/images" "$root/kind/manifests" "$root/etc/kubernetes/manifests" "$root/etc/cni/net.d" "$root/opt/cni"
# The files that the image of kube-proxy needs beside its program.
{
  (cd "$root" && printf '%s\n' bin sbin lib lib64 usr/bin/sh usr/sbin/modprobe usr/sbin/*tables* etc/alternatives/*tables*)
  (cd "$root" && find usr/lib -path '*/xtables/*')
  # Each library by its own name and by that of the file it stands for, both without the links of directories.
  chroot "$root" sh -c 'for program in xtables-nft-multi xtables-legacy-multi conntrack kmod dash; do
      file=$(command -v $program)
      echo "$file"
      ldd "$file" | grep -o "/[^ ]*"
    done | sort -u | while read -r file; do
      echo "$(realpath "$(dirname "$file")")/$(basename "$file")"
      realpath "$file"
    done' | sed 's|^/||'
} | sort -u | tar --no-recursion -C "$root" --files-from=- -cf "$work/proxy.tar"
say "the control plane's images"
go run ./test/kind/images -out "$root/kind/images" -program "$root/usr/local/bin/kubernetes" -files "$work/proxy.tar" \
  $("$work/bin/kubeadm" config images list --kubernetes-version "$version")
ln -s ../local/bin/kubernetes "$root/usr/bin/kubelet"
printf '%s' "$version" >"$root/kind/version"

# Where Debian has what kind's own image has elsewhere.
ln -s /usr/lib/cni "$root/opt/cni/bin"
ln -s /usr/bin/containerd "$root/usr/local/bin/containerd"
chroot "$root" ctr oci spec | jq '.hooks.createContainer[.hooks.createContainer | length] |= . + {"path": "/kind/bin/mount-product-files.sh"} | del(.process.rlimits)' >"$root/etc/containerd/cri-base.json"
find "$root"/lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f "$root"/lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* "$root"/etc/systemd/system/*.wants/* "$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}*
echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system/kubelet.service.d" "$root/etc/systemd/system/containerd.service.d"
for unit in kubelet containerd undo-mount-hacks; do
  ln -s "/etc/systemd/system/$unit.service" "$root/etc/systemd/system/multi-user.target.wants/"
done
ln -s /dev/null "$root/etc/systemd/system/systemd-binfmt.service"
# Containerd of Debian 12 has to be told what later ones do of themselves: CoreDNS's port 53 needs no right.
sed -i 's/^  sandbox_image = .*/&\n  enable_unprivileged_ports = true/' "$root/etc/containerd/config.toml"
if [ -z "$resource" ]; then
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
  printf '[Service]\nOOMScoreAdjust=0\n' >"$root/etc/systemd/system/containerd.service.d/20-oom.conf"
fi
# Kind's image brings its images unpacked; here they are unpacked when the node starts for the first time.
cat >"$root/kind/bin/load-images.sh" <<'EOF'
#!/bin/sh
set -eu
[ ! -e /kind/images/loaded ] || exit 0
for archive in /kind/images/*.tar; do ctr --namespace=k8s.io images import "$archive"; done
touch /kind/images/loaded
EOF
chmod 0755 "$root/kind/bin/load-images.sh"
printf '[Unit]\nAfter=containerd.service\nRequires=containerd.service\n[Service]\nTimeoutStartSec=300\nExecStartPre=/kind/bin/load-images.sh\n' >"$root/etc/systemd/system/kubelet.service.d/20-images.conf"
cat >"$root/etc/cni/net.d/10-bridge.conflist" <<'EOF'
{
  "cniVersion": "0.4.0",
  "name": "bridge",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.244.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
EOF
cp test/kind/manifests/*.yaml "$root/kind/manifests/"

say "packing"
mkdir -p "$(dirname "$out")"
tar -C "$root" -cf "$out.new" .
mv "$out.new" "$out"
printf '%s' "$key" >"$out.key"
