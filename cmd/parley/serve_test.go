package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/repo/repotest"
)

// program is a run of parley serve.
type program struct {
	t      *testing.T
	url    string
	page   *buffer
	log    *buffer
	stop   context.CancelFunc
	exited chan int
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs parley serve on a free port until the test ends, and waits until it is ready.
func start(t *testing.T, env map[string]string, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &program{t: t, page: new(buffer), log: new(buffer), stop: stop, exited: make(chan int, 1)}
	go func() {
		p.exited <- run(ctx, append([]string{"serve", "--addr=127.0.0.1:0"}, args...), environment(env), p.page, p.log)
	}()
	t.Cleanup(func() { p.end() })
	ready := regexp.MustCompile(`ready at (\S+)`)
	eventually(t, "the server", func() bool {
		if len(p.exited) > 0 {
			t.Fatalf("ended at once:\n%s", p.log)
		}
		m := ready.FindStringSubmatch(p.page.String())
		if m != nil {
			p.url = m[1]
		}
		return m != nil
	})
	return p
}

// end stops it and returns its exit code.
func (p *program) end() int {
	p.t.Helper()
	p.stop()
	select {
	case code := <-p.exited:
		p.exited <- code
		return code
	case <-time.After(15 * time.Second):
		p.t.Fatalf("does not end within 15 s:\n%s", p.log)
		return -1
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// folder is like t.TempDir, but open to the user that PostgreSQL runs as.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "parley-serve-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// onDatabase is an environment with a database of the test's own.
func onDatabase(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"DATABASE_URL": repotest.EmptyDSN(t), "PARLEY_DATA_DIR": folder(t)}
}

func fetch(t *testing.T, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// Without any configuration: the lines that it prints work as they stand, and on
// the next start everything is still there.
func TestTryingItOut(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PARLEY_DATA_DIR": folder(t)}
	p := start(t, env)
	page := p.page.String()
	_, lines, _ := strings.Cut(page, "another terminal.")
	_, lines, _ = strings.Cut(lines, "\n")
	lines, _, _ = strings.Cut(lines, "The key that signed")
	shell := exec.CommandContext(t.Context(), "sh")
	shell.Stdin = strings.NewReader(lines)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "hello Jerry"); got != 3 { // the answer, the event, the history
		t.Errorf("said %d times, want 3:\n%s\n%s", got, out, p.log)
	}
	if !strings.Contains(string(out), "event: message") {
		t.Errorf("no event:\n%s", out)
	}
	for _, token := range regexp.MustCompile(`eyJ[\w.-]+`).FindAllString(page, -1) {
		if strings.Contains(p.log.String(), token) {
			t.Error("a token is in the log")
		}
	}
	id := strings.SplitN(strings.TrimSpace(string(out)), "\n", 2)[0]
	jerry := regexp.MustCompile(`JERRY=(\S+)`).FindStringSubmatch(page)[1]
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.log)
	}

	p = start(t, env)
	req, err := http.NewRequestWithContext(t.Context(), "GET", p.url+"/v1/conversations/"+id+"/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+jerry)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var history struct{ Items []struct{ Text string } }
	if err := json.NewDecoder(resp.Body).Decode(&history); err != nil || len(history.Items) != 1 || history.Items[0].Text != "hello Jerry" {
		t.Errorf("after a restart: %s, %v, %+v", resp.Status, err, history)
	}

	// A second one on the same folder is told so in one sentence.
	var errs bytes.Buffer
	code := run(t.Context(), []string{"serve", "--addr=127.0.0.1:0"}, environment(env), io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), "another parley") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var errs bytes.Buffer
	code := run(t.Context(), []string{"serve", "--addr=" + l.Addr().String()}, environment(map[string]string{"PARLEY_DATA_DIR": t.TempDir()}), io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), "in use by another program") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

func TestMigrateCommand(t *testing.T) {
	t.Parallel()
	env := onDatabase(t)
	for _, want := range []string{"migrations applied", "0 migrations applied"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"migrate"}, environment(env), &out, &errs); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("exit code %d: %s%s", code, &out, &errs)
		}
	}
}

// The protocols that streams come over; a stream that is open ends when the server does.
func TestProtocols(t *testing.T) {
	t.Parallel()
	env := onDatabase(t)
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	writeCertificate(t, certFile, keyFile, 1)
	clear := start(t, env)
	secure := start(t, env, "--tls-cert="+certFile, "--tls-key="+keyFile)
	if !strings.HasPrefix(secure.url, "https://") {
		t.Errorf("with TLS the address is %s", secure.url)
	}
	jerry := regexp.MustCompile(`JERRY=(\S+)`)
	for _, tt := range []struct {
		name  string
		p     *program
		set   func(*http.Protocols)
		proto string
	}{
		{"HTTP/1.1", clear, func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1"},
		{"HTTP/2 in clear", clear, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, "HTTP/2.0"},
		{"HTTP/1.1 over TLS", secure, func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1"},
		{"HTTP/2 over TLS", secure, func(p *http.Protocols) { p.SetHTTP2(true) }, "HTTP/2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			tt.set(tr.Protocols)
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr}
			if resp, body := fetch(t, client, tt.p.url+"/readyz"); resp.StatusCode != 200 || resp.Proto != tt.proto {
				t.Errorf("%s %s: %s", resp.Proto, resp.Status, body)
			}
			token := jerry.FindStringSubmatch(tt.p.page.String())[1]
			resp, err := client.Get(tt.p.url + "/v1/events?access_token=" + token)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			frames := bufio.NewScanner(resp.Body)
			for frames.Scan() && frames.Text() != "event: ready" {
			}
			if frames.Text() != "event: ready" {
				t.Errorf("no ready event on the stream: %v", frames.Err())
			}
		})
	}
	for _, p := range []*program{clear, secure} {
		resp, err := insecure().Get(p.url + "/v1/events?access_token=" + jerry.FindStringSubmatch(p.page.String())[1])
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if code := p.end(); code != 0 {
			t.Errorf("exit code %d with a stream open:\n%s", code, p.log)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Errorf("the stream was cut, not ended: %v", err)
		}
	}
}

func insecure() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// writeCertificate makes a certificate for this machine with a serial number of its own.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Files that change are read again; a change that is no good leaves the old certificate in place.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	env := onDatabase(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, 1)
	p := start(t, env, "--tls-cert="+certFile, "--tls-key="+keyFile)
	serial := func() int64 {
		resp, _ := fetch(t, insecure(), p.url+"/healthz")
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("serial %d", got)
	}
	writeCertificate(t, certFile, keyFile, 22)
	eventually(t, "the new certificate", func() bool { return serial() == 22 })
	if err := os.WriteFile(keyFile, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a warning", func() bool { return serial() == 22 && strings.Contains(p.log.String(), "the old one stays") })
}

func TestMetricsElsewhere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0") // free a moment ago
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	p := start(t, onDatabase(t), "--metrics-addr="+addr)
	if resp, _ := fetch(t, http.DefaultClient, p.url+"/metrics"); resp.StatusCode != 404 {
		t.Errorf("/metrics with the rest: %s", resp.Status)
	}
	resp, body := fetch(t, http.DefaultClient, "http://"+addr+"/metrics")
	for _, want := range []string{"parley_streams 0", "parley_http_requests_total", "go_sql_open_connections", "go_goroutines"} {
		if resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: no %s", resp.Status, want)
		}
	}
	if resp, _ := fetch(t, http.DefaultClient, "http://"+addr+"/healthz"); resp.StatusCode != 404 {
		t.Errorf("more than /metrics: %s", resp.Status)
	}
}

// The database goes away and comes back: the process lives, says so, and is ready again.
func TestReadiness(t *testing.T) {
	t.Parallel()
	srv := repotest.Cluster(t)
	p := start(t, map[string]string{"DATABASE_URL": srv.DSN(), "PARLEY_DATA_DIR": folder(t)})
	status := func(path string) int {
		resp, _ := fetch(t, http.DefaultClient, p.url+path)
		return resp.StatusCode
	}
	if got := status("/readyz"); got != 200 {
		t.Errorf("ready: %d", got)
	}
	srv.Kill()
	// Its workers answer until they notice.
	eventually(t, "503 without a database", func() bool { return status("/readyz") == 503 })
	if got := status("/healthz"); got != 200 {
		t.Errorf("health without a database: %d", got)
	}
	srv.Start()
	eventually(t, "readiness", func() bool { return status("/readyz") == 200 })
}

func TestListen(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", ":0"} {
		listeners, err := listen(t.Context(), addr)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		for _, l := range listeners {
			c, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port))
			if err != nil && addr != "[::1]:0" {
				t.Errorf("%s: %v", addr, err)
			}
			if err == nil {
				c.Close()
			}
		}
		closeAll(listeners)
	}
	if _, err := listen(t.Context(), "192.0.2.1:0"); err == nil || !strings.Contains(err.Error(), "no address of this machine") {
		t.Errorf("a foreign address: %v", err)
	}
}
