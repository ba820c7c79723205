package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/labctl/labctl/pkg/cluster/kind"
	"github.com/labctl/labctl/pkg/event"
)

// kindParts are the images that a cluster of kind runs beside kind's own.
var kindParts = []string{"registry", imageIngress}

func (m *Manager) kind() *kind.Cluster { return &kind.Cluster{Images: m.Images, Holder: listenerOf} }

func kindOptions(s Spec, sources string) kind.Options {
	return kind.Options{
		Name: s.Name, Dir: s.Dir, APIPort: s.APIPort, HTTPPort: s.HTTPPort, RegistryPort: s.RegistryPort,
		NodeImage: s.NodeImage, Sources: sources,
	}
}

func (m *Manager) ensureKind(ctx context.Context, s Spec, report event.Report) (Info, error) {
	sources, err := m.Programs.PartsFingerprint(ctx, kindParts...)
	if err != nil {
		return Info{}, err
	}
	if err := m.kind().Ensure(ctx, kindOptions(s, sources), report); err != nil {
		return Info{}, err
	}
	info, err := m.readKind(ctx, s)
	if err == nil && !info.Healthy {
		err = fmt.Errorf("the cluster stands but is not healthy: %s", info.Reason)
	}
	return info, err
}

func (m *Manager) readKind(ctx context.Context, s Spec) (Info, error) {
	sources, err := m.Programs.PartsFingerprint(ctx, kindParts...)
	if err != nil {
		return Info{}, err
	}
	state, err := m.kind().Read(ctx, kindOptions(s, sources))
	if errors.Is(err, kind.ErrGone) {
		return Info{}, ErrGone
	}
	if err != nil {
		return Info{}, err
	}
	return Info{
		Kubeconfig: state.Kubeconfig, RegistryPush: fmt.Sprintf("127.0.0.1:%d", s.RegistryPort), RegistryPull: kind.RegistryPull,
		URL: fmt.Sprintf("http://127.0.0.1:%d", s.HTTPPort), IngressClass: kind.IngressClass, StorageClass: kind.StorageClass,
		KubernetesVersion: state.KubernetesVersion, Healthy: state.Healthy, Reason: state.Reason,
	}, nil
}
