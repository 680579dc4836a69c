package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

func BenchmarkVerify(b *testing.B) {
	s := signers()
	keys, err := NewKeys(KeyConfig{Secrets: []Secret{{Value: secretA}}})
	if err != nil {
		b.Fatal(err)
	}
	keys.local = append(keys.local, key{alg: "RS256", value: &s.rsa.PublicKey}, key{alg: "ES256", value: &s.ec.PublicKey}, key{alg: "EdDSA", value: s.ed.Public()})
	tokens := map[string]string{
		"HS256": hs256(b, secretA, claimsOf("Tom")),
		"RS256": sign(b, jwt.SigningMethodRS256, nil, s.rsa, claimsOf("Tom")),
		"ES256": sign(b, jwt.SigningMethodES256, nil, s.ec, claimsOf("Tom")),
		"EdDSA": sign(b, jwt.SigningMethodEdDSA, nil, s.ed, claimsOf("Tom")),
	}
	for _, alg := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
		b.Run(alg+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keys.check(tokens[alg]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := keys.verify(tokens["HS256"]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type nullWriter struct{ h http.Header }

func (w nullWriter) Header() http.Header         { return w.h }
func (w nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w nullWriter) WriteHeader(int)             {}

// BenchmarkRequest is all that api adds to an endpoint that does nothing: routing, origin, token,
// revocation, limit, metrics; without a log.
func BenchmarkRequest(b *testing.B) {
	srv := testServer(b, Config{
		Limits:  Limits{Sends: 1 << 30, Reads: 1 << 30, Other: 1 << 30},
		Revoked: func(string) (time.Time, bool) { return time.Time{}, false },
	}, func(s *server) []*route {
		return []*route{post("/v1/conversations/{id}/messages", sends, s.client(func(http.ResponseWriter, *http.Request, model.Caller) error { return nil }))}
	})
	r := httptest.NewRequest("POST", "/v1/conversations/ABCDEFGHIJKLMNOPQRSTUVWXYZ/messages", nil)
	r.Header.Set("Authorization", "Bearer "+clientToken(b, "Tom"))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		mine := r.Clone(b.Context())
		w := nullWriter{http.Header{}}
		for pb.Next() {
			clear(w.h)
			srv.ServeHTTP(w, mine)
		}
	})
}

func BenchmarkLimiter(b *testing.B) {
	l, rt := newLimiter(), &route{}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.take("Tom", rt, 1<<30)
		}
	})
}
