package systest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Frame is one event as it came over the wire.
type Frame struct {
	ID    string // empty: none
	Event string
	Data  json.RawMessage
}

func (f Frame) String() string { return fmt.Sprintf("%s %s [%s]", f.Event, f.Data, f.ID) }

// Durable reports whether the log holds it: all else with an id only marks a place.
func (f Frame) Durable() bool {
	return f.ID != "" && f.Event != "ready" && f.Event != "reset" && f.Event != "ping"
}

// Into decodes the data.
func (f Frame) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(f.Data, v); err != nil {
		t.Fatalf("%v: %s", err, f)
	}
}

// Device is one session of a client, which may connect, be cut and come back. It
// behaves as an EventSource does: it remembers the last id and keeps all it got.
type Device struct {
	Client  *Client
	Session string
	Query   url.Values // further parameters
	Roam    []*Server  // where Connect goes by turns; empty: to the client's server

	mu      sync.Mutex
	frames  []Frame
	last    string
	retry   int           // milliseconds, as the server last said
	turns   int           // through Roam
	changed chan struct{} // closed and renewed with every change
	held    chan struct{} // closed when reading may begin; nil: at once
	over    chan struct{} // closed when the present connection is; nil before the first
	cancel  context.CancelFunc
}

// Device is a session of the client that is not connected yet. query is names and values by turns.
func (c *Client) Device(session string, query ...string) *Device {
	d := &Device{Client: c, Session: session, Query: url.Values{}, changed: make(chan struct{})}
	for i := 0; i+1 < len(query); i += 2 {
		d.Query.Set(query[i], query[i+1])
	}
	return d
}

// Open is a device that is connected until the test ends.
func (c *Client) Open(t testing.TB, session string, query ...string) *Device {
	t.Helper()
	d := c.Device(session, query...)
	t.Cleanup(d.Cut)
	if status, err := d.Connect(); err != nil || status != 200 {
		t.Fatalf("open a stream of %s: %d, %v", c.ID, status, err)
	}
	d.Await(t, "ready", func(f Frame) bool { return f.Event == "ready" })
	return d
}

// Connect opens the stream, behind the last id if there is one, and returns the
// status. With 200 it goes on in the background.
func (d *Device) Connect() (int, error) {
	d.mu.Lock()
	last, server := d.last, d.Client.Server
	if len(d.Roam) > 0 {
		server = d.Roam[d.turns%len(d.Roam)]
		d.turns++
	}
	q := url.Values{}
	for k, v := range d.Query {
		q[k] = v
	}
	if d.Session != "" {
		q.Set("session", d.Session)
	}
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL()+"/v1/events?"+q.Encode(), nil)
	if err != nil {
		cancel()
		return 0, err
	}
	if d.Client.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.Client.Token)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	client := *d.Client.HTTP
	client.Timeout = 0
	stop := time.AfterFunc(Patience, cancel) // for the head alone
	resp, err := client.Do(req)
	stop.Stop()
	if err != nil {
		cancel()
		return 0, err
	}
	if resp.StatusCode != 200 {
		defer cancel()
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	over := make(chan struct{})
	d.mu.Lock()
	d.cancel, d.over = cancel, over
	held := d.held
	d.mu.Unlock()
	go func() {
		if held != nil {
			<-held
		}
		_ = Read(resp.Body, d.take, d.retryAfter)
		resp.Body.Close()
		cancel()
		close(over)
		d.notify()
	}()
	return 200, nil
}

func (d *Device) take(f Frame) {
	d.mu.Lock()
	d.frames = append(d.frames, f)
	if f.ID != "" {
		d.last = f.ID
	}
	d.mu.Unlock()
	d.notify()
}

func (d *Device) retryAfter(ms int) {
	d.mu.Lock()
	d.retry = ms
	d.mu.Unlock()
	d.notify()
}

func (d *Device) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// Hold has the device read nothing of the next connection until Go.
func (d *Device) Hold() { d.held = make(chan struct{}) }

// Go lets a held device read.
func (d *Device) Go() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		close(d.held)
		d.held = nil
	}
}

// Cut breaks the connection and waits until nothing more can come by it.
func (d *Device) Cut() {
	d.mu.Lock()
	cancel, over := d.cancel, d.over
	d.mu.Unlock()
	if over == nil {
		return
	}
	cancel()
	d.Go()
	<-over
}

// Ended reports whether the stream is over; true before the first.
func (d *Device) Ended() bool {
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	if over == nil {
		return true
	}
	select {
	case <-over:
		return true
	default:
		return false
	}
}

// AwaitEnd waits until the server has ended the stream.
func (d *Device) AwaitEnd(t testing.TB) {
	t.Helper()
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	select {
	case <-over:
	case <-time.After(Patience):
		t.Fatalf("the stream of %s does not end; it got %v", d.Session, d.Frames())
	}
}

// Frames is what came so far, over all connections.
func (d *Device) Frames() []Frame {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Frame(nil), d.frames...)
}

// Durable is what came so far of the log.
func (d *Device) Durable() []Frame {
	var found []Frame
	for _, f := range d.Frames() {
		if f.Durable() {
			found = append(found, f)
		}
	}
	return found
}

// Last is the last event id.
func (d *Device) Last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Retry is what the server last said about reconnecting, in milliseconds.
func (d *Device) Retry() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.retry
}

// Await waits for a frame, any that came ever, and returns the first.
func (d *Device) Await(t testing.TB, what string, ok func(Frame) bool) Frame {
	t.Helper()
	return d.AwaitBehind(t, 0, what, ok)
}

// AwaitBehind is Await that does not look at the first n frames.
func (d *Device) AwaitBehind(t testing.TB, n int, what string, ok func(Frame) bool) Frame {
	t.Helper()
	deadline := time.After(Patience)
	for {
		d.mu.Lock()
		frames, changed := d.frames, d.changed
		d.mu.Unlock()
		for ; n < len(frames); n++ {
			if ok(frames[n]) {
				return frames[n]
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s (%s) waits in vain for %s; it got %v", d.Session, d.Client.ID, what, d.Frames())
		}
	}
}

// AwaitEvent waits for the first event of that name.
func (d *Device) AwaitEvent(t testing.TB, name string) Frame {
	t.Helper()
	return d.Await(t, name, func(f Frame) bool { return f.Event == name })
}

// AwaitText waits for the message with that text.
func (d *Device) AwaitText(t testing.TB, text string) Frame {
	t.Helper()
	return d.Await(t, "the message "+text, func(f Frame) bool { return f.Event == "message" && TextOf(f) == text })
}

// TextOf is the text of the message in an event.
func TextOf(f Frame) string {
	var v struct{ Message Message }
	_ = json.Unmarshal(f.Data, &v)
	return v.Message.Text
}

// Texts are those of all message events that came, in order.
func (d *Device) Texts() []string {
	var texts []string
	for _, f := range d.Frames() {
		if f.Event == "message" {
			texts = append(texts, TextOf(f))
		}
	}
	return texts
}

// Follow keeps the device connected, as an EventSource does but more impatiently,
// until ctx ends or the server says 204. It reports what an EventSource would not survive.
func (d *Device) Follow(ctx context.Context) error {
	defer d.Cut()
	for ctx.Err() == nil {
		status, err := d.Connect()
		if err != nil { // no connection: an EventSource tries again
			pause(ctx, 50*time.Millisecond)
			continue
		}
		if status == 204 {
			return nil
		}
		if status != 200 {
			return fmt.Errorf("%s: the stream was answered with %d, which ends an EventSource for good", d.Session, status)
		}
		d.mu.Lock()
		over := d.over
		d.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Read parses an event stream until it ends. An event that was cut off is not one.
func Read(r io.Reader, take func(Frame), retry func(ms int)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var f Frame
	var data [][]byte
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 {
			if f.Event != "" || data != nil || f.ID != "" {
				f.Data = bytes.Join(data, []byte("\n"))
				take(f)
			}
			f, data = Frame{}, nil
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			f.ID = string(value)
		case "event":
			f.Event = string(value)
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.Atoi(string(value)); err == nil {
				retry(ms)
			}
		default:
			return fmt.Errorf("a line that API.md does not know: %q", line)
		}
	}
}

// Forget has the device start afresh the next time, as a page does that is loaded anew.
func (d *Device) Forget() { d.Resume("") }

// Resume has the device continue behind a position the next time.
func (d *Device) Resume(position string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = position
}
