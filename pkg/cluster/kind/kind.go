// Package kind makes a lab's Kubernetes with the kind library: one node, which is a container of Docker, nerdctl or
// Podman. What the lab adds to it are an image registry inside the node and the Skipper ingress; name service, network
// and storage are kind's own.
package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/cluster/datadir"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// What a cluster of kind offers to those who use it.
const (
	RegistryPull = "localhost:5000" // containerd speaks plain HTTP to localhost without being told
	IngressClass = "skipper"
	StorageClass = "standard"
)

var (
	// ErrGone says that there is no cluster.
	ErrGone = errors.New("there is no cluster of kind")
	// ErrFixed says that something was asked to be changed that only a new cluster can have.
	ErrFixed = errors.New("this is decided when the node is made: take the cluster down and bring it up again, which loses its data")
)

// Options say which cluster is wanted.
type Options struct {
	Name string // the lab's name: 1 to 32 lower-case letters, digits and dashes
	Dir  string // absolute; the kubeconfig and what is known of the cluster are kept in it

	// Ports on 127.0.0.1. They cannot be changed while the cluster stands.
	APIPort, HTTPPort, RegistryPort int

	// NodeImage is the node's image, such as a mirror's "registry.example/kindest/node:v1.34.3@sha256:…". "" is the
	// default of the kind library.
	NodeImage string

	// Sources is a hash of what images/registry and images/skipper are built from. A cluster whose parts were made from
	// others shows as not healthy until Ensure has replaced them.
	Sources string
}

// Images gives the images of the cluster's own parts, images/registry and images/skipper.
type Images interface {
	// Build makes the image where it is not made yet, and returns its manifest's digest.
	Build(ctx context.Context, name string, report event.Report) (digest string, err error)
	// Archive writes the built image as `docker save` does, under the given reference.
	Archive(ctx context.Context, name, reference string, w io.Writer) error
}

// Cluster makes and unmakes clusters of kind.
type Cluster struct {
	Images Images
	// Holder names the process that listens on a port of 127.0.0.1, or gives "". It may be nil.
	Holder func(port int) string
}

// readyWithin bounds the wait for a node that was made or started, and its parts.
const readyWithin = 6 * time.Minute

// Ensure makes the cluster, starts its stopped node, or repairs its parts: afterwards it is healthy, or the error says
// what is not. A cluster whose making was interrupted, or whose directory was lost, is made anew. Nothing is done where
// nothing is to do. The error
// is ErrFixed where the ports or the node's image are not those that the cluster was made with, and a *PortTakenError
// where another process has a port.
func (c *Cluster) Ensure(ctx context.Context, o Options, report event.Report) error {
	if err := o.check(); err != nil {
		return err
	}
	kept, err := readRecord(o.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	e, err := findEngine(ctx, kept.Engine) // what one engine made, another does not see
	if err != nil {
		return err
	}
	if err := datadir.Claim(o.Dir); err != nil {
		return err
	}
	n, err := e.node(ctx, o)
	if err != nil {
		return err
	}
	if n.exists && kept.Container != n.id {
		report.Doing("removing a cluster whose making was interrupted")
		if err := e.remove(ctx, o, report); err != nil {
			return err
		}
		n = node{}
	}
	if !n.exists {
		if kept, err = c.create(ctx, e, o, report); err != nil {
			return err
		}
	} else if err := kept.fixed(o); err != nil {
		return err
	} else if !n.running() {
		if err := c.start(ctx, e, n, o, report); err != nil {
			return err
		}
	}
	if n, err = e.node(ctx, o); err != nil {
		return err
	}
	client, err := writeKubeconfig(e, o, report)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	report.Doing("waiting for the Kubernetes API")
	if err := client.WaitAPI(ctx, readyWithin); err != nil {
		return err
	}
	if err := c.installParts(ctx, e, o, client, report); err != nil {
		return err
	}
	report.Doing("waiting for the node to be ready")
	if err := waitHealthy(ctx, e, o, n, client); err != nil {
		return err
	}
	kept.Parts = partsOf(o)
	return kept.write(o.Dir)
}

// create makes the node and Kubernetes on it, and records that it was finished. What a failed or cancelled creation
// made is taken away again.
func (c *Cluster) create(ctx context.Context, e engine, o Options, report event.Report) (record, error) {
	if err := c.portsFree(ctx, o); err != nil {
		return record{}, err
	}
	image := nodeImage(o)
	if err := e.ensureImage(ctx, image, report); err != nil {
		return record{}, err
	}
	v1, err := e.cgroupV1(ctx)
	if err != nil {
		return record{}, err
	}
	made := record{Engine: e.name, APIPort: o.APIPort, HTTPPort: o.HTTPPort, RegistryPort: o.RegistryPort, NodeImage: image}
	if err := made.write(o.Dir); err != nil { // without the container: it is not finished
		return record{}, err
	}
	if err := e.create(ctx, o, configuration(o, v1), report); err != nil {
		return record{}, err
	}
	n, err := e.node(ctx, o)
	if err != nil {
		return record{}, err
	}
	made.Container = n.id
	return made, made.write(o.Dir)
}

// start starts a node that stands still.
func (c *Cluster) start(ctx context.Context, e engine, n node, o Options, report event.Report) error {
	if n.status == "paused" {
		report.Doing("waking the node %s", n.name)
		_, err := e.run(ctx, "unpause", n.name)
		return err
	}
	if err := c.portsFree(ctx, o); err != nil {
		return err
	}
	report.Doing("starting the node %s (it was %s)", n.name, n.status)
	if _, err := e.run(ctx, "start", n.name); err != nil {
		return fmt.Errorf("start the node %s: %w", n.name, err)
	}
	return nil
}

// Destroy removes the node with all its data, the engine's network of kind where no container uses it any more, and the
// cluster's directory, which labctl must have made (datadir.ErrForeign). The node's image stays with the engine, as everything that was pulled. Destroying what is not
// there is no error; a cluster whose engine does not answer is one.
func (c *Cluster) Destroy(ctx context.Context, o Options, report event.Report) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := datadir.Check(o.Dir); err != nil {
		return fmt.Errorf("remove the cluster: %w", err)
	}
	kept, err := readRecord(o.Dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		// Nothing is known of a cluster. One may be there all the same, if the directory was removed by hand.
		e, err := findEngine(ctx, "")
		if missing := new(NoEngineError); errors.As(err, &missing) {
			break
		}
		if err != nil {
			return err
		}
		if err := e.remove(ctx, o, report); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		report.Doing("removing the node")
		if err := (engine{name: kept.Engine}).remove(ctx, o, report); err != nil {
			return err
		}
	}
	return datadir.Remove(o.Dir)
}

// KubeconfigPath is where the administrator's kubeconfig is, mode 0600.
func KubeconfigPath(dir string) string { return filepath.Join(dir, "kubeconfig") }

// writeKubeconfig writes the kubeconfig that the node holds, where it is not written yet, and gives a client.
func writeKubeconfig(e engine, o Options, report event.Report) (*kube.Client, error) {
	content, err := e.provider(report).KubeConfig(ClusterName(o.Name, o.Dir), false)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's kubeconfig: %w", explain(err))
	}
	if err := atomicfile.Write(KubeconfigPath(o.Dir), []byte(content)); err != nil {
		return nil, err
	}
	return kube.New([]byte(content))
}
