// Package doctor looks whether a machine has what the lab needs, and installs what is missing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/labctl/labctl/pkg/event"
)

// Purpose is what a machine is to be ready for.
type Purpose string

// The purposes.
const (
	Up   Purpose = "up"   // a whole lab
	Dev  Purpose = "dev"  // the chat in one process
	Test Purpose = "test" // all of the tests
)

// ErrNotReady is that the machine lacks something which labctl can't, or may not, get. The text says what to type.
var ErrNotReady = errors.New("this machine is not ready")

// NotReadyError is an ErrNotReady that names what is missing.
type NotReadyError struct{ Missing []Finding }

func (e *NotReadyError) Error() string { return ErrNotReady.Error() + ":" + describe(e.Missing) }

// Unwrap gives ErrNotReady.
func (e *NotReadyError) Unwrap() error { return ErrNotReady }

// Lacks says whether the finding of that name is among what is missing.
func (e *NotReadyError) Lacks(name string) bool {
	return slices.ContainsFunc(e.Missing, func(f Finding) bool { return f.Name == name })
}

// Options says what is needed, and how the machine is looked at. System fills in the functions; what is left nil of
// those below Run is not looked at.
type Options struct {
	For      Purpose
	CacheDir string
	Built    bool   // the parts that take much space to build are in the cache
	Ports    []Port // that must be free

	UID        int
	LookPath   func(name string) (string, error)
	Exists     func(path string) bool
	FreeBytes  func(dir string) (uint64, error)
	OpenFiles  func() (uint64, error)
	Namespaces func(ctx context.Context) error // tries what the node is made of
	Listen     func(port int) error
	Run        func(ctx context.Context, report event.Report, name string, args ...string) error // nil: nothing may be run

	Output       func(ctx context.Context, name string, args ...string) (string, error) // of a program that tells its version
	Read         func(path string) string                                               // a file's content, "" if it can't be read
	BridgeFilter func() bool                                                            // bridged packets can pass iptables
	Overlay      func(ctx context.Context) error                                        // tries an overlay mount
}

// Port is a TCP port on the loopback address that the lab will listen on.
type Port struct {
	Number int
	Use    string // what for
}

// Finding is one thing that was looked at.
type Finding struct {
	Name     string   `json:"name"`
	OK       bool     `json:"ok"`
	Have     string   `json:"have,omitempty"`
	Need     string   `json:"need"`
	Fix      []string `json:"fix,omitempty"`      // commands to type
	Packages []string `json:"packages,omitempty"` // of Debian; Fix installs them

	commands [][]string // which Fix runs, once the packages are there
}

// Missing returns the findings that are not OK.
func Missing(findings []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.OK })
}

// Check looks at all that the purpose needs, and changes nothing.
func Check(ctx context.Context, o Options) []Finding {
	lab := o.For != Dev
	var found []Finding
	if lab {
		found = append(found, o.root())
	}
	for _, p := range programs {
		if slices.Contains(p.purposes, o.For) {
			found = append(found, o.program(ctx, p))
		}
		if p.name == "runc" && lab {
			found = append(found, o.plugins())
		}
	}
	found = append(found, o.certificates(), o.space())
	if !lab {
		return found
	}
	found = append(found, o.openFiles())
	if o.Read != nil {
		found = append(found, o.memory(), o.inotify(), o.cgroups())
	}
	if o.UID == 0 {
		found = append(found, o.kernel(ctx)...)
	}
	for _, port := range o.Ports {
		found = append(found, o.port(port))
	}
	return found
}

// lacks fills in how a finding is fixed by packages.
func (o Options) lacks(f Finding, packages ...string) Finding {
	f.OK, f.Packages = false, packages
	if o.apt() {
		f.Fix = []string{install(packages)}
	} else {
		f.Fix = []string{"# install what Debian calls: " + strings.Join(packages, " ")}
	}
	return f
}

// apt says whether packages can be installed here: Debian, Ubuntu and their like have it.
func (o Options) apt() bool {
	_, err := o.LookPath("apt-get")
	return err == nil
}

func install(packages []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}

func (o Options) root() Finding {
	f := Finding{Name: "root", OK: o.UID == 0, Have: fmt.Sprintf("user %d", o.UID), Need: "root, because containers, networks and mounts are made"}
	if !f.OK {
		f.Fix = []string{"sudo labctl up"}
	}
	return f
}

// program is a program that must be on PATH.
type program struct {
	name     string
	commands []string // all of them
	oneOf    bool     // one of the commands is enough
	version  []string // the arguments that make the first command tell its version
	min      string
	packages []string // of Debian
	byHand   string   // what to do where Debian has no package that is new enough
	why      string
	purposes []Purpose
}

var (
	labs = []Purpose{Up, Test}
	all  = []Purpose{Up, Dev, Test}
)

var programs = []program{
	{name: "go", commands: []string{"go"}, version: []string{"version"}, min: "1.26", why: "builds the lab's parts",
		byHand: "# install Go 1.26 or newer from https://go.dev/dl and put its bin directory on PATH", purposes: all},
	{name: "containerd", commands: []string{"containerd", "containerd-shim-runc-v2"}, version: []string{"--version"}, min: "1.6",
		why: "runs the node's containers", packages: []string{"containerd"}, purposes: labs},
	{name: "runc", commands: []string{"runc"}, version: []string{"--version"}, min: "1.0", why: "starts the node's containers",
		packages: []string{"runc"}, purposes: labs},
	{name: "iptables", commands: []string{"iptables", "iptables-save", "iptables-restore"}, why: "carries the cluster's services",
		packages: []string{"iptables"}, purposes: labs},
	{name: "ipset", commands: []string{"ipset"}, why: "holds the addresses that NetworkPolicies let through", packages: []string{"ipset"}, purposes: labs},
	{name: "conntrack", commands: []string{"conntrack"}, why: "forgets connections to pods that are gone", packages: []string{"conntrack"}, purposes: labs},
	{name: "slirp4netns", commands: []string{"slirp4netns"}, version: []string{"--version"}, min: "1.1", why: "lets pods reach other networks",
		packages: []string{"slirp4netns"}, purposes: labs},
	{name: "mount", commands: []string{"mount"}, why: "gives pods their volumes", packages: []string{"mount"}, purposes: labs},
	{name: "npm", commands: []string{"node", "npm"}, version: []string{"--version"}, min: "18", why: "builds the chat's page",
		packages: []string{"nodejs", "npm"}, purposes: all},
	{name: "chromium", commands: []string{"chromium", "chromium-browser", "google-chrome"}, oneOf: true, why: "opens the chat's page in a test",
		packages: []string{"chromium", "fonts-liberation"}, purposes: []Purpose{Test}},
	{name: "tmux", commands: []string{"tmux"}, why: "plays the terminal on which a test looks at the lab", packages: []string{"tmux"}, purposes: []Purpose{Test}},
}

// versionNumber is the first of its kind in what a program says: "go version go1.26.8 linux/amd64", "v20.20.2".
var versionNumber = regexp.MustCompile(`\d+(\.\d+)*`)

func (o Options) program(ctx context.Context, p program) Finding {
	f := Finding{Name: p.name, Need: p.why}
	if p.min != "" {
		f.Need = p.min + " or newer, which " + p.why
	}
	lacks := func(have string) Finding {
		f.Have = have
		if p.byHand != "" {
			f.OK, f.Fix = false, []string{p.byHand}
			return f
		}
		return o.lacks(f, p.packages...)
	}
	first := ""
	for _, command := range p.commands {
		path, err := o.LookPath(command)
		switch {
		case err == nil && first == "":
			first = path
		case err != nil && !p.oneOf:
			for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
				if o.Exists(dir + "/" + command) { // `su` without a dash leaves these out
					f.Have, f.Fix = command+" in "+dir+", which is not on PATH", []string{`export PATH="$PATH:` + dir + `"`}
					return f
				}
			}
			return lacks("no " + command)
		}
	}
	if first == "" {
		return lacks("none of " + strings.Join(p.commands, ", "))
	}
	f.OK, f.Have = true, first
	if p.version == nil || o.Output == nil {
		return f
	}
	said, err := o.Output(ctx, first, p.version...)
	if err != nil {
		return lacks(fmt.Sprintf("%s, which does not run: %v", first, err))
	}
	f.Have = versionNumber.FindString(said)
	have, err := version.NewVersion(f.Have)
	if err != nil {
		f.Have = first // of a version that is not known
		return f
	}
	if have.LessThan(version.Must(version.NewVersion(p.min))) {
		return lacks(f.Have)
	}
	return f
}

// The plugins that the node's network is made of, and where distributions and others put them.
var (
	cniPlugins = []string{"bridge", "host-local", "loopback", "portmap"}
	cniDirs    = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
)

func (o Options) plugins() Finding {
	f := Finding{Name: "CNI plugins", Need: strings.Join(cniPlugins, ", ") + ", which connect the pods"}
	for _, dir := range cniDirs {
		if !slices.ContainsFunc(cniPlugins, func(plugin string) bool { return !o.Exists(dir + "/" + plugin) }) {
			f.OK, f.Have = true, dir
			return f
		}
	}
	return o.lacks(f, "containernetworking-plugins")
}

// authorities is where distributions keep the certificate authorities that the go command and npm trust.
var authorities = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

func (o Options) certificates() Finding {
	f := Finding{Name: "CA certificates", Need: "to check the servers that modules and packages come from"}
	for _, file := range authorities {
		if o.Exists(file) {
			f.OK, f.Have = true, file
			return f
		}
	}
	return o.lacks(f, "ca-certificates")
}

// The bytes that must be free: while the lab's parts are built from source, once they are, and for the chat alone.
const (
	coldSpace = 15_000_000_000
	warmSpace = 5_000_000_000
	devSpace  = 3_000_000_000
)

func (o Options) space() Finding {
	need, why := uint64(coldSpace), "while the lab's parts are built"
	switch {
	case o.For == Dev:
		need, why = devSpace, "to build the chat"
	case o.Built:
		need, why = warmSpace, "as the lab's parts are built already"
	}
	f := Finding{Name: "disk space", Need: fmt.Sprintf("%d GB free at %s %s", need/1e9, o.CacheDir, why)}
	free, err := o.FreeBytes(o.CacheDir)
	if err != nil {
		f.OK, f.Have = true, fmt.Sprintf("not known: %v", err)
		return f
	}
	f.OK, f.Have = free >= need, fmt.Sprintf("%.1f GB free", float64(free)/1e9)
	if !f.OK {
		f.Fix = []string{"# free some space, or name a directory on a larger disk:", "export LABCTL_CACHE=/a/larger/disk"}
	}
	return f
}

// minOpenFiles is enough for the API server, etcd and the containers of one lab.
const minOpenFiles = 8192

func (o Options) openFiles() Finding {
	f := Finding{Name: "open files", Need: fmt.Sprintf("%d or more for one process", minOpenFiles)}
	limit, err := o.OpenFiles()
	if err != nil {
		f.OK, f.Have = true, fmt.Sprintf("not known: %v", err)
		return f
	}
	f.OK, f.Have = limit >= minOpenFiles, strconv.FormatUint(limit, 10)
	if !f.OK {
		f.Fix = []string{"ulimit -n 65536   # and run labctl in the same shell"}
	}
	return f
}

// minMemory is what the lab takes, and with it the linker of its largest part; in KiB, as in /proc/meminfo.
const minMemory = 4_000_000

func (o Options) memory() Finding {
	f := Finding{Name: "memory", OK: true, Have: "not known", Need: "4 GB"}
	for line := range strings.Lines(o.Read("/proc/meminfo")) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemTotal:" {
			continue
		}
		if kib, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
			f.Have = fmt.Sprintf("%.1f GB", float64(kib)*1024/1e9)
			if kib < minMemory { // slow, but it may do with swap
				f.Have += ", which is little: the lab takes 3 GB"
			}
		}
	}
	return f
}

// watches are the limits on watching files, which containerd, the kubelet and each controller do.
var watches = []struct {
	name     string
	min, set int
}{{"max_user_instances", 128, 512}, {"max_user_watches", 8192, 65536}}

func (o Options) inotify() Finding {
	f := Finding{Name: "inotify", OK: true}
	var have, need []string
	for _, w := range watches {
		need = append(need, fmt.Sprintf("%s %d", w.name, w.min))
		value, err := strconv.Atoi(strings.TrimSpace(o.Read("/proc/sys/fs/inotify/" + w.name)))
		if err != nil {
			continue
		}
		have = append(have, fmt.Sprintf("%s %d", w.name, value))
		if value < w.min {
			f.OK = false
			f.Fix = append(f.Fix, fmt.Sprintf("sysctl -w fs.inotify.%s=%d", w.name, w.set))
		}
	}
	f.Have, f.Need = strings.Join(have, ", "), strings.Join(need, ", ")
	return f
}

// controllers are what the kubelet measures and limits pods with.
var controllers = []string{"cpu", "memory", "pids"}

func (o Options) cgroups() Finding {
	f := Finding{Name: "cgroups", Need: "v1 or v2 with " + strings.Join(controllers, ", "), Have: "v1"}
	has := func(controller string) bool { return o.Exists("/sys/fs/cgroup/" + controller) }
	if unified := strings.Fields(o.Read("/sys/fs/cgroup/cgroup.controllers")); len(unified) > 0 {
		f.Have = "v2"
		has = func(controller string) bool { return slices.Contains(unified, controller) }
	}
	missing := slices.DeleteFunc(slices.Clone(controllers), has)
	if f.OK = len(missing) == 0; !f.OK {
		f.Have += " without " + strings.Join(missing, ", ")
		f.Fix = []string{"# a container needs them from its host; a machine boots with them: cgroup_enable=memory on the kernel's command line"}
	}
	return f
}

// kernel tries what the node is made of.
func (o Options) kernel(ctx context.Context) []Finding {
	if o.BridgeFilter != nil && !o.BridgeFilter() {
		f := Finding{Name: "bridge netfilter", Have: "its module is not loaded", Need: "pods must reach services whose pods are on the same bridge"}
		f.Packages = []string{"kmod"} // it has modprobe
		f.commands = [][]string{{"modprobe", "br_netfilter"}}
		f.Fix = []string{"modprobe br_netfilter"}
		return []Finding{f} // the trial needs it
	}
	f := Finding{Name: "kernel", OK: true, Have: "works", Need: "namespaces, veth, ip sets and bridge netfilter, which the node is made of"}
	if err := o.Namespaces(ctx); err != nil {
		f.OK, f.Have = false, err.Error()
		f.Fix = []string{"modprobe -a br_netfilter veth bridge ip_set_hash_ip", "# in a container: give it the rights (--privileged), or run labctl on the machine itself"}
	}
	found := []Finding{f}
	if o.Overlay != nil {
		// Not needed, as the node copies files where it must.
		f := Finding{Name: "overlay", OK: true, Have: "works", Need: "overlay mounts, which save time and space"}
		if err := o.Overlay(ctx); err != nil {
			f.Have = fmt.Sprintf("not to be had (%v): each container's files are copied, which is slower", err)
		}
		found = append(found, f)
	}
	return found
}

func (o Options) port(p Port) Finding {
	f := Finding{Name: fmt.Sprintf("port %d", p.Number), OK: true, Have: "free", Need: "to be free: the lab needs it for " + p.Use}
	if err := o.Listen(p.Number); err != nil {
		f.OK, f.Have = false, err.Error()
		f.Fix = []string{"# end what listens there, or choose another port in lab.hcl"}
	}
	return f
}
