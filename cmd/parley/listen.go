package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// listen opens all addresses that addr stands for: ":8080" is one socket for IPv4
// and IPv6, a name such as localhost may be an address of each.
func listen(ctx context.Context, addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	hosts := []string{host}
	if _, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, "0")); host != "" && err == nil && net.ParseIP(host) == nil {
		if found, err := net.DefaultResolver.LookupHost(ctx, host); err == nil {
			hosts = slices.Compact(found)
		}
	}
	var listeners []net.Listener
	var first error
	for _, h := range hosts {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(h, port))
		if err != nil {
			// A machine without IPv6 may know ::1 by name all the same.
			if !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EAFNOSUPPORT) {
				closeAll(listeners)
				return nil, listenError(addr, err)
			}
			first = listenError(addr, err)
			continue
		}
		listeners = append(listeners, l)
		if port == "0" { // the same for all
			port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		}
	}
	if len(listeners) == 0 {
		return nil, first
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// listenError says what to do.
func listenError(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program: stop that one, or take another address with --addr or PARLEY_ADDR", addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s needs more rights than parley has: take a port above 1023 with --addr or PARLEY_ADDR", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is no address of this machine: take another with --addr or PARLEY_ADDR", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}

func loadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// certificate serves a TLS certificate from its files, and reads them again when they have changed.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	looked  time.Time
	stamp   [2]fileStamp
}

type fileStamp struct {
	changed time.Time
	size    int64
}

// lookEvery bounds how often the files are looked at.
const lookEvery = time.Second

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	c.stamp = c.stamps()
	var err error
	c.current, err = loadCertificate(certFile, keyFile)
	return c, err
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.current, nil
	}
	c.looked = time.Now()
	stamp := c.stamps()
	if stamp == c.stamp {
		return c.current, nil
	}
	fresh, err := loadCertificate(c.certFile, c.keyFile)
	if err != nil {
		// Perhaps one of the two is still to be written; the next look tells.
		c.log.Warn("the changed TLS certificate cannot be used, the old one stays", "err", err)
		return c.current, nil
	}
	c.log.Info("TLS certificate read again")
	c.current, c.stamp = fresh, stamp
	return fresh, nil
}

func (c *certificate) stamps() (s [2]fileStamp) {
	for i, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			s[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return s
}
