package app

import (
	"context"
	"fmt"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/incluster"
)

// Shadow gives the shadow of a service in the lab's cluster, whether there is one or not.
func (l *Lab) Shadow(ctx context.Context, service string) (s incluster.Shadow, err error) {
	s, ok := l.ShadowBy(nil, service)
	if !ok {
		return s, &cli.Error{What: fmt.Sprintf("the lab has no service %q", service), Next: []string{"labctl status"}}
	}
	kubeconfig, err := l.Kubeconfig(ctx)
	if err != nil {
		return s, err
	}
	s.Client, err = kube.New([]byte(kubeconfig))
	return s, err
}

// ShadowBy is Shadow in a cluster that is known already. ok is false where the lab has no such service.
func (l *Lab) ShadowBy(client *kube.Client, service string) (s incluster.Shadow, ok bool) {
	place, ok := l.Engine.PlaceOf(service)
	return incluster.Shadow{
		Client: client, Namespace: place.Namespace, Service: service,
		Owner: kube.Owner{Lab: l.Graph.Lab.Name, Environment: l.Graph.Env.Name, Stack: place.Stack},
	}, ok
}

// Shadows gives the services that have a shadow in the lab's cluster.
func (l *Lab) Shadows(ctx context.Context) ([]string, error) {
	s, err := l.Shadow(ctx, shadow.Services()[0])
	if err != nil {
		return nil, err
	}
	return incluster.All(ctx, s.Client, s.Namespace)
}
