package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
)

// plainCommand makes this program the plainest server of streams that net/http allows.
const plainCommand = "plain"

// plainMain answers every request with a ready and then holds it open, over HTTP/1.1 and
// HTTP/2, in clear or, given the files of a certificate and its key, over TLS. It prints its
// address and ends when it is told to.
func plainMain(files []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(holdOpen)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	if len(files) == 2 {
		cert, err := tls.LoadX509KeyPair(files[0], files[1])
		if err != nil {
			return err
		}
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	fmt.Println(l.Addr())
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}

func holdOpen(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "event: ready\ndata: {}\n\n")
	if http.NewResponseController(w).Flush() == nil {
		<-r.Context().Done()
	}
}

// startPlain starts the plain server as a process of its own, as Parley is one.
func startPlain(cert *certificate) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{keys: newKeyring(), cmd: exec.Command(self, plainCommand)}
	if cert != nil {
		s.cmd.Args, s.tls = append(s.cmd.Args, cert.certFile, cert.keyFile), cert.http1()
	}
	s.cmd.SysProcAttr = childAttr()
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if s.exited, err = startProcess(s.cmd); err != nil {
		return nil, err
	}
	if _, err := fmt.Fscanln(bufio.NewReader(stdout), &s.addr); err != nil {
		s.stop()
		return nil, fmt.Errorf("no address from the plain server: %w", err)
	}
	return s, nil
}
