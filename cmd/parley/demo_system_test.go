package main_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// The page is there with the generated key unless it is switched off, and with other keys if it is switched on; tokens are given away with the generated key alone.
func TestDemoPage(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	for _, c := range []struct {
		settings   []string
		page, mint int
	}{
		{[]string{"PARLEY_JWT_SECRETS="}, 200, 200},
		{[]string{"PARLEY_JWT_SECRETS=", "PARLEY_DEMO=false"}, 404, 404},
		{nil, 404, 404},
		{[]string{"PARLEY_DEMO=true"}, 200, 404},
	} {
		s := systest.Start(t, dsn, c.settings...)
		nobody := &systest.Client{Server: s, HTTP: http.DefaultClient}
		for _, path := range []string{"/", "/page/app.js"} {
			if a := nobody.Do(t, "GET", path, nil); a.Status != c.page || c.page == 404 && a.Code() != "not_found" {
				t.Errorf("%q: %s: %d, want %d", c.settings, path, a.Status, c.page)
			}
		}
		resp, err := http.Post(s.URL()+"/page/token", "text/plain", strings.NewReader("Tom"))
		if err != nil {
			t.Fatal(err)
		}
		token, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.mint {
			t.Errorf("%q: a token: %d %s, %v, want %d", c.settings, resp.StatusCode, token, err, c.mint)
		}
		if c.mint != 200 {
			continue
		}
		tom := &systest.Client{Server: s, ID: "Tom", Token: string(token), HTTP: http.DefaultClient}
		tom.Create(t, "Jerry")
		if a := tom.Do(t, "GET", "/v1/stats", nil); a.Code() != "server_scope_required" {
			t.Errorf("the token may do what a server may: %s", a)
		}
	}
}
