package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/labctl/labctl/pkg/kube"
)

// readWithin bounds Read's questions to the engine and to the cluster, each.
const readWithin = 5 * time.Second

// State is how a cluster is.
type State struct {
	Kubeconfig        string // the content; it grants everything
	KubernetesVersion string
	Healthy           bool
	Reason            string // why it is not healthy
}

// Read says how the cluster is, and changes nothing. It takes no longer than some seconds, also where the engine or the
// cluster does not answer. The error is ErrGone where there is none.
func (c *Cluster) Read(ctx context.Context, o Options) (State, error) {
	if err := o.check(); err != nil {
		return State{}, err
	}
	kept, err := readRecord(o.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return State{}, ErrGone
	}
	if err != nil {
		return State{}, err
	}
	var s State
	kubeconfig, err := os.ReadFile(KubeconfigPath(o.Dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return State{}, err
	}
	s.Kubeconfig = string(kubeconfig)

	e := engine{name: kept.Engine}
	asking, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	n, err := e.node(asking, o)
	if err != nil {
		if ctx.Err() != nil {
			return State{}, ctx.Err()
		}
		s.Reason = err.Error()
		return s, nil
	}
	if !n.exists {
		return State{}, ErrGone
	}
	s.KubernetesVersion, err = c.healthy(ctx, kept, n, o, kubeconfig)
	if err != nil {
		s.Reason = err.Error()
	}
	s.Healthy = err == nil
	return s, nil
}

// healthy says what is wrong with a cluster whose node exists.
func (c *Cluster) healthy(ctx context.Context, kept record, n node, o Options, kubeconfig []byte) (version string, err error) {
	switch {
	case kept.Container != n.id:
		return "", errors.New("it was not finished")
	case !n.running():
		return "", fmt.Errorf("its node, the container %s, is %s", n.name, n.status)
	case len(kubeconfig) == 0:
		return "", errors.New("its kubeconfig is gone")
	}
	if err := kept.fixed(o); err != nil {
		return "", err
	}
	client, err := kube.New(kubeconfig)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	version, err = client.Ready(ctx)
	if err != nil {
		return "", err
	}
	if err := health(ctx, o, n, client); err != nil {
		return version, err
	}
	if kept.Parts != partsOf(o) {
		return version, errors.New("its parts were made from other sources, or not finished")
	}
	return version, nil
}
