package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/labctl/labctl/pkg/atomicfile"
)

// certificateLife is long because a lab is thrown away before it ends, and because a certificate that ran out
// overnight teaches nobody anything.
const certificateLife = 10 * 365 * 24 * time.Hour

// authority is a certificate authority whose key lies beside its certificate.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// identity is one certificate of the cluster. The names and groups are those that Kubernetes' RBAC knows
// (https://kubernetes.io/docs/setup/best-practices/certificates/).
type identity struct {
	file   string // without the ending
	ca     string
	name   string // common name: the user
	groups []string
	server bool
	hosts  []string // for a server
}

// makePKI completes the cluster's certificates in dir; what is there is kept, so that a cluster goes on with the
// authority that it was made with.
func makePKI(dir string, members []member) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cas := map[string]*authority{}
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		ca, err := loadOrMakeCA(filepath.Join(dir, name), name)
		if err != nil {
			return fmt.Errorf("certificate authority %s: %w", name, err)
		}
		cas[name] = ca
	}
	identities := []identity{
		{file: "apiserver", ca: "ca", name: "kube-apiserver", server: true, hosts: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"localhost", "127.0.0.1", nodeIP, apiServiceIP,
		}},
		{file: "admin", ca: "ca", name: "admin", groups: []string{"system:masters"}},
		{file: "apiserver-kubelet-client", ca: "ca", name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "controller-manager", ca: "ca", name: "system:kube-controller-manager"},
		{file: "scheduler", ca: "ca", name: "system:kube-scheduler"},
		{file: "proxy", ca: "ca", name: "system:kube-proxy"},
		{file: "storage-provisioner", ca: "ca", name: "labctl:storage-provisioner"},
		{file: "network-policies", ca: "ca", name: "labctl:network-policies"},
		// Its server's side is the API's, which asks it in the name of whoever asks the API.
		{file: "metrics-server", ca: "ca", name: "labctl:metrics-server", server: true, hosts: []string{"metrics-server.kube-system.svc", nodeIP}},
		{file: "etcd-server", ca: "etcd-ca", name: "etcd", server: true, hosts: []string{"localhost", "127.0.0.1"}},
		{file: "etcd-client", ca: "etcd-ca", name: "kube-apiserver"},
		{file: "front-proxy-client", ca: "front-proxy-ca", name: "front-proxy-client"},
	}
	for _, m := range members {
		user := "system:node:" + m.name
		identities = append(identities,
			identity{file: m.identity("kubelet-server"), ca: "ca", name: user, server: true, hosts: []string{m.name, m.address(), "127.0.0.1"}},
			identity{file: m.identity("kubelet"), ca: "ca", name: user, groups: []string{"system:nodes"}})
	}
	for _, id := range identities {
		if err := makeCertificate(dir, cas[id.ca], id); err != nil {
			return fmt.Errorf("certificate %s: %w", id.file, err)
		}
	}
	return makeKey(filepath.Join(dir, "service-account.key"))
}

func loadOrMakeCA(path, name string) (*authority, error) {
	certPEM, certErr := os.ReadFile(path + ".crt")
	keyPEM, keyErr := os.ReadFile(path + ".key")
	if certErr == nil && keyErr == nil {
		return parseAuthority(certPEM, keyPEM)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := certificateTemplate(pkix.Name{CommonName: "labctl " + name})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key}, writePair(path, der, key)
}

func parseAuthority(certPEM, keyPEM []byte) (*authority, error) {
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("the certificate or its key is damaged: `labctl down` and `labctl up` make new ones")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key}, nil
}

func makeCertificate(dir string, ca *authority, id identity) error {
	path := filepath.Join(dir, id.file)
	if exists(path+".crt") && exists(path+".key") {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template, err := certificateTemplate(pkix.Name{CommonName: id.name, Organization: id.groups})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if id.server {
		// etcd's server is also a client of its own gRPC gateway.
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, h := range id.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	return writePair(path, der, key)
}

func certificateTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife), // an hour for clocks that disagree
	}, nil
}

func makeKey(path string) error {
	if exists(path) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// writePair writes the key first: a certificate without its key would be taken for complete.
func writePair(path string, certDER []byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	return atomicfile.Write(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
