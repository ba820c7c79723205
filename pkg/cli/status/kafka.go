package status

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/status"
)

// kafka asks the Kafka of the lab's cluster how far its consumer groups are behind. It is reached by a port-forward that is kept, as the
// user admin, whose password is in the state of the databases.
type kafka struct {
	states *stateReader

	mu      sync.Mutex // a look that was given up may still be going on
	client  *kgo.Client
	stop    func()
	cluster *kube.Client // that the client's Kafka is in
}

func (k *kafka) look(ctx context.Context) ([]status.Group, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	cluster := k.states.cluster(ctx)
	if cluster == nil || cluster != k.cluster {
		k.close()
	}
	if cluster == nil {
		return nil, nil
	}
	if k.client == nil {
		outputs, err := k.states.outputs(ctx)
		if err != nil {
			return nil, err
		}
		server, ok, err := kafkaOf(outputs["databases"])
		if !ok || err != nil {
			return nil, err
		}
		if err := k.connect(ctx, cluster, server); err != nil {
			return nil, err
		}
	}
	all, err := kadm.NewClient(k.client).Lag(ctx)
	if err != nil {
		k.close() // the pod behind the port-forward may be another by now
		return nil, fmt.Errorf("ask Kafka for its groups: %w", err)
	}
	return groups(all), nil
}

func (k *kafka) close() {
	if k.client != nil {
		k.client.Close()
		k.stop()
		k.client, k.cluster = nil, nil
	}
}

// kafkaServer is where Kafka is in a cluster, and how it is logged in to.
type kafkaServer struct {
	service, namespace string
	port               int32
	authority          string // certificate (PEM)
	password           string // of admin
}

// kafkaOf reads the outputs of the databases' stack. ok is false where Kafka is not in the lab's cluster, or not there yet.
func kafkaOf(outputs map[string]cty.Value) (k kafkaServer, ok bool, err error) {
	brokers, has := collection(outputs["kafka_brokers"])
	users, known := collection(outputs["kafka_users"])
	if text(outputs["namespace"]) == "" || !has || !known || !brokers.Type().IsListType() || !users.Type().IsMapType() {
		return k, false, nil
	}
	broker := text(brokers.AsValueSlice()[0])
	k.password = text(users.AsValueMap()["admin"])
	host, port, err := net.SplitHostPort(broker)
	if err != nil {
		return k, false, fmt.Errorf("the output kafka_brokers of the databases: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return k, false, fmt.Errorf("the output kafka_brokers of the databases: %w", err)
	}
	k.port = int32(n)
	parts := strings.Split(host, ".")
	if len(parts) < 3 || parts[2] != "svc" {
		return k, false, nil
	}
	k.service, k.namespace, k.authority = parts[0], parts[1], text(outputs["ca_certificate"])
	return k, k.password != "", nil
}

// collection gives an output that has elements, unmarked.
func collection(v cty.Value) (cty.Value, bool) {
	if v == cty.NilVal {
		return v, false
	}
	v, _ = v.UnmarkDeep()
	return v, !v.IsNull() && v.IsWhollyKnown() && v.CanIterateElements() && v.LengthInt() > 0
}

// connect reaches Kafka by a port-forward, whatever the addresses are that its brokers give.
func (k *kafka) connect(ctx context.Context, cluster *kube.Client, server kafkaServer) error {
	address, stop, err := cluster.Forward(ctx, server.namespace, server.service, server.port)
	if err != nil {
		return err
	}
	dialer := &net.Dialer{}
	dial := dialer.DialContext
	if server.authority != "" {
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM([]byte(server.authority)) {
			stop()
			return errors.New("the output ca_certificate of the databases is no certificate")
		}
		dial = (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{RootCAs: authorities, ServerName: "localhost", MinVersion: tls.VersionTLS12}}).DialContext
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(address), kgo.ClientID("labctl-status"),
		kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, address) }),
		kgo.SASL(scram.Auth{User: "admin", Pass: server.password}.AsSha512Mechanism()),
	)
	if err != nil {
		stop()
		return err
	}
	k.client, k.stop, k.cluster = client, stop, cluster
	return nil
}

// groups sums up what each group has not handled yet.
func groups(all kadm.DescribedGroupLags) (out []status.Group) {
	for _, l := range all.Sorted() {
		g := status.Group{Name: l.Group, Members: len(l.Members), Topics: []string{}}
		g.State = status.Up
		if err := l.Error(); err != nil {
			g.State, g.Reason = status.Unknown, err.Error()
			out = append(out, g)
			continue
		}
		g.Lag = l.Lag.Total()
		for topic := range l.Lag {
			g.Topics = append(g.Topics, topic)
		}
		slices.Sort(g.Topics)
		if g.Members == 0 && g.Lag > 0 {
			g.State, g.Reason = status.Down, fmt.Sprintf("nobody reads, and %d records wait", g.Lag)
		}
		out = append(out, g)
	}
	return out
}
