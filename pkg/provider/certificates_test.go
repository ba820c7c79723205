package provider_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/secret"
	"github.com/labctl/labctl/pkg/stack"
)

// issued is what is in the state.
type issued struct {
	CA           string            `json:"ca_certificate"`
	CAKey        string            `json:"ca_key"`
	Certificates map[string]string `json:"certificates"`
	Keys         map[string]string `json:"keys"`
}

// certificates is a stack with the certificates of these servers.
func (b *bench) certificates(t *testing.T, servers map[string][]string) stack.RunRequest {
	t.Helper()
	source := filepath.Join(b.dir, "source", "certificates")
	require.NoError(t, os.MkdirAll(source, 0o700))
	file := filepath.Join(source, "main.tf")
	require.NoError(t, os.WriteFile(file, []byte(`
terraform {
  required_providers {
    lab = { source = "labctl.local/labctl/lab" }
  }
}
variable "servers" { type = map(list(string)) }
resource "lab_certificates" "this" {
  name    = "databases"
  servers = var.servers
}
output "ca" { value = lab_certificates.this.ca_certificate }
output "keys" {
  value     = lab_certificates.this.keys
  sensitive = true
}
`), 0o600))
	all := map[string]cty.Value{}
	for name, hosts := range servers {
		var names []cty.Value
		for _, h := range hosts {
			names = append(names, cty.StringVal(h))
		}
		all[name] = cty.ListVal(names)
	}
	return stack.RunRequest{
		Stack:  &stack.Stack{ID: "certificates", Name: "certificates", Dir: source, Real: source, Files: []string{file}},
		Inputs: map[string]cty.Value{"servers": cty.MapVal(all)}, Path: func(p string) string { return p }, Secrets: &secret.Set{},
	}
}

// issue applies it and gives what is in the state.
func (b *bench) issue(t *testing.T, servers map[string][]string) (got issued) {
	t.Helper()
	_, err := b.runner().Apply(context.Background(), b.certificates(t, servers), nil)
	require.NoError(t, err)
	st := b.state(t, "certificates")
	require.Len(t, st.Resources, 1)
	require.NoError(t, json.Unmarshal(st.Resources[0].Attributes, &got))
	ca, err := stack.Text(st.Outputs["ca"])
	require.NoError(t, err)
	require.Equal(t, got.CA, ca)
	require.True(t, st.Outputs["keys"].HasMark(stack.Sensitive))
	reason, known, err := b.provider().CheckHealth(context.Background(), st)
	require.NoError(t, err)
	require.True(t, known)
	require.Empty(t, reason)
	return got
}

func TestCertificatesAreMadeOnceAndRenewed(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	b, ctx := newBench(t), context.Background()
	made := time.Now()
	b.now = func() time.Time { return made }
	servers := map[string][]string{"kafka": {"kafka.data.svc.cluster.local", "localhost"}, "mongodb": {"mongodb.data.svc.cluster.local"}}
	first := b.issue(t, servers)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(first.CA)))
	for name, hosts := range servers {
		pair, err := tls.X509KeyPair([]byte(first.Certificates[name]), []byte(first.Keys[name]))
		require.NoError(t, err)
		for _, h := range hosts {
			_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: h})
			require.NoError(t, err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "auth.chat.svc.cluster.local"})
		require.Error(t, err)
	}
	b.now = func() time.Time { return made.Add(240 * day) }
	require.Equal(t, first, b.issue(t, servers), "nothing is due")

	b.now = func() time.Time { return made.Add(250 * day) }
	reason, known, err := b.provider().CheckHealth(ctx, b.state(t, "certificates"))
	require.NoError(t, err)
	require.True(t, known)
	require.Regexp(t, `^lab_certificates\.this: the certificate of kafka: it is valid until \S+ and due for renewal$`, reason)
	changes, err := b.runner().Drift(ctx, b.certificates(t, servers), nil)
	require.NoError(t, err)
	require.Equal(t, []stack.Action{{Address: "lab_certificates.this", Verb: "update"}}, changes)
	second := b.issue(t, servers)
	require.Equal(t, first.CA, second.CA, "clients go on with the authority that they trust")
	require.Equal(t, first.CAKey, second.CAKey)
	for name := range servers {
		require.NotEqual(t, first.Certificates[name], second.Certificates[name])
		require.NotEqual(t, first.Keys[name], second.Keys[name])
	}

	// Another name concerns one server, and one that is gone leaves nothing behind.
	third := b.issue(t, map[string][]string{"kafka": servers["kafka"], "mongodb": {"mongodb.elsewhere"}})
	require.Equal(t, second.Certificates["kafka"], third.Certificates["kafka"])
	require.NotEqual(t, second.Certificates["mongodb"], third.Certificates["mongodb"])
	fourth := b.issue(t, map[string][]string{"kafka": servers["kafka"]})
	require.Equal(t, map[string]string{"kafka": second.Certificates["kafka"]}, fourth.Certificates)
	require.Equal(t, map[string]string{"kafka": second.Keys["kafka"]}, fourth.Keys)

	b.now = func() time.Time { return made.Add(7 * year) }
	last := b.issue(t, servers)
	require.NotEqual(t, first.CA, last.CA)
	require.NotEqual(t, fourth.Certificates["kafka"], last.Certificates["kafka"])

	_, err = b.runner().Destroy(ctx, b.certificates(t, servers), nil)
	require.NoError(t, err)
	require.Empty(t, b.state(t, "certificates").Resources)
}
