// Package services_test holds what is said of all services together.
package services_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/frontend"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/groups"
	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/messaging"
	"github.com/labctl/labctl/services/presence"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// configured is a service, what it says that it reads, and how it reads it: its settings, and the rest of its configuration.
type configured struct {
	name      string
	variables []env.Variable
	read      func(getenv func(string) string) (service.Settings, any, error)
}

func all() []configured {
	return []configured{
		{"auth", auth.Variables(), func(getenv func(string) string) (service.Settings, any, error) {
			c, err := auth.ConfigFromEnv(getenv)
			s := c.Settings
			c.Settings, c.Now = service.Settings{}, nil
			return s, c, err
		}},
		{"gateway", gateway.Variables(), func(getenv func(string) string) (service.Settings, any, error) {
			c, err := gateway.ConfigFromEnv(getenv)
			s := c.Settings
			c.Settings, c.Now = service.Settings{}, nil
			return s, c, err
		}},
		{"groups", groups.Variables(), func(getenv func(string) string) (service.Settings, any, error) {
			c, err := groups.ConfigFromEnv(getenv)
			s := c.Settings
			c.Settings, c.Now = service.Settings{}, nil
			return s, c, err
		}},
		{"messaging", messaging.Variables(), func(getenv func(string) string) (service.Settings, any, error) {
			c, err := messaging.ConfigFromEnv(getenv)
			s := c.Settings
			c.Settings, c.Now = service.Settings{}, nil
			return s, c, err
		}},
		{"presence", presence.Variables(), func(getenv func(string) string) (service.Settings, any, error) {
			c, err := presence.ConfigFromEnv(getenv)
			s := c.Settings
			c.Settings, c.Now = service.Settings{}, nil
			return s, c, err
		}},
		{"frontend", frontend.Variables(), func(getenv func(string) string) (service.Settings, any, error) {
			c, err := frontend.ConfigFromEnv(getenv)
			return c.Settings, nil, err
		}},
	}
}

// environments gives some in which services can start: each log-in at the brokers, secrets in variables and in files, with and without
// a provider to log in with.
func environments(t *testing.T) map[string]map[string]string {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, a, a, &key.PublicKey, key)
	require.NoError(t, err)
	authority := file("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	secret := file("secret", "secret")
	plain := map[string]string{"KAFKA_BROKERS": "kafka:9092", "MONGODB_URI": "mongodb://mongodb:27017", "KEY_ENCRYPTION_SECRET": strings.Repeat("s", 32)}
	with := func(more ...string) map[string]string {
		e := maps.Clone(plain)
		for i := 0; i < len(more); i += 2 {
			e[more[i]] = more[i+1]
		}
		return e
	}
	oidc := []string{"OIDC_ISSUER", "https://id.example", "OIDC_CLIENT_ID", "chat", "OIDC_REDIRECT_URL", "https://chat.example/api/auth/oidc/callback"}
	found := map[string]map[string]string{
		"no log-in":             plain,
		"a provider":            with(append(oidc, "OIDC_CLIENT_SECRET", "x")...),
		"a provider, by a file": with(append(oidc, "OIDC_CLIENT_SECRET_FILE", secret, "OIDC_NAME", "Campus")...),
		"a token in a file":     with("KAFKA_TLS", "system", "KAFKA_SASL", bus.OAuthBearer, "KAFKA_TOKEN_FILE", secret),
		"a token from Azure": with("KAFKA_TLS", authority, "KAFKA_SASL", bus.OAuthBearer,
			"AZURE_CLIENT_ID", "client", "AZURE_TENANT_ID", "tenant", "AZURE_FEDERATED_TOKEN_FILE", secret),
	}
	found["a shadow"] = with("KAFKA_WRITE_PREFIX", "shadow.", "MONGODB_DATABASE", "shadow", "KAFKA_GROUP", "shadow")
	found["traces"] = with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
	found["some traces"] = with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces", "OTEL_TRACES_SAMPLER", "traceidratio")
	for _, mechanism := range []string{bus.Plain, bus.ScramSHA256, bus.ScramSHA512} {
		found[mechanism] = with("KAFKA_TLS", "system", "KAFKA_SASL", mechanism, "KAFKA_PASSWORD", "x")
		files := with("KAFKA_TLS", "system", "KAFKA_SASL", mechanism, "KAFKA_PASSWORD_FILE", secret, "MONGODB_URI_FILE", secret)
		delete(files, "MONGODB_URI")
		found[mechanism+", by files"] = files
	}
	return found
}

// Each service reads the variables that it lists, and no others.
func TestVariables(t *testing.T) {
	for _, c := range all() {
		t.Run(c.name, func(t *testing.T) {
			listed := map[string]bool{}
			for _, v := range c.variables {
				require.False(t, listed[v.Name], "%s is listed twice", v.Name)
				listed[v.Name] = true
				require.NotEmpty(t, v.Form, v.Name)
				require.NotEmpty(t, v.Meaning, v.Name)
			}
			read := map[string]bool{}
			for name, e := range environments(t) {
				_, _, err := c.read(func(k string) string { read[k] = true; return e[k] })
				require.NoError(t, err, name)
			}
			// What is read only to say that something is wrong counts as well.
			for _, v := range []string{"", "x"} {
				_, _, _ = c.read(func(k string) string { read[k] = true; return v })
			}
			require.Equal(t, slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(read)))
		})
	}
}

// A variable that is set to its default is as one that is not set; and where it is set to something else, that is seen.
func TestDefaults(t *testing.T) {
	others := map[string]string{
		"LISTEN": "127.0.0.1:1", "LOG_LEVEL": "debug", "DRAIN_DELAY": "3s", "KAFKA_TLS": "system", "KAFKA_USER": "somebody", "KAFKA_PARTITIONS": "1",
		"AZURE_AUTHORITY_HOST": "https://login.example/", "MONGODB_DATABASE": "another", "KAFKA_GROUP": "another", "SIDE_EFFECTS": "off", "AUTH_URL": "http://a", "GROUPS_URL": "http://g",
		"MESSAGING_URL": "http://m", "HEALTH": ":9", "TRUSTED_PROXIES": "203.0.113.0/24", "KEY_LIFE": "1h", "SESSION_LIFE": "1h", "PEOPLE_RATE": "off", "CHANGE_RATE": "off", "GROUP_RATE": "off",
		"CONNECTION_RATE": "off", "USER_RATE": "off", "ADDRESS_RATE": "off", "REGISTRATION_RATE": "off",
		"OTEL_SERVICE_NAME": "another", "OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "0.5", "OTEL_SDK_DISABLED": "true", "IDENTITY_DIR": "/elsewhere", "IDENTITY_ISSUER": "https://api.example",
	}
	for _, c := range all() {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range c.variables {
				if v.Default == "" {
					continue
				}
				seen := false
				for name, e := range environments(t) {
					if e[v.Name] != "" || (v.Name == "SIDE_EFFECTS" && name != "a shadow") { // which needs more
						continue
					}
					absent := c.shown(t, e)
					e = maps.Clone(e)
					e[v.Name] = v.Default
					require.Equal(t, absent, c.shown(t, e), "%s, %s", v.Name, name)
					e[v.Name] = others[v.Name]
					seen = seen || absent != c.shown(t, e)
				}
				require.True(t, seen, "%s makes no difference; is there another value of it above?", v.Name)
			}
		})
	}
}

// shown gives all that an environment makes of a configuration, with what has no form of its own as what it does.
func (c configured) shown(t *testing.T, e map[string]string) string {
	t.Helper()
	s, rest, err := c.read(func(k string) string { return e[k] })
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // so that whoever would ask a server says which, and does not
	login, trusts := "none", "none"
	if m := s.Kafka.Login; m != nil {
		_, first, err := m.Authenticate(ctx, "kafka")
		said, _, _ := strings.Cut(string(first), ",r=") // a number of SCRAM's that is never the same
		login = fmt.Sprintf("%s %q %v", m.Name(), said, err)
	}
	if c := s.Kafka.TLS; c != nil {
		trusts = fmt.Sprintf("%x, the machine's: %t", c.MinVersion, c.RootCAs == nil)
	}
	require.NotNil(t, s.Log)
	sampled := "none"
	if c := s.Tracing.Sampler; c != nil {
		sampled = c.Description()
	}
	s.Log, s.Kafka.Login, s.Kafka.TLS, s.Tracing.Sampler = nil, nil, nil, nil
	return fmt.Sprintf("%+v\n%+v\n%s\n%s\n%s", s, rest, login, trusts, sampled)
}

// TestConfiguration holds docs/configuration.md to what the services list.
func TestConfiguration(t *testing.T) {
	const path = "../docs/configuration.md"
	want := page(all())
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(have), "docs/configuration.md is not what the services list: run `make docs`")
}

// page writes what all have in common once, then what all but the frontend have, which has no brokers, then what all have that have a database,
// and then what each has beside.
func page(services []configured) string {
	var b strings.Builder
	b.WriteString("<!-- Written by `make docs` of what the services list in code. -->\n\n# Configuration of the chat's services\n\n" +
		"By environment variables. One that is empty is as one that is not set. Whatever is wrong is said at the start, all at once, and the service\n" +
		"ends with the exit code 3. What leads out of the cluster (to a provider of OpenID Connect, and to Azure for tokens) goes by `HTTPS_PROXY` and\n" +
		"`NO_PROXY` where they are set.\n")
	rest := map[string][]env.Variable{}
	for _, c := range services {
		for _, v := range c.variables {
			if v.Default == c.name {
				v.Default = own
			}
			rest[c.name] = append(rest[c.name], v)
		}
	}
	common := func(title string, names ...string) {
		var shared []env.Variable
		for _, v := range rest[names[0]] {
			if !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(rest[name], v) }) {
				shared = append(shared, v)
			}
		}
		for _, name := range names {
			rest[name] = slices.DeleteFunc(rest[name], func(v env.Variable) bool { return slices.Contains(shared, v) })
		}
		table(&b, title, shared)
	}
	var names, most, keeping []string
	for _, c := range services {
		names = append(names, c.name)
		if c.name != "frontend" {
			most = append(most, c.name)
		}
		if c.name != "frontend" && c.name != "gateway" {
			keeping = append(keeping, c.name)
		}
	}
	common("All services", names...)
	common("All but frontend", most...)
	common("All but frontend and gateway", keeping...)
	for _, name := range names {
		table(&b, name, rest[name])
	}
	return b.String()
}

// own is written for a default that is the service's name.
const own = "the service's name"

func table(b *strings.Builder, title string, variables []env.Variable) {
	fmt.Fprintf(b, "\n## %s\n\n", title)
	if len(variables) == 0 {
		b.WriteString("Nothing else.\n")
		return
	}
	b.WriteString("| Variable | Default | Form | Meaning |\n|---|---|---|---|\n")
	for _, v := range variables {
		standard := ""
		switch v.Default {
		case "":
		case own:
			standard = own
		default:
			standard = "`" + strings.ReplaceAll(v.Default, ",", "`, `") + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", v.Name, standard, v.Form, v.Meaning)
	}
}
