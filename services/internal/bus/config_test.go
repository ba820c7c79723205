package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/labctl/labctl/services/topics"
)

// authority makes a certificate for 127.0.0.1 and gives it with the path of its own file.
func authority(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// connect opens a client by an environment and asks the brokers, once.
func connect(t *testing.T, env map[string]string) error {
	t.Helper()
	c, err := FromEnv("auth", func(k string) string { return env[k] })
	require.NoError(t, err)
	k, err := Open(c, "auth", nil, kgo.RequestRetries(0), kgo.RetryTimeout(1))
	require.NoError(t, err)
	t.Cleanup(k.Close)
	return Ready(t.Context(), k)
}

func TestLogIn(t *testing.T) {
	cert, ca := authority(t)
	_, other := authority(t)
	for _, mechanism := range []string{Plain, ScramSHA256, ScramSHA512} {
		for _, encrypted := range []bool{true, false} {
			if mechanism == Plain && !encrypted {
				continue // refused by FromEnv
			}
			opts := []kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(mechanism, "auth", "secret"), kfake.Superuser(mechanism, "other", "hidden")}
			if encrypted {
				opts = append(opts, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
			}
			cluster, err := kfake.NewCluster(opts...)
			require.NoError(t, err)
			t.Cleanup(cluster.Close)
			env := func(more ...string) map[string]string {
				e := map[string]string{"KAFKA_BROKERS": cluster.ListenAddrs()[0], "KAFKA_SASL": mechanism, "KAFKA_PASSWORD": "secret"}
				if encrypted {
					e["KAFKA_TLS"] = ca
				}
				for i := 0; i < len(more); i += 2 {
					e[more[i]] = more[i+1]
				}
				return e
			}
			require.NoError(t, connect(t, env()), mechanism)
			require.NoError(t, connect(t, env("KAFKA_USER", "other", "KAFKA_PASSWORD", "", "KAFKA_PASSWORD_FILE", file(t, "p", "hidden\n"))), mechanism)
			err = connect(t, env("KAFKA_PASSWORD", "hunter2"))
			require.Error(t, err, mechanism)
			require.NotContains(t, err.Error(), "hunter2")
			if encrypted {
				require.ErrorContains(t, connect(t, env("KAFKA_TLS", other)), "certificate", "another authority")
			}
		}
	}
}

// A password that changes is taken from its file by the next connection.
func TestPasswordFileIsReadAgain(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(ScramSHA512, "auth", "new"))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	path := file(t, "p", "old")
	env := map[string]string{"KAFKA_BROKERS": cluster.ListenAddrs()[0], "KAFKA_SASL": ScramSHA512, "KAFKA_PASSWORD_FILE": path}
	c, err := FromEnv("auth", func(k string) string { return env[k] })
	require.NoError(t, err)
	k, err := Open(c, "auth", nil, kgo.RequestRetries(0), kgo.RetryTimeout(1))
	require.NoError(t, err)
	t.Cleanup(k.Close)
	require.ErrorContains(t, Ready(t.Context(), k), "refuse")
	require.NoError(t, os.WriteFile(path, []byte("new"), 0o600))
	require.NoError(t, Ready(t.Context(), k))
}

func TestBadConfiguration(t *testing.T) {
	text := file(t, "text", "no certificate")
	empty := file(t, "empty", "\n")
	for name, tt := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"nothing":                  {map[string]string{"KAFKA_BROKERS": ","}, []string{"KAFKA_BROKERS is not set"}},
		"all at once":              {map[string]string{"KAFKA_TLS": "yes", "KAFKA_SASL": "GSSAPI"}, []string{"KAFKA_BROKERS", "KAFKA_TLS is none of", `KAFKA_SASL is "GSSAPI", which is none of PLAIN`}},
		"no partitions":            {map[string]string{"KAFKA_PARTITIONS": "0"}, []string{`KAFKA_PARTITIONS is "0"; a number from 1 to 1000`}},
		"many partitions":          {map[string]string{"KAFKA_PARTITIONS": "1e9"}, []string{"KAFKA_PARTITIONS"}},
		"no certificate":           {map[string]string{"KAFKA_TLS": text}, []string{"holds no certificate"}},
		"a password for nothing":   {map[string]string{"KAFKA_PASSWORD": "hunter2"}, []string{"KAFKA_PASSWORD is set and KAFKA_SASL is not"}},
		"no password":              {map[string]string{"KAFKA_SASL": ScramSHA512}, []string{"KAFKA_PASSWORD is not set, nor is KAFKA_PASSWORD_FILE"}},
		"two passwords":            {map[string]string{"KAFKA_SASL": ScramSHA512, "KAFKA_PASSWORD": "hunter2", "KAFKA_PASSWORD_FILE": text}, []string{"both set"}},
		"an empty password":        {map[string]string{"KAFKA_SASL": ScramSHA512, "KAFKA_PASSWORD_FILE": empty}, []string{"is empty"}},
		"a password in the clear":  {map[string]string{"KAFKA_SASL": Plain, "KAFKA_PASSWORD": "hunter2"}, []string{"without TLS shows the secret"}},
		"a token in the clear":     {map[string]string{"KAFKA_SASL": OAuthBearer, "KAFKA_TOKEN_FILE": text}, []string{"without TLS shows the secret"}},
		"no token's file":          {map[string]string{"KAFKA_SASL": OAuthBearer, "KAFKA_TLS": "system", "KAFKA_TOKEN_FILE": "/none"}, []string{"KAFKA_TOKEN_FILE: open /none"}},
		"half a workload identity": {map[string]string{"KAFKA_SASL": OAuthBearer, "KAFKA_TLS": "system", "AZURE_CLIENT_ID": "c"}, []string{"AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE, which Azure's"}},
		"no prefix":                {map[string]string{"KAFKA_READ_PREFIX": "a/", "KAFKA_WRITE_PREFIX": strings.Repeat("a", 101)}, []string{"KAFKA_READ_PREFIX is", "KAFKA_WRITE_PREFIX is"}},
		"no start":                 {map[string]string{"KAFKA_START": "messages/0"}, []string{`KAFKA_START has "messages/0"`}},
		"a start of another":       {map[string]string{"KAFKA_START": "users/0/1"}, []string{`such as messages/0/17`}},
		"a start before any":       {map[string]string{"KAFKA_START": "messages/0/-1"}, []string{"KAFKA_START"}},
		"two starts":               {map[string]string{"KAFKA_START": "messages/0/1,messages/0/2"}, []string{"one record of each partition"}},
		"an authority in the clear": {map[string]string{
			"KAFKA_SASL": OAuthBearer, "KAFKA_TLS": "system", "AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": "f", "AZURE_AUTHORITY_HOST": "http://x",
		}, []string{"no https:// address"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromEnv("messaging", func(k string) string {
				if _, set := tt.env[k]; k == "KAFKA_BROKERS" && !set && name != "all at once" {
					return "b:9093"
				}
				return tt.env[k]
			})
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// startCluster starts brokers, and gives what opens a client of theirs for a service.
func startCluster(t *testing.T, brokers int) (cluster *kfake.Cluster, as func(service string) *kgo.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster, func(service string) *kgo.Client {
		t.Helper()
		c, err := Open(Config{Brokers: cluster.ListenAddrs()}, service, nil)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
}

func TestCreate(t *testing.T) {
	ctx := t.Context()
	cluster, as := startCluster(t, 1)
	require.NoError(t, Create(ctx, as("presence"), Config{Partitions: 2}))
	admin := kadm.NewClient(as("test"))
	there, err := admin.ListTopics(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{Presence, Sessions, Users}, there.Names(), "those that it uses")
	require.Len(t, there[Presence].Partitions, 2)
	require.Len(t, there[Sessions].Partitions, 1, "not divided by key")
	configs, err := admin.DescribeTopicConfigs(ctx, Presence)
	require.NoError(t, err)
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	require.Equal(t, "compact,delete", got["cleanup.policy"])
	require.Equal(t, "3600000", got["retention.ms"])

	// What is there is not asked for again, so nobody need have the right to make it.
	cluster.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		t.Error("a topic that is there is made again")
		return nil, nil, false
	})
	require.NoError(t, Create(ctx, as("presence"), Config{Partitions: 2}))
}

// What a shadow reads is not its own: it makes and changes only what it writes.
func TestCreateOfAShadow(t *testing.T) {
	ctx := t.Context()
	_, as := startCluster(t, 1)
	admin := kadm.NewClient(as("test"))
	r, err := admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": new("1000")}, Messages)
	require.NoError(t, errors.Join(err, r.Err))
	require.NoError(t, Create(ctx, as("messaging"), Config{Partitions: 2, Names: topics.Names{WritePrefix: "shadow."}}))
	there, err := admin.ListTopics(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{Messages, "shadow.messages", "shadow.users", "shadow.messages.dead"}, there.Names())
	live, err := describe(ctx, admin, Messages)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"retention.ms": "1000"}, live)
	own, err := describe(ctx, admin, "shadow.messages")
	require.NoError(t, err)
	require.Equal(t, "259200000", own["retention.ms"])

	require.NoError(t, Create(ctx, as("presence"), Config{Partitions: 2, Names: topics.Names{ReadPrefix: "b.", WritePrefix: "b."}}))
	there, err = admin.ListTopics(ctx, "b.presence", "b.sessions", "b.users")
	require.NoError(t, errors.Join(err, there.Error()), "another chat beside has topics of its own")
}

// A group begins where it is told, and where it has committed that says more.
func TestStart(t *testing.T) {
	ctx := t.Context()
	cluster, as := startCluster(t, 1)
	writer := as("test")
	r, err := kadm.NewClient(writer).CreateTopic(ctx, 2, 1, nil, "live.messages")
	require.NoError(t, errors.Join(err, r.Err))
	manual := kgo.RecordPartitioner(kgo.ManualPartitioner())
	writer, err = Open(Config{Brokers: cluster.ListenAddrs()}, "test", nil, manual)
	require.NoError(t, err)
	t.Cleanup(writer.Close)
	for i := range 8 {
		require.NoError(t, writer.ProduceSync(ctx, &kgo.Record{Topic: "live.messages", Partition: int32(i % 2), Value: []byte("x")}).FirstErr())
	}
	env := map[string]string{"KAFKA_BROKERS": cluster.ListenAddrs()[0], "KAFKA_READ_PREFIX": "live.", "KAFKA_GROUP": "shadow", "KAFKA_START": "messages/0/3, messages/1/2"}
	first := func() map[int32]int64 {
		t.Helper()
		c, err := FromEnv("messaging", func(k string) string { return env[k] })
		require.NoError(t, err)
		k, err := Open(c, "messaging", nil, c.Member(Messages, nil)...)
		require.NoError(t, err)
		defer k.CloseAllowingRebalance()
		begins := map[int32]int64{}
		for len(begins) < 2 {
			fetches := k.PollFetches(ctx)
			require.NoError(t, fetches.Err())
			for _, r := range fetches.Records() {
				if _, ok := begins[r.Partition]; !ok {
					begins[r.Partition] = r.Offset
				}
			}
			k.AllowRebalance()
		}
		return begins
	}
	require.Equal(t, map[int32]int64{0: 3, 1: 2}, first())
	env["KAFKA_START"] = "messages/0/1"
	require.Equal(t, map[int32]int64{0: 1, 1: 0}, first(), "of the other nothing is said")
	var done kadm.Offsets
	done.AddOffset("live.messages", 0, 2, -1)
	require.NoError(t, kadm.NewClient(writer).CommitAllOffsets(ctx, "shadow", done))
	require.Equal(t, map[int32]int64{0: 2, 1: 0}, first())
}

// Topics that are there, made by an older version or by hand, come to the configs of the table, by their owners alone.
func TestCreateBringsTopicsToTheirConfigs(t *testing.T) {
	for brokers, inSync := range map[int]string{1: "1", 2: "1", 3: "2"} {
		t.Run(strconv.Itoa(brokers), func(t *testing.T) {
			ctx := t.Context()
			cluster, as := startCluster(t, brokers)
			admin := kadm.NewClient(as("test"))
			of := func(topic string) map[string]string {
				have, err := describe(ctx, admin, topic)
				require.NoError(t, err)
				return have
			}
			old := map[string]*string{"retention.bytes": new("67108864"), "retention.ms": new("1000"), "max.message.bytes": new("2000000")}
			r, err := admin.CreateTopic(ctx, 2, int16(brokers), old, Messages)
			require.NoError(t, errors.Join(err, r.Err))

			require.NoError(t, Create(ctx, as("gateway"), Config{Partitions: 2}))
			require.Contains(t, of(Messages), "retention.bytes", "it is not the gateway's")
			for range 2 { // the second time there is nothing to do
				require.NoError(t, Create(ctx, as("messaging"), Config{Partitions: 2}))
				require.Equal(t, map[string]string{
					"cleanup.policy": "delete", "retention.ms": "259200000", "segment.bytes": "8388608", "segment.ms": "3600000",
					"min.insync.replicas": inSync, "max.message.bytes": "2000000",
				}, of(Messages), "what the table does not have stays, but for a limit by size")
				cluster.ControlKey(int16(kmsg.IncrementalAlterConfigs), func(kmsg.Request) (kmsg.Response, error, bool) {
					t.Error("configs that are there are set again")
					return nil, nil, false
				})
			}
			require.Equal(t, inSync, of(Dead)["min.insync.replicas"], "also of one that it has just made")
		})
	}
}

// Where the brokers let nobody change configs, the log says which a topic should have, and the service goes on.
func TestCreateWhereConfigsAreNotTheServices(t *testing.T) {
	ctx := t.Context()
	cluster, _ := startCluster(t, 1)
	cluster.ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req, resp := r.(*kmsg.DescribeConfigsRequest), r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, asked := range req.Resources {
			no := kmsg.NewDescribeConfigsResponseResource()
			no.ResourceType, no.ResourceName, no.ErrorCode = asked.ResourceType, asked.ResourceName, kerr.TopicAuthorizationFailed.Code
			resp.Resources = append(resp.Resources, no)
		}
		return resp, nil, true
	})
	var out strings.Builder
	c, err := Open(Config{Brokers: cluster.ListenAddrs()}, "auth", slog.New(slog.NewTextHandler(&out, nil)))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	require.NoError(t, Create(ctx, c, Config{}))
	require.Contains(t, out.String(), "AlterConfigs")
	require.Contains(t, out.String(), "min.insync.replicas:1")
}

// Event Hubs knows cleanup policies that it does not take, and identities that may make nothing.
func TestCreateThatIsRefused(t *testing.T) {
	for name, code := range map[string]int16{"a policy": 44, "a config": 40, "a right": 29} {
		t.Run(name, func(t *testing.T) {
			cluster, _ := startCluster(t, 1)
			cluster.ControlKey(int16(kmsg.CreateTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				res := kmsg.NewPtrCreateTopicsResponse()
				res.Version = r.GetVersion()
				topic := kmsg.NewCreateTopicsResponseTopic()
				topic.Topic, topic.ErrorCode, topic.ErrorMessage = r.(*kmsg.CreateTopicsRequest).Topics[0].Topic, code, new("not on this tier")
				res.Topics = append(res.Topics, topic)
				return res, nil, true
			})
			c, err := Open(Config{Brokers: cluster.ListenAddrs()}, "presence", nil)
			require.NoError(t, err)
			t.Cleanup(c.Close)
			err = Create(context.WithoutCancel(t.Context()), c, Config{})
			require.ErrorContains(t, err, "create topic users: ")
			require.ErrorContains(t, err, "not on this tier")
			require.ErrorContains(t, err, "make it there first, with 4 partitions and delete")
		})
	}
}
