// Package node is what runs as process 1 of an embedded node: it stands in mount, network, PID, UTS and IPC
// namespaces of its own, sets up what the node needs there, starts the components and keeps them running. Because
// it is process 1, its end is the end of everything that the node ever started, and the kernel takes the mounts,
// interfaces and firewall rules with it.
//
// A cluster's first node has the control plane. Its other nodes are components of the first, in namespaces within its own and
// joined to its bridge, so that they end with it, too.
package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// PluginDir is where the node's container runtime finds the machine's CNI plugins, and Plugin.
const PluginDir = Base + "/cni"

// Base is where a lab's cluster directory is seen inside the node. It is short, because a Unix socket's path has
// room for 107 bytes, and the same in every lab, so that configurations do not depend on where a lab lives.
const Base = "/run/labctl"

// Config says what a node is made of. labctl writes it; the node reads it once.
type Config struct {
	Name     string   `json:"name"`           // host name and Kubernetes node name
	Dir      string   `json:"dir"`            // the cluster directory, as who starts the node sees it
	Home     string   `json:"home,omitempty"` // the directory of the node's own files, relative to Dir
	Programs []string `json:"programs"`       // files that are bound to Base/bin under their base names
	CNI      string   `json:"cni"`            // the directory of the machine's CNI plugins
	// Worker is set for a node that another one started: its device comes from there.
	Worker     bool        `json:"worker,omitempty"`
	Address    string      `json:"address"`            // the node's address among the nodes, CIDR form
	Gateway    string      `json:"gateway"`            // the default route's next hop
	Routes     []Route     `json:"routes,omitempty"`   // to the pods of other nodes
	Egress     *Egress     `json:"egress,omitempty"`   // nil: the node has no way out of its own
	Resolver   string      `json:"resolver,omitempty"` // address of the name server that asks the machine's; "": there is none
	Components []Component `json:"components"`         // in starting order
	Proxies    []Proxy     `json:"proxies"`            // listener i is file descriptor 3+i; the gate is the one after them
	Relays     []Relay     `json:"relays,omitempty"`
}

// Route leads to a network by another node.
type Route struct {
	To  string `json:"to"`  // CIDR
	Via string `json:"via"` // the other node's address
}

// Relay forwards what is connected to Listen to Target. Both are TCP addresses, or paths of Unix sockets: those are seen by all
// nodes, where their networks are apart.
type Relay struct {
	Listen string `json:"listen"`
	Target string `json:"target"`
}

// gateFD is the descriptor of the gate (see AwaitStart).
func (c Config) gateFD() int { return 3 + len(c.Proxies) }

// machineNetworkFD and machineMountsFD are the descriptors of the machine's namespaces, which come after the gate and are
// there where the node has a way out.
func (c Config) machineNetworkFD() int { return c.gateFD() + 1 }

func (c Config) machineMountsFD() int { return c.gateFD() + 2 }

// Egress says how the node's pods and programs reach what the machine reaches. A component with AcrossNamespaces makes the
// device in the node's network, with a default route.
type Egress struct {
	Device  string   `json:"device"`
	Sources []string `json:"sources"` // CIDRs of the addresses that are translated to the device's
	// Kept are the CIDRs of the cluster's own addresses. What is sent to one that nobody has must not leave: on another
	// network somebody may have it.
	Kept []string `json:"kept"`
}

// Component is one program that the node keeps running.
type Component struct {
	Name string   `json:"name"`
	Args []string `json:"args"` // Args[0] is the program's path as the node sees it
	Env  []string `json:"env,omitempty"`
	// After names the components that have to be ready first.
	After []string `json:"after,omitempty"`
	// Ready is a TCP address or the path of a Unix socket that accepts connections once the component is ready, or
	// an https address that then answers 200. Empty means that it is ready as soon as it runs.
	Ready string `json:"ready,omitempty"`
	// AcrossNamespaces gives the component, alone of all, the descriptors MachineNetwork, MachineMounts and NodeNetwork.
	AcrossNamespaces bool `json:"acrossNamespaces,omitempty"`
	// Node is set where the component is another node.
	Node *Other `json:"node,omitempty"`
	// Unless is a path: while a file is there, the component does not run. What runs then is killed.
	Unless string `json:"unless,omitempty"`
}

// Other is another node than the first: it gets namespaces of its own and waits at a gate until it is joined to this node's
// bridge.
type Other struct {
	Device string `json:"device"` // what joins it, by its name here
	Cgroup string `json:"cgroup"` // where its pods are, from the hierarchies' root; made anew for each start
}

// Namespaces are those that a node has of its own.
const Namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

// The descriptors of a component with AcrossNamespaces, by the names under which it can open them.
const (
	MachineNetwork = "/proc/self/fd/3"
	MachineMounts  = "/proc/self/fd/4"
	NodeNetwork    = "/proc/self/fd/5"
)

// Proxy forwards a listener of the machine's loopback, which labctl opened and handed over, into the node. It is
// the only way in from outside: the node's network has no link to the machine's.
type Proxy struct {
	Name   string `json:"name"`
	Target string `json:"target"` // host:port as the node sees it
}

// State is what the node says of itself in Dir/state.json, rewritten whenever it changes.
type State struct {
	PID        int              `json:"pid,omitempty"` // not known from inside; labctl fills it in
	Started    time.Time        `json:"started"`
	Components []ComponentState `json:"components"`
}

// ComponentState is one component's part of State.
type ComponentState struct {
	Name     string    `json:"name"`
	Node     bool      `json:"node,omitempty"` // the component is another node
	Running  bool      `json:"running"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since,omitzero"`    // when it last started
	LastExit string    `json:"lastExit,omitzero"` // how it last ended
}

// Files of a cluster directory that labctl and the node both use.
const (
	ConfigFile = "node.json"
	StateFile  = "state.json"
	LogDir     = "logs"
)

// HomeOf is where another node than the first keeps its own files, relative to the cluster directory.
func HomeOf(name string) string { return filepath.Join("nodes", name) }

// LogPath is where a component's output goes, below the directory of its node's own files.
func LogPath(dir, component string) string { return filepath.Join(dir, LogDir, component+".log") }

// ReadState reads the state that a node last wrote in dir, the directory of its own files. It says nothing on whether the
// node still runs.
func ReadState(dir string) (State, error) {
	var s State
	b, err := os.ReadFile(filepath.Join(dir, StateFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", filepath.Join(dir, StateFile), err)
	}
	return s, nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
