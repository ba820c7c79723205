package bus

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/topics"
)

// Config says where the brokers are and how they are reached.
type Config struct {
	// Brokers are the ones to begin with, host:port each.
	Brokers []string
	// TLS is nil where the brokers speak without it.
	TLS *tls.Config
	// Login is nil where the brokers know none.
	Login sasl.Mechanism
	// Partitions are what the topics messages and presence are made with, and users with a third of it. A topic that is there keeps what it has.
	Partitions int32
	// Names are what sets the topics and the group of this instance apart from those of others.
	topics.Names
	// Start is, by partition, from which offset on the group reads what it has committed nothing of; other partitions it reads from their beginning.
	Start map[int32]int64
}

// The mechanisms of KAFKA_SASL.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
)

// Variables gives what FromEnv reads for a service.
func Variables(service string) []env.Variable {
	const azure = " With `OAUTHBEARER` and without `KAFKA_TOKEN_FILE` it is needed; Azure's workload identity gives it to a pod."
	all := []env.Variable{
		{Name: "KAFKA_BROKERS", Form: "`host:port`, several with commas",
			Meaning: "The brokers to begin with. It must be set."},
		{Name: "KAFKA_PARTITIONS", Default: strconv.Itoa(topics.Partitions), Form: "1 to 1000",
			Meaning: "How many partitions the topics messages and presence get where the service makes them, and users a third of it; as many instances of a service can share the work. It can't be changed later. A broker that syncs each partition's batch by itself is faster with few."},
		{Name: "KAFKA_TLS", Default: "off", Form: "`off`, `system` or a path",
			Meaning: "Whether the brokers are reached with TLS, and who vouches for them: the machine's authorities, or those in a file (PEM)."},
		{Name: "KAFKA_SASL", Form: "`" + strings.Join(mechanisms(), "`, `") + "`",
			Meaning: "How the service logs in at the brokers; not at all where it is not set. `PLAIN` and `OAUTHBEARER` want TLS."},
		{Name: "KAFKA_USER", Default: service, Form: "a name",
			Meaning: "Whom it logs in as."},
		{Name: "KAFKA_PASSWORD", Form: "a secret",
			Meaning: "The password; this or `KAFKA_PASSWORD_FILE`, where there is a log-in and it is not `OAUTHBEARER`."},
		{Name: "KAFKA_PASSWORD_FILE", Form: "a path",
			Meaning: "A file with the password. It is read at each log-in, so that a new one needs no restart."},
		{Name: "KAFKA_TOKEN_FILE", Form: "a path",
			Meaning: "A file with the token of `OAUTHBEARER`, read at each log-in. Without it the token is asked of Azure."},
		{Name: "AZURE_CLIENT_ID", Form: "an id",
			Meaning: "The identity for which a token is asked." + azure},
		{Name: "AZURE_TENANT_ID", Form: "an id",
			Meaning: "The tenant in which it is." + azure},
		{Name: "AZURE_FEDERATED_TOKEN_FILE", Form: "a path",
			Meaning: "A file with the token of the pod's service account." + azure},
		{Name: "AZURE_AUTHORITY_HOST", Default: azureAuthority, Form: "an `https` address",
			Meaning: "Where that is exchanged for a token."},
		{Name: "KAFKA_READ_PREFIX", Form: "up to 100 of `A-Z a-z 0-9 . _ -`",
			Meaning: "What the names of all topics begin with that the service reads. Where it is not `KAFKA_WRITE_PREFIX`, these topics are another's: the service does not make them."},
		{Name: "KAFKA_WRITE_PREFIX", Form: "the same",
			Meaning: "What the names of all topics begin with that the service writes, such as `shadow.`."},
	}
	if shared, ok := topics.Shared(service); ok {
		all = append(all,
			env.Variable{Name: "KAFKA_GROUP", Default: shared.Group, Form: "a name",
				Meaning: "The consumer group in which the instances of the service share the work."},
			env.Variable{Name: "KAFKA_START", Form: "such as `" + shared.Name + "/0/17," + shared.Name + "/1/4`",
				Meaning: "The records (topic/partition/offset, without a prefix) with which the group begins in partitions of which it has committed nothing. Other partitions it reads from their beginning."},
		)
	}
	return all
}

// FromEnv reads the configuration of a service, as Variables lists it. All that is wrong is said at once, and no secret is.
func FromEnv(service string, getenv func(string) string) (Config, error) {
	var c Config
	var errs []error
	for v := range strings.SplitSeq(getenv("KAFKA_BROKERS"), ",") {
		if v = strings.TrimSpace(v); v != "" {
			c.Brokers = append(c.Brokers, v)
		}
	}
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("KAFKA_BROKERS is not set (host:port, several with commas)"))
	}
	var err error
	if c.Partitions, err = partitions(getenv("KAFKA_PARTITIONS")); err != nil {
		errs = append(errs, err)
	}
	if c.Names, err = names(service, getenv); err != nil {
		errs = append(errs, err)
	}
	if c.Start, err = starts(service, getenv); err != nil {
		errs = append(errs, err)
	}
	if c.TLS, err = tlsFrom(getenv("KAFKA_TLS")); err != nil {
		errs = append(errs, err)
	}
	if c.Login, err = login(service, getenv, c.Brokers); err != nil {
		errs = append(errs, err)
	}
	if m := getenv("KAFKA_SASL"); c.TLS == nil && err == nil && (m == Plain || m == OAuthBearer) {
		errs = append(errs, fmt.Errorf("KAFKA_SASL is %s, which without TLS shows the secret to the network; set KAFKA_TLS (system, or the path of an authority's file) or use %s", m, ScramSHA512))
	}
	return c, errors.Join(errs...)
}

func partitions(v string) (int32, error) {
	n, err := strconv.ParseInt(cmp.Or(v, strconv.Itoa(topics.Partitions)), 10, 32)
	if err != nil || n < 1 || n > 1000 {
		return 0, fmt.Errorf("KAFKA_PARTITIONS is %q; a number from 1 to 1000 is needed", v)
	}
	return int32(n), nil
}

// maxPrefix leaves room for the topic's own name, of the 249 characters that Kafka takes.
const maxPrefix = 100

func names(service string, getenv func(string) string) (n topics.Names, err error) {
	n = topics.Names{ReadPrefix: getenv("KAFKA_READ_PREFIX"), WritePrefix: getenv("KAFKA_WRITE_PREFIX")}
	var errs []error
	for variable, prefix := range map[string]string{"KAFKA_READ_PREFIX": n.ReadPrefix, "KAFKA_WRITE_PREFIX": n.WritePrefix} {
		if len(prefix) > maxPrefix || strings.ContainsFunc(prefix, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		}) {
			errs = append(errs, fmt.Errorf("%s is %q; up to %d of A-Z a-z 0-9 . _ - can begin the name of a topic", variable, prefix, maxPrefix))
		}
	}
	if shared, ok := topics.Shared(service); ok {
		n.Group = cmp.Or(getenv("KAFKA_GROUP"), shared.Group)
	}
	return n, errors.Join(errs...)
}

func starts(service string, getenv func(string) string) (map[int32]int64, error) {
	shared, ok := topics.Shared(service)
	if !ok || getenv("KAFKA_START") == "" {
		return nil, nil
	}
	all := map[int32]int64{}
	for v := range strings.SplitSeq(getenv("KAFKA_START"), ",") {
		topic, partition, offset, ok := topics.ParseSource(strings.TrimSpace(v))
		if _, twice := all[partition]; !ok || twice || topic != shared.Name || partition < 0 || offset < 0 {
			return nil, fmt.Errorf("KAFKA_START has %q; one record of each partition is needed, such as %s/0/17", v, shared.Name)
		}
		all[partition] = offset
	}
	return all, nil
}

func tlsFrom(v string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch v {
	case "", "off":
		return nil, nil
	case "system":
		return c, nil
	}
	b, err := os.ReadFile(v)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_TLS is none of off, system and the path of an authority's file: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("KAFKA_TLS: %s holds no certificate in PEM", v)
	}
	return c, nil
}

func login(service string, getenv func(string) string, brokers []string) (sasl.Mechanism, error) {
	mechanism := getenv("KAFKA_SASL")
	switch mechanism {
	case "":
		for _, name := range []string{"KAFKA_PASSWORD", "KAFKA_PASSWORD_FILE", "KAFKA_TOKEN_FILE"} {
			if getenv(name) != "" {
				return nil, fmt.Errorf("%s is set and KAFKA_SASL is not, which says how it is shown (%s)", name, strings.Join(mechanisms(), ", "))
			}
		}
		return nil, nil
	case OAuthBearer:
		token, err := tokens(getenv, brokers)
		if err != nil {
			return nil, err
		}
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			t, err := token(ctx)
			return oauth.Auth{Token: t}, err
		}), nil
	}
	if !slices.Contains(mechanisms(), mechanism) {
		return nil, fmt.Errorf("KAFKA_SASL is %q, which is none of %s", mechanism, strings.Join(mechanisms(), ", "))
	}
	user := cmp.Or(getenv("KAFKA_USER"), service)
	password, err := secret("KAFKA_PASSWORD", getenv)
	if err != nil {
		return nil, err
	}
	switch mechanism {
	case Plain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			p, err := password()
			return plain.Auth{User: user, Pass: p}, err
		}), nil
	case ScramSHA256:
		return scram.Sha256(func(context.Context) (scram.Auth, error) {
			p, err := password()
			return scram.Auth{User: user, Pass: p}, err
		}), nil
	}
	return scram.Sha512(func(context.Context) (scram.Auth, error) {
		p, err := password()
		return scram.Auth{User: user, Pass: p}, err
	}), nil
}

// azureAuthority is that of Azure's public cloud.
const azureAuthority = "https://login.microsoftonline.com/"

func mechanisms() []string { return []string{Plain, ScramSHA256, ScramSHA512, OAuthBearer} }

// secret gives what is in the variable, or in the file that the variable with _FILE names, read anew each time.
func secret(name string, getenv func(string) string) (func() (string, error), error) {
	value, file := getenv(name), getenv(name+"_FILE")
	switch {
	case value != "" && file != "":
		return nil, fmt.Errorf("%s and %s_FILE are both set; set one", name, name)
	case value != "":
		return func() (string, error) { return value, nil }, nil
	case file == "":
		return nil, fmt.Errorf("%s is not set, nor is %s_FILE", name, name)
	}
	read := func() (string, error) { return readSecret(name+"_FILE", file) }
	_, err := read() // what is wrong from the beginning is said at the beginning
	return read, err
}

func readSecret(name, file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return "", fmt.Errorf("%s: %s is empty", name, file)
	}
	return v, nil
}

// tokens gives a source of tokens: a file, or Azure.
func tokens(getenv func(string) string, brokers []string) (func(context.Context) (string, error), error) {
	if file := getenv("KAFKA_TOKEN_FILE"); file != "" {
		read := func(context.Context) (string, error) { return readSecret("KAFKA_TOKEN_FILE", file) }
		_, err := read(context.Background())
		return read, err
	}
	var missing []string
	get := func(name string) string {
		v := getenv(name)
		if v == "" {
			missing = append(missing, name)
		}
		return v
	}
	w := &workload{
		client: get("AZURE_CLIENT_ID"), tenant: get("AZURE_TENANT_ID"), assertion: get("AZURE_FEDERATED_TOKEN_FILE"),
		authority: cmp.Or(getenv("AZURE_AUTHORITY_HOST"), azureAuthority), now: time.Now,
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("KAFKA_SASL is %s and KAFKA_TOKEN_FILE is not set, nor %s, which Azure's workload identity gives a pod with the label azure.workload.identity/use",
			OAuthBearer, strings.Join(missing, ", "))
	}
	if !strings.HasPrefix(w.authority, "https://") {
		return nil, fmt.Errorf("AZURE_AUTHORITY_HOST is %q, which is no https:// address", w.authority)
	}
	if len(brokers) > 0 {
		host, _, err := net.SplitHostPort(brokers[0])
		if err != nil {
			return nil, fmt.Errorf("KAFKA_BROKERS names %q, which is not host:port", brokers[0])
		}
		w.scope = "https://" + host + "/.default"
	}
	return w.token, nil
}
