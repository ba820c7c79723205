package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-log/tfsdklog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/labctl/labctl/pkg/event"
)

// pluginService is the name under which go-plugin's clients ask for health.
const pluginService = "plugin"

// maxMessage bounds a message of the plugin protocol, as terraform-plugin-go's own server does.
const maxMessage = 256 << 20

// Server is the provider, listening for one run of terraform.
type Server struct {
	grpc     *grpc.Server
	dir      string // of the socket
	reattach string
	done     chan error
	cancel   context.CancelFunc
}

// Serve starts the provider for one run of terraform. What its resources do is told to report. The socket lies in a
// directory that only this user can enter. The provider stops when ctx ends or by Close.
//
// It speaks the plugin protocol as go-plugin's test mode does, without go-plugin's server, which would exit the process
// on some errors and leave goroutines behind after each run.
func (p *Provider) Serve(ctx context.Context, report event.Report) (*Server, error) {
	dir, err := p.socketDir()
	if err != nil {
		return nil, fmt.Errorf("make a directory for the provider's socket: %w", err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "lab.sock"))
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("listen for terraform: %w", err)
	}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			// Without a sink the SDK logs every call to stderr. This one is silent unless TF_LOG is set.
			return handler(tfsdklog.ContextWithTestLogging(ctx, "lab"), req)
		}),
	)
	plugin := &tf6server.GRPCProviderPlugin{GRPCProvider: providerserver.NewProtocol6(&run{provider: p, report: report}), Name: Address}
	if err := plugin.GRPCServer(nil, server); err != nil {
		_ = listener.Close()
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("register the provider: %w", err)
	}
	alive := health.NewServer()
	alive.SetServingStatus(pluginService, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, alive)

	reattach, err := json.Marshal(map[string]any{Address: map[string]any{
		"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.Getpid(), "Test": true,
		"Addr": map[string]string{"Network": "unix", "String": listener.Addr().String()},
	}})
	if err != nil {
		return nil, fmt.Errorf("describe the provider: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Server{grpc: server, dir: dir, reattach: string(reattach), done: make(chan error, 1), cancel: cancel}
	go func() { s.done <- server.Serve(listener) }()
	context.AfterFunc(ctx, server.Stop)
	return s, nil
}

// maxSocketDir leaves room for names below it within the 107 bytes that Linux allows for a socket's path (unix(7)).
const maxSocketDir = 70

// socketDir makes a directory for one socket, 0700. It lies below the state directory, so that `down` also finds what a
// killed process left, and in the directory for temporary files only where that path is too long.
func (p *Provider) socketDir() (string, error) {
	parent := filepath.Join(p.options.Dir, "run")
	if len(parent) > maxSocketDir {
		return os.MkdirTemp("", "labctl-provider-")
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "provider-")
}

// Reattach is the content of TF_REATTACH_PROVIDERS that leads terraform here.
func (s *Server) Reattach() string { return s.reattach }

// Close stops the provider and removes its socket.
func (s *Server) Close() error {
	s.cancel()
	s.grpc.Stop()
	err := <-s.done
	s.done <- nil // so that a second Close returns
	if errors.Is(err, grpc.ErrServerStopped) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
