package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyring signs the clients' tokens with the secret that the server was given. Safe concurrently.
type keyring struct {
	secret string

	mu     sync.Mutex
	tokens map[string]string
}

func newKeyring() *keyring {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return &keyring{secret: hex.EncodeToString(b), tokens: map[string]string{}}
}

// anyServer stands for the name of a client where a server token is meant.
const anyServer = ""

// token is the client's token; the same one every time, as a browser would send it.
func (k *keyring) token(client string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t, ok := k.tokens[client]; ok {
		return t
	}
	now := time.Now()
	claims := jwt.MapClaims{"sub": client, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()}
	if client == anyServer {
		claims["sub"], claims["scope"] = "backend", "server"
	}
	t, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(k.secret))
	if err != nil {
		panic(fmt.Sprintf("sign a token: %v", err)) // only a wrong key type makes it fail
	}
	k.tokens[client] = t
	return t
}

// post makes the bytes of a whole POST request.
func (k *keyring) post(addr, client, path, body string, headers ...string) []byte {
	return k.request("POST", addr, client, path, body, headers...)
}

// get makes the bytes of a whole GET request.
func (k *keyring) get(addr, client, path string) []byte {
	return k.request("GET", addr, client, path, "")
}

func (k *keyring) request(method, addr, client, path, body string, headers ...string) []byte {
	r := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, addr, k.token(client))
	if body != "" {
		r = fmt.Appendf(r, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	for _, h := range headers {
		r = append(r, h+"\r\n"...)
	}
	return append(append(r, "\r\n"...), body...)
}
