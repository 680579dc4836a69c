package systest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/openapi/openapitest"
)

// Protocol is how a client speaks to the server.
type Protocol int

// The protocols; over TLS each of the two comes by the same name.
const (
	HTTP1 Protocol = iota
	HTTP2
)

func transport(p Protocol, fresh bool) *http.Transport {
	t := &http.Transport{
		Protocols: new(http.Protocols), DisableKeepAlives: fresh, MaxIdleConnsPerHost: 64, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	if p == HTTP1 {
		t.Protocols.SetHTTP1(true)
	} else {
		t.Protocols.SetHTTP2(true)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	return t
}

var shared = sync.OnceValue(func() *http.Transport { return transport(HTTP1, false) })

// checked goes over a transport, and holds what it sees to the OpenAPI document.
func checked(t testing.TB, over http.RoundTripper) *http.Client {
	t.Helper()
	return &http.Client{Transport: openapitest.Transport(t, over), Timeout: 60 * time.Second}
}

// Token mints a token for a client. change may alter the claims.
func Token(client string, change ...func(jwt.MapClaims)) string {
	now := time.Now()
	claims := jwt.MapClaims{"sub": client, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for _, f := range change {
		f(claims)
	}
	kid, secret, _ := strings.Cut(Secret, ":")
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString([]byte(secret))
	if err != nil {
		panic(err)
	}
	return text
}

// ServerToken mints a token that may do everything.
func ServerToken() string {
	return Token("operator", func(c jwt.MapClaims) { c["scope"] = "server" })
}

// Client is somebody who calls a server.
type Client struct {
	Server *Server
	ID     string
	Token  string
	HTTP   *http.Client
}

// As is a client of this server with a token of its own.
func (s *Server) As(id string) *Client {
	return &Client{Server: s, ID: id, Token: Token(id), HTTP: checked(s.t, shared())}
}

// Operator is the application's own server.
func (s *Server) Operator() *Client {
	return &Client{Server: s, ID: "", Token: ServerToken(), HTTP: checked(s.t, shared())}
}

// Over is the same client with connections of its own that speak a protocol.
func (c Client) Over(t testing.TB, p Protocol) *Client {
	tr := transport(p, false)
	t.Cleanup(tr.CloseIdleConnections)
	c.HTTP = checked(t, tr)
	return &c
}

// At is the same client at another server.
func (c Client) At(s *Server) *Client {
	c.Server = s
	return &c
}

// Answer is a response that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a *Answer) String() string { return fmt.Sprintf("%d %s", a.Status, bytes.TrimSpace(a.Body)) }

// Code is the code of a problem.
func (a *Answer) Code() string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.Body, &p)
	return p.Code
}

// Into decodes the body.
func (a *Answer) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
}

// Try asks. It fails only when there is no whole answer. header is names and values by turns.
func (c *Client) Try(ctx context.Context, method, path string, body any, header ...string) (*Answer, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Server.URL()+path, payload)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &Answer{resp.StatusCode, resp.Header, b}, nil
}

// Do is Try that fails the test.
func (c *Client) Do(t testing.TB, method, path string, body any, header ...string) *Answer {
	t.Helper()
	a, err := c.Try(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// Want is Do with the status that it must have.
func (c *Client) Want(t testing.TB, status int, method, path string, body any, header ...string) *Answer {
	t.Helper()
	a := c.Do(t, method, path, body, header...)
	if a.Status != status {
		t.Fatalf("%s %s as %q: %s, want %d", method, path, c.ID, a, status)
	}
	return a
}

// Object is JSON.
type Object = map[string]any

// Create makes a conversation of the client and others, and returns its id.
func (c *Client) Create(t testing.TB, others ...string) string {
	t.Helper()
	var made struct{ ID string }
	c.Want(t, 201, "POST", "/v1/conversations", Object{"members": append([]string{}, others...)}).Into(t, &made)
	return made.ID
}

// Message is what tests look at of a message.
type Message struct {
	ID, ConversationID, From, Text, IdempotencyKey string
	Seq                                            int64
}

// Say sends a text and returns the stored message.
func (c *Client) Say(t testing.TB, conversation, text string, header ...string) Message {
	t.Helper()
	var m Message
	c.Want(t, 201, "POST", "/v1/conversations/"+conversation+"/messages", Object{"type": "text", "text": text}, header...).Into(t, &m)
	return m
}

// History reads all messages of a conversation, oldest first.
func (c *Client) History(t testing.TB, conversation string) []Message {
	t.Helper()
	var all []Message
	path := "/v1/conversations/" + conversation + "/messages"
	for query := "?direction=old_to_new&limit=1000"; ; {
		var page struct {
			Items []Message
			Next  *string
		}
		c.Want(t, 200, "GET", path+query, nil).Into(t, &page)
		all = append(all, page.Items...)
		if page.Next == nil {
			return all
		}
		query = "?cursor=" + *page.Next
	}
}

// Session is an item of GET /v1/sessions.
type Session struct {
	ID        string
	Tag       *string
	Connected bool
}

// Sessions lists the client's own.
func (c *Client) Sessions(t testing.TB) map[string]Session {
	t.Helper()
	var page struct{ Items []Session }
	c.Want(t, 200, "GET", "/v1/sessions", nil).Into(t, &page)
	found := make(map[string]Session, len(page.Items))
	for _, s := range page.Items {
		found[s.ID] = s
	}
	return found
}

// Unique is a name that no other test uses.
func Unique(prefix string) string { return prefix + "-" + rand.Text()[:10] }
