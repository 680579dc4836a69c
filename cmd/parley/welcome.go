package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// greet prints where the server is. With the generated key it also prints a first
// conversation, to be pasted line by line; with one of the operator's no token is
// shown to whoever reads the output.
func greet(w io.Writer, c config, generated bool, addr *net.TCPAddr) {
	url := c.url(addr)
	fmt.Fprintf(w, "\nParley is ready at %s\nIts documentation: %s/docs\n", url, url)
	if c.serveDemo(generated) {
		fmt.Fprintf(w, "A chat in the browser: %s/\n", url)
	}
	if !generated {
		return
	}
	now := time.Now()
	tom, err := c.sign("Tom", false, 24*time.Hour, now)
	if err != nil {
		return // impossible with a secret
	}
	jerry, err := c.sign("Jerry", false, 24*time.Hour, now)
	if err != nil {
		return
	}
	fmt.Fprintf(w, firstConversation, url, tom, jerry, c.dataDir)
}

// firstConversation works as it stands in any shell, pasted at once or line by line. The conversation is
// unique, so that the lines can be pasted again.
const firstConversation = `
Try it: paste these lines into another terminal. Tom writes, Jerry hears.

URL=%s
TOM=%s
JERRY=%s

# Tom opens a conversation with Jerry.
ID=$(curl -s "$URL/v1/conversations" -H "Authorization: Bearer $TOM" -H "Content-Type: application/json" -d '{"members": ["Jerry"], "unique": true}' | sed 's/^{"id": *"\([^"]*\)".*/\1/'); echo "$ID"

# Jerry listens, in the background.
curl -sN "$URL/v1/events?session=laptop" -H "Authorization: Bearer $JERRY" & sleep 1

# Tom says hello: it appears on Jerry's stream.
curl -s "$URL/v1/conversations/$ID/messages" -H "Authorization: Bearer $TOM" -H "Content-Type: application/json" -d '{"type": "text", "text": "hello Jerry"}'; echo

# Jerry looks back at what was said.
curl -s "$URL/v1/conversations/$ID/messages" -H "Authorization: Bearer $JERRY"; echo

# Jerry stops listening.
sleep 1; kill $!

The key that signed these tokens is in %s: only this machine is served with it.
More tokens: parley token --client Mary. All settings: parley serve --help. Stop with Ctrl-C.

`

// url is where to reach the server from this machine, or as its operator says.
func (c *config) url(addr *net.TCPAddr) string {
	if c.publicURL != "" {
		return c.publicURL
	}
	scheme, host := "http", addr.IP.String()
	if c.tlsCert != "" {
		scheme = "https"
	}
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}
