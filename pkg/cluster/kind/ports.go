package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// PortTakenError says that another process listens on a port that the cluster needs.
type PortTakenError struct {
	Port int
	Use  string // what the cluster needs it for
	By   string // the process, or "" where it is not known
}

func (e *PortTakenError) Error() string {
	by := "another process"
	if e.By != "" {
		by = e.By
	}
	return fmt.Sprintf("port %d on %s, which the lab needs for %s, is taken by %s: stop it, or choose another port in lab.hcl", e.Port, loopback, e.Use, by)
}

type portUse struct {
	port int
	use  string
}

func (o Options) ports() []portUse {
	return []portUse{
		{o.APIPort, "the Kubernetes API (api_port)"},
		{o.HTTPPort, "the chat (http_port)"},
		{o.RegistryPort, "the image registry (registry_port)"},
	}
}

// portsFree tells of a taken port before anything is made; the engine itself says so only in the middle of it. Here
// alone the port can still be lost to another process, in which case the engine's error is the one to be seen.
func (c *Cluster) portsFree(ctx context.Context, o Options) error {
	for _, p := range o.ports() {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort(loopback, strconv.Itoa(p.port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			taken := &PortTakenError{Port: p.port, Use: p.use}
			if c.Holder != nil {
				taken.By = c.Holder(p.port)
			}
			return taken
		}
		if err != nil {
			return fmt.Errorf("try port %d for %s: %w", p.port, p.use, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
