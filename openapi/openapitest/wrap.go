package openapitest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Transport checks everything that goes through next (nil: http.DefaultTransport),
// streams event by event as they are read, and reports to t.
func Transport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	if next == nil {
		next = http.DefaultTransport
	}
	return &transport{newChecker(t), next}
}

// Client returns an http.Client whose traffic is checked.
func Client(t testing.TB) *http.Client {
	t.Helper()
	return &http.Client{Transport: Transport(t, nil)}
}

type transport struct {
	*checker
	next http.RoundTripper
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent copied
	out := r
	if r.Body != nil && r.Body != http.NoBody {
		out = r.Clone(r.Context())
		out.Body = sent.of(r.Body)
		if r.GetBody != nil { // the request may be sent again
			out.GetBody = func() (io.ReadCloser, error) {
				body, err := r.GetBody()
				return sent.of(body), err
			}
		}
	}
	res, err := tr.next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	x := &exchange{request: r, status: res.StatusCode, header: res.Header}
	if x.streams() {
		tr.check(x)
		res.Body = &checkedStream{res.Body, frames{checker: tr.checker}}
		return res, nil
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil { // the test shall see what came, and the error
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
		return res, nil
	}
	x.body, x.sent = body, sent.bytes()
	tr.check(x)
	return res, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// copied collects a body while another goroutine may still send it.
type copied struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// of starts anew and returns body, which will be copied as it is read.
func (c *copied) of(body io.ReadCloser) io.ReadCloser {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.Reset()
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(body, c), body}
}

func (c *copied) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *copied) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.b.Bytes())
}

// checkedStream checks an event stream while it is read.
type checkedStream struct {
	io.ReadCloser
	frames frames
}

func (s *checkedStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.frames.take(p[:n])
	return n, err
}

// Handler checks everything that next answers and reports to t. A stream that takes the
// connection over is beyond its reach: use Transport for those.
func Handler(t testing.TB, next http.Handler) http.Handler {
	t.Helper()
	c := newChecker(t)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent copied
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = sent.of(r.Body)
		}
		rec := &recorder{ResponseWriter: w, frames: frames{checker: c}}
		next.ServeHTTP(rec, r)
		if rec.hijacked {
			return
		}
		x := &exchange{request: r, sent: sent.bytes(), status: rec.status, header: w.Header()}
		if x.status == 0 {
			x.status = http.StatusOK
		}
		if !x.streams() {
			x.body = rec.body.Bytes()
		}
		c.check(x)
	})
}

// recorder keeps what an endpoint writes, of a stream only what is not yet a frame.
type recorder struct {
	http.ResponseWriter
	status   int
	body     bytes.Buffer
	frames   frames
	hijacked bool
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if x := (exchange{status: w.status, header: w.Header()}); x.streams() {
		w.frames.take(p)
	} else {
		w.body.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return conn, rw, err
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
