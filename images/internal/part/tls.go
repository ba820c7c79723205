package part

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
)

// Certificate reads a server's certificate and its key from TLS_DIR: tls.crt and tls.key, as in a mounted Secret of the type
// kubernetes.io/tls. It is nil where dir is empty.
func Certificate(dir string) (*tls.Certificate, error) {
	if dir == "" {
		return nil, nil
	}
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("read the certificate in TLS_DIR: %w", err)
	}
	if len(c.Leaf.DNSNames) == 0 {
		return nil, fmt.Errorf("the certificate in TLS_DIR has no DNS name, by which clients could know the server; there are %s", c.Leaf.IPAddresses)
	}
	return &c, nil
}
