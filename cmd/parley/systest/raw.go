package systest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Raw is a stream over a bare socket, which the test reads itself, or does not.
type Raw struct {
	Conn net.Conn
	in   *bufio.Reader
}

// Raw opens a stream whose socket holds little. It has read the head of the response.
func (c *Client) Raw(t testing.TB, session, last string, query ...string) *Raw {
	t.Helper()
	d := net.Dialer{Timeout: Patience, Control: smallBuffer}
	conn, err := d.DialContext(t.Context(), "tcp", c.Server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	q := url.Values{"session": {session}}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	var head strings.Builder
	fmt.Fprintf(&head, "GET /v1/events?%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", q.Encode(), c.Server.Addr, c.Token)
	if last != "" {
		fmt.Fprintf(&head, "Last-Event-ID: %s\r\n", last)
	}
	if _, err := io.WriteString(conn, head.String()+"\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReaderSize(conn, 512)
	_ = conn.SetReadDeadline(time.Now().Add(Patience))
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 200 || len(resp.TransferEncoding) > 0 {
		t.Fatalf("open a raw stream: %+v, %v", resp, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return &Raw{conn, in}
}

// Until reads until a frame that ok accepts, or the end, or the deadline, and returns all that came.
func (r *Raw) Until(deadline time.Time, ok func(Frame) bool) ([]Frame, error) {
	_ = r.Conn.SetReadDeadline(deadline)
	var frames []Frame
	found := false
	err := Read(untilFound{r.in, &found}, func(f Frame) {
		frames = append(frames, f)
		found = found || ok(f)
	}, func(int) {})
	if found {
		err = nil
	} else if err == nil {
		err = io.EOF
	}
	return frames, err
}

// untilFound is a reader that ends when the frame was found. It gives a byte at a
// time, so that nothing behind the frame is lost to whoever reads on.
type untilFound struct {
	in    *bufio.Reader
	found *bool
}

func (u untilFound) Read(p []byte) (int, error) {
	if *u.found {
		return 0, io.EOF
	}
	return u.in.Read(p[:min(1, len(p))])
}
