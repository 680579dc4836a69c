package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// certificate is one for 127.0.0.1 that vouches for itself.
type certificate struct {
	certFile, keyFile string
	pool              *x509.CertPool
}

// makeCertificate leaves a certificate and its key in dir.
func makeCertificate(dir string) (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c := &certificate{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.pool.AppendCertsFromPEM(certPEM)
	if err := os.WriteFile(c.certFile, certPEM, 0o644); err != nil {
		return nil, err
	}
	return c, os.WriteFile(c.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}

// http1 is a transport of its own that speaks HTTP/1.1 over TLS.
func (c *certificate) http1() *http.Transport {
	t := newTransport()
	t.TLSClientConfig = &tls.Config{RootCAs: c.pool}
	t.Protocols.SetHTTP1(true)
	return t
}

// http2 is one that speaks HTTP/2 over TLS.
func (c *certificate) http2() *http.Transport {
	t := newTransport()
	t.TLSClientConfig = &tls.Config{RootCAs: c.pool}
	t.Protocols.SetHTTP2(true)
	return t
}

// clearHTTP2 is one that speaks HTTP/2 without TLS and without asking first.
func clearHTTP2() *http.Transport {
	t := newTransport()
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

var dialed atomic.Int64

func newTransport() *http.Transport {
	return &http.Transport{
		Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return dialFrom(ctx, addr, int(dialed.Add(1)))
		},
	}
}
