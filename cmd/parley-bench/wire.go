package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// wire is one keep-alive HTTP/1.1 connection for the hot load: requests are
// bytes made beforehand, answers are read into a buffer that is used again.
// The machine's cores are shared with the server, so every microsecond the
// generator saves is one the measurement keeps. Not safe concurrently.
type wire struct {
	conn net.Conn
	buf  []byte // grows to the largest answer seen
	n    int    // bytes in buf that are not consumed yet

	usedAt time.Time // when it was made; later kept by whoever lets it lie idle
}

// wireTimeout bounds one exchange; a server that hangs must not hang the run.
const wireTimeout = 30 * time.Second

// dialWire connects to addr from one of the loopback addresses.
func dialWire(ctx context.Context, addr string, source int) (*wire, error) {
	conn, err := dialFrom(ctx, addr, source)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, buf: make([]byte, 4096), usedAt: time.Now()}, nil
}

// stale: the server may be about to close it, as it does when 10 seconds pass before the first request.
func (w *wire) stale() bool { return time.Since(w.usedAt) > 8*time.Second }

// answer is what came back. Body is valid until the connection's next exchange.
type answer struct {
	status int
	head   []byte // status line and headers, each ending in CRLF
	body   []byte
}

// failure describes an answer that was not expected.
func (a answer) failure() error {
	body := a.body
	if len(body) > 300 {
		body = body[:300]
	}
	return fmt.Errorf("status %d: %s", a.status, bytes.TrimSpace(body))
}

func (w *wire) close() { _ = w.conn.Close() }

// do sends a whole request and reads its whole answer. After an error the
// connection is of no more use.
func (w *wire) do(request []byte) (answer, error) {
	if err := w.conn.SetDeadline(time.Now().Add(wireTimeout)); err != nil {
		return answer{}, err
	}
	return w.exchange(request)
}

// exchange is do without a deadline of its own: the hot loops set one for the
// whole window instead of one per request.
func (w *wire) exchange(request []byte) (answer, error) {
	if _, err := w.conn.Write(request); err != nil {
		return answer{}, err
	}
	end, err := w.readHead()
	if err != nil {
		return answer{}, err
	}
	a := answer{head: w.buf[:end-2]}
	if a.status, err = parseStatus(a.head); err != nil {
		return answer{}, err
	}
	if a.status == 204 || a.status == 304 {
		w.consume(end)
		return a, nil
	}
	if headerValue(a.head, "content-length") == nil && headerValue(a.head, "transfer-encoding") != nil {
		a.body, err = w.readChunked(end)
		return a, err
	}
	length, err := strconv.Atoi(string(headerValue(a.head, "content-length")))
	if err != nil {
		return answer{}, fmt.Errorf("answer has no usable Content-Length: %w", err)
	}
	if err := w.fill(end + length); err != nil {
		return answer{}, err
	}
	a.head, a.body = w.buf[:end-2], w.buf[end:end+length]
	w.consume(end + length)
	return a, nil
}

// readHead reads up to the empty line and returns where the body begins.
func (w *wire) readHead() (int, error) {
	searched := 0
	for {
		if i := bytes.Index(w.buf[searched:w.n], []byte("\r\n\r\n")); i >= 0 {
			return searched + i + 4, nil
		}
		searched = max(0, w.n-3)
		if err := w.fill(w.n + 1); err != nil {
			return 0, err
		}
	}
}

// readChunked joins the chunks of a body that begins at start.
func (w *wire) readChunked(start int) ([]byte, error) {
	var body []byte
	var d dechunker
	for {
		used, done, err := d.feed(w.buf[start:w.n], func(b []byte) { body = append(body, b...) })
		if err != nil {
			return nil, err
		}
		start += used
		if done {
			w.consume(start)
			return body, nil
		}
		if err := w.fill(w.n + 1); err != nil {
			return nil, err
		}
	}
}

// fill reads until buf holds at least want bytes.
func (w *wire) fill(want int) error {
	for w.n < want {
		if want > len(w.buf) {
			w.buf = append(w.buf, make([]byte, max(want-len(w.buf), len(w.buf)))...)
		}
		n, err := w.conn.Read(w.buf[w.n:])
		w.n += n
		if err != nil && w.n < want {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// consume forgets the first n bytes. What follows them would be an answer
// nobody asked for; there is none without pipelining, so nothing is moved
// under the slices handed out.
func (w *wire) consume(n int) {
	if n < w.n {
		w.buf = append([]byte(nil), w.buf...)
		copy(w.buf, w.buf[n:w.n])
	}
	w.n -= n
}

// parseStatus takes the code out of "HTTP/1.1 201 Created".
func parseStatus(head []byte) (int, error) {
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.")) {
		return 0, fmt.Errorf("not an HTTP/1.1 answer: %.40q", head)
	}
	return strconv.Atoi(string(head[9:12]))
}

// headerValue finds a header by its lower-case name; nil when it is absent.
func headerValue(head []byte, name string) []byte {
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\r\n"))
		head = rest
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}
