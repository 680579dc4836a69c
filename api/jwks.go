package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"

	"parley/model"
)

const (
	jwksRefetchEvery = time.Minute     // for kids that are not known
	jwksRetryEvery   = 5 * time.Second // while it has never been had
	jwksStaleAfter   = 5 * time.Minute // so that withdrawn keys go
	jwksTimeout      = 5 * time.Second
	jwksMaxBytes     = 1 << 20
)

// jwks holds the keys published at a URL. It is fetched when first asked for,
// again for a kid that it does not know, and in the background when it has
// grown old in use. When a fetch fails the keys last seen stay good.
type jwks struct {
	url    string
	client *http.Client
	log    *slog.Logger
	now    func() time.Time

	fetching sync.Mutex // held during a fetch; taken before mu

	mu sync.Mutex
	jwksState
}

type jwksState struct {
	keys        keySet
	attempts    int       // fetches ended, well or not
	triedAt     time.Time // end of the last one
	loadedAt    time.Time // end of the last that went well; zero: none yet
	refetchedAt time.Time // end of the last one made for an unknown kid
}

func newJWKS(url string, log *slog.Logger, now func() time.Time) *jwks {
	client := &http.Client{
		Timeout: jwksTimeout,
		// A redirect could lead away from https.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &jwks{url: url, client: client, log: log, now: now}
}

// keys returns the published keys, after a fetch when that may bring the one
// named kid. It fails with unavailable while there never was an answer.
func (j *jwks) keys(kid string, named bool) (keySet, error) {
	st, now := j.state(), j.now()
	switch {
	case st.loadedAt.IsZero():
		if now.Sub(st.triedAt) >= jwksRetryEvery {
			st = j.fetchUnlessDone(st.attempts, false)
		}
	case named && !st.keys.has(kid):
		if now.Sub(st.refetchedAt) >= jwksRefetchEvery {
			st = j.fetchUnlessDone(st.attempts, true)
		}
	case now.Sub(st.loadedAt) >= jwksStaleAfter && now.Sub(st.triedAt) >= jwksRefetchEvery:
		if j.fetching.TryLock() {
			go func() {
				defer j.fetching.Unlock()
				j.fetch(false)
			}()
		}
	}
	if st.loadedAt.IsZero() {
		err := model.NewError(model.Unavailable, "the keys that tokens are checked with cannot be fetched")
		err.RetryAfter = int(jwksRetryEvery / time.Second)
		return nil, err
	}
	return st.keys, nil
}

func (j *jwks) state() jwksState {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.jwksState
}

// fetchUnlessDone makes many that wait share one fetch: it does nothing when one has ended since the caller looked.
func (j *jwks) fetchUnlessDone(attempts int, unknownKid bool) jwksState {
	j.fetching.Lock()
	defer j.fetching.Unlock()
	if st := j.state(); st.attempts != attempts {
		return st
	}
	return j.fetch(unknownKid)
}

// fetch is called with fetching held.
func (j *jwks) fetch(unknownKid bool) jwksState {
	keys, err := j.get()
	if err != nil {
		j.log.Warn("fetching the JWKS", "error", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attempts++
	j.triedAt = j.now()
	if unknownKid {
		j.refetchedAt = j.triedAt
	}
	if err == nil {
		j.jwksState.keys, j.loadedAt = keys, j.triedAt
	}
	return j.jwksState
}

func (j *jwks) get() (keySet, error) {
	// Not the request's context: others wait for the same answer.
	ctx, cancel := context.WithTimeout(context.Background(), jwksTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := j.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", res.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, jwksMaxBytes)).Decode(&set); err != nil {
		return nil, fmt.Errorf("its answer is not a key set: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New(`its answer is not a key set: no "keys"`)
	}
	var keys keySet
	for i, raw := range set.Keys {
		k, err := keyOfJWK(raw)
		if err != nil {
			j.log.Debug("a key of the JWKS is not used", "index", i, "reason", err)
			continue
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func keyOfJWK(raw []byte) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return key{}, err
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return key{}, fmt.Errorf("its use is %q", m.USE)
	}
	// Certificates beside the key say nothing that we check, and following x5u would call elsewhere.
	m.X5C, m.X5T, m.X5TS256, m.X5U = nil, "", "", ""
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, err
	}
	alg, err := algorithmOf(parsed.Key())
	if err != nil {
		return key{}, err
	}
	if m.ALG != "" && string(m.ALG) != alg {
		return key{}, fmt.Errorf("it is for %s", m.ALG)
	}
	return key{kid: m.KID, alg: alg, value: parsed.Key()}, nil
}
