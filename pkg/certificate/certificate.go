// Package certificate makes the certificates by which the lab's own servers prove who they are, and the authority that vouches for them.
package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// How long certificates are valid. They are due for renewal when less than a third of that is left.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 365 * 24 * time.Hour
)

// Pair is a certificate and its private key, both in PEM.
type Pair struct{ Certificate, Key string }

// NewAuthority makes a certificate authority that signs itself.
func NewAuthority(name string, now time.Time) (Pair, error) {
	template := x509.Certificate{
		Subject: pkix.Name{CommonName: name},
		IsCA:    true, BasicConstraintsValid: true, MaxPathLenZero: true, // it signs servers' certificates and no further authority's
		KeyUsage: x509.KeyUsageCertSign,
		NotAfter: now.Add(authorityLife),
	}
	return sign(template, nil, nil, now)
}

// Issue has the authority sign a certificate for a server with these DNS names.
func (p Pair) Issue(names []string, now time.Time) (Pair, error) {
	if len(names) == 0 {
		return Pair{}, errors.New("issue a certificate: it needs a name")
	}
	parent, err := tls.X509KeyPair([]byte(p.Certificate), []byte(p.Key))
	if err != nil {
		return Pair{}, fmt.Errorf("issue a certificate: %w", err)
	}
	key, ok := parent.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return Pair{}, fmt.Errorf("issue a certificate: the authority's key is a %T", parent.PrivateKey)
	}
	template := x509.Certificate{
		DNSNames: names, // and no subject, whose name may be 64 characters long and of which clients take no notice
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotAfter: now.Add(serverLife),
	}
	return sign(template, parent.Leaf, key, now)
}

// sign makes a certificate with a new key. It signs itself where there is no parent.
func sign(template x509.Certificate, parent *x509.Certificate, by *ecdsa.PrivateKey, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent, by = &template, key
	}
	template.NotBefore = now.Add(-time.Hour) // for clocks that disagree
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return Pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), by)
	if err != nil {
		return Pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a key: %w", err)
	}
	return Pair{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
	}, nil
}

// CheckAuthority says why an authority must be replaced by a new one, or nil.
func (p Pair) CheckAuthority(now time.Time) error {
	_, err := p.check(now)
	return err
}

// CheckServer says why a server's certificate must be replaced by a new one, or nil: the authority p did not sign it, it has other
// names, or it is due for renewal.
func (p Pair) CheckServer(server Pair, names []string, now time.Time) error {
	leaf, err := server.check(now)
	if err != nil {
		return err
	}
	if !slices.Equal(leaf.DNSNames, names) {
		return fmt.Errorf("it is for %q, and %q is wanted", leaf.DNSNames, names)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.Certificate))
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	return err
}

// check says whether certificate and key belong together, and more than a third of their time is left.
func (p Pair) check(now time.Time) (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(p.Certificate), []byte(p.Key))
	if err != nil {
		return nil, err
	}
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	if left := pair.Leaf.NotAfter.Sub(now); left < life/3 {
		return nil, fmt.Errorf("it is valid until %s and due for renewal", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return pair.Leaf, nil
}

// Server makes a server show its certificate.
func Server(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
}

// Self is how a server's own process connects to it: it trusts the certificate that the server was given, and no authority.
func Self(c tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(c.Leaf)
	return &tls.Config{RootCAs: roots, ServerName: c.Leaf.DNSNames[0], MinVersion: tls.VersionTLS12}
}
