package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/format"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"parley/cmd/parley/systest"
)

// The page for those who write an application's server: whatever it shows is run
// here, as it stands, against a server that is configured as the page says.

const joseVersion = "6.2.17"

// block is a piece of code of a page.
type block struct {
	language string
	name     string // of the file that it is; "setup" for what comes before the server starts
	text     string
}

func blocksOf(t *testing.T, path string) (list []block) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fences := regexp.MustCompile("(?ms)^```(\\S*)[ \t]*(.*?)\n(.*?)^```$")
	for _, m := range fences.FindAllStringSubmatch(string(page), -1) {
		list = append(list, block{m[1], m[2], m[3]})
	}
	return list
}

// tool finds a program that the examples need.
func tool(t *testing.T, name, why string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing, %s: make tools installs it", name, why)
	}
	return path
}

// python finds a Python that has PyJWT: Debian installs that for its own one, which need not be the first.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import jwt, cryptography").Run() == nil {
			return path
		}
	}
	t.Fatal("no Python with the packages PyJWT and cryptography, which examples of docs/AUTH.md need: make tools installs them")
	return ""
}

// workshop is the folder where the examples of a page are run.
type workshop struct {
	t   *testing.T
	dir string
	env []string
}

// run runs a program to its end and returns what it prints.
func (w *workshop) run(dir, program string, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), w.env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("%s %v: %v\n%s%s", filepath.Base(program), args, err, out, &errs)
	}
	return string(out)
}

// shell runs a script, and keeps the variables that it exports.
func (w *workshop) shell(script string) string {
	w.t.Helper()
	out := w.run(w.dir, tool(w.t, "bash", "which runs examples of docs/AUTH.md"), "-euo", "pipefail", "-c", script+"\nprintf '\\0'; env -0")
	printed, env, _ := strings.Cut(out, "\x00")
	w.env = strings.Split(strings.TrimSuffix(env, "\x00"), "\x00")
	return printed
}

func (w *workshop) variable(name string) string {
	for _, v := range w.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	w.t.Errorf("the page does not set %s", name)
	return ""
}

// program writes an example into the folder and runs it.
func (w *workshop) program(b block, args ...string) []string {
	w.t.Helper()
	path := filepath.Join(w.dir, b.name)
	if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	var out string
	switch b.language {
	case "go":
		if pretty, err := format.Source([]byte(b.text)); err != nil || string(pretty) != b.text {
			w.t.Errorf("%s is not as gofmt writes it: %v", b.name, err)
		}
		here, err := os.Getwd() // within the module, which knows the library
		if err != nil {
			w.t.Fatal(err)
		}
		out = w.run(here, tool(w.t, "go", "which runs examples of docs/AUTH.md"), append([]string{"run", path}, args...)...)
	case "js":
		out = w.run(w.dir, tool(w.t, "node", "which runs examples of docs/AUTH.md"), append([]string{path}, args...)...)
	case "python":
		out = w.run(w.dir, python(w.t), append([]string{path}, args...)...)
	}
	return strings.Fields(out)
}

// request sends one with a token and, unless it is empty, a grant.
func request(t *testing.T, method, url, body, token, grant string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if grant != "" {
		req.Header.Set("Parley-Grant", grant)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func TestAuthPage(t *testing.T) {
	t.Parallel()
	w := &workshop{t: t, dir: t.TempDir(), env: os.Environ()}
	if err := os.Symlink(systest.Program(t), filepath.Join(w.dir, "parley")); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "PATH="+w.dir+":"+os.Getenv("PATH"))
	w.run(w.dir, tool(t, "npm", "which fetches a library for examples of docs/AUTH.md"), "install", "--silent", "--no-save", "--no-audit", "--no-fund", "jose@"+joseVersion)

	var setup, script strings.Builder
	var issuers []block
	lone := make(map[string]block)
	for _, b := range blocksOf(t, "../../docs/AUTH.md") {
		switch {
		case b.language == "sh" && b.name == "setup":
			setup.WriteString(b.text)
		case b.language == "sh" && b.name == "":
			script.WriteString(b.text + "\n")
		case strings.HasPrefix(b.name, "issue."):
			issuers = append(issuers, b)
		case b.name == "pem.py", b.name == "jwks.mjs":
			lone[b.name] = b
		case b.language == "json":
			if err := json.Unmarshal([]byte(b.text), new(map[string]any)); err != nil {
				t.Errorf("%v in:\n%s", err, b.text)
			}
		case b.language != "text":
			t.Errorf("nothing runs this %s %s:\n%s", b.language, b.name, b.text)
		}
	}
	if len(issuers) != 3 || len(lone) != 2 {
		t.Fatalf("%d and %d programs were found", len(issuers), len(lone))
	}

	w.shell(setup.String())
	signedWithPEM := w.program(lone["pem.py"])
	signedForJWKS := w.program(lone["jwks.mjs"])
	keys := httptest.NewServer(http.FileServer(http.Dir(w.dir)))
	defer keys.Close()
	env := onDatabase(t)
	env["PARLEY_JWKS_URL"] = keys.URL + "/jwks.json"
	for _, name := range []string{"PARLEY_JWT_SECRETS", "PARLEY_REQUIRE_GRANTS"} {
		env[name] = w.variable(name)
	}
	kid, file, _ := strings.Cut(w.variable("PARLEY_JWT_PUBLIC_KEYS"), ":")
	env["PARLEY_JWT_PUBLIC_KEYS"] = kid + ":" + filepath.Join(w.dir, file) // the server runs in another folder
	p := start(t, env)
	conversation := talkOf(t, w, p.url)

	var printed []string
	for _, b := range issuers {
		printed = w.program(b, conversation)
		t.Run(b.name, func(t *testing.T) { checkIssued(t, p.url, conversation, printed) })
	}
	for name, tokens := range map[string][]string{"pem.py": signedWithPEM, "jwks.mjs": signedForJWKS} {
		if len(tokens) != 1 {
			t.Fatalf("%s printed %q", name, tokens)
		}
		if status, body := request(t, "GET", p.url+"/v1/conversations/"+conversation+"/members", "", tokens[0], ""); status != 200 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}

	// The last of the programs has made a conversation with its grant already: another one is due.
	printed = w.program(issuers[0], conversation)
	w.env = append(w.env, "URL="+p.url, "CONVERSATION="+conversation)
	for i, name := range []string{"TOKEN", "SERVER_TOKEN", "CREATE_GRANT", "HISTORY_GRANT"} {
		w.env = append(w.env, name+"="+printed[i])
	}
	out := w.shell(script.String())
	for _, want := range []string{`"members":["Tom","Jerry"]`, `"items":[`, `"succeeded":["Mary"]`, `"succeeded":["Eve","Bob"]`, "event: ready"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in what the commands print:\n%s", want, out)
		}
	}
	// The last one was the kick.
	if status, body := request(t, "GET", p.url+"/v1/conversations/"+conversation, "", printed[0], ""); status != 401 {
		t.Errorf("Tom after his kick: %d %s", status, body)
	}
	for _, secret := range append(printed, w.variable("CHAT_SECRET")) {
		if strings.Contains(p.log.String(), secret) {
			t.Error("a secret, token or grant is in the log")
		}
	}
}

// talkOf makes Tom and Jerry's conversation.
func talkOf(t *testing.T, w *workshop, url string) string {
	t.Helper()
	server := strings.TrimSpace(w.run(w.dir, filepath.Join(w.dir, "parley"), "token", "--server"))
	status, body := request(t, "POST", url+"/v1/conversations", `{"members":["Tom","Jerry"]}`, server, "")
	var c struct{ ID string }
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	return c.ID
}

// checkIssued uses what a program has printed: Tom's token, a server's, his grant to
// make a conversation with Jerry, and his to read one.
func checkIssued(t *testing.T, url, conversation string, printed []string) {
	if len(printed) != 4 {
		t.Fatalf("printed %q", printed)
	}
	tom, server, create, history := printed[0], printed[1], printed[2], printed[3]
	of := url + "/v1/conversations/" + conversation
	members := `{"members":["Jerry"]}`
	for _, step := range []struct {
		name, method, url, body, token, grant string
		status                                int
		says                                  string
	}{
		{"the token", "GET", of, "", tom, "", 200, conversation},
		{"the server token", "POST", url + "/v1/clients/Nobody/kick", "", server, "", 204, ""},
		{"no grant to create", "POST", url + "/v1/conversations", members, tom, "", 403, "grant_required"},
		{"a grant to create with another", "POST", url + "/v1/conversations", `{"members":["Mary"]}`, tom, create, 403, "grant_mismatch"},
		{"the grant to create", "POST", url + "/v1/conversations", members, tom, create, 201, `"creator":"Tom"`},
		{"once more", "POST", url + "/v1/conversations", members, tom, create, 403, "grant_used"},
		{"no grant to read", "GET", of + "/messages", "", tom, "", 403, "grant_required"},
		{"the wrong grant to read", "GET", of + "/messages", "", tom, create, 403, "grant_mismatch"},
		{"a token to read", "GET", of + "/messages", "", tom, tom, 403, "grant_invalid"},
		{"the grant to read", "GET", of + "/messages", "", tom, history, 200, "items"},
		{"once more", "GET", of + "/messages", "", tom, history, 200, "items"},
	} {
		status, body := request(t, step.method, step.url, step.body, step.token, step.grant)
		if status != step.status || !strings.Contains(body, step.says) {
			t.Errorf("%s: %d %s", step.name, status, body)
		}
	}
}

// The greatest grant: 500 members with the longest ids that need no escapes.
func TestGreatestGrant(t *testing.T) {
	t.Parallel()
	env := onDatabase(t)
	env["PARLEY_JWT_SECRETS"], env["PARLEY_REQUIRE_GRANTS"] = longSecret, "conversation"
	p := start(t, env)
	members := make([]string, 499)
	for i := range members {
		members[i] = fmt.Sprintf("%064d", i)
	}
	body, err := json.Marshal(map[string]any{"members": members})
	if err != nil {
		t.Fatal(err)
	}
	mint := func(args ...string) string {
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"token", "--client=Tom"}, args...), environment(env), &out, &errs); code != 0 {
			t.Fatal(errs.String())
		}
		return strings.TrimSpace(out.String())
	}
	grant := mint("--grant=create", "--members="+strings.Join(members, ","))
	if status, answer := request(t, "POST", p.url+"/v1/conversations", string(body), mint(), grant); status != 201 {
		t.Errorf("%d %.300s", status, answer)
	}
}

// TestKindsPage runs the examples of the page about kinds of conversations.
func TestKindsPage(t *testing.T) {
	t.Parallel()
	tool(t, "curl", "which the examples call")
	env := onDatabase(t)
	env["PARLEY_JWT_SECRETS"] = longSecret
	p := start(t, env)
	mint := func(flag string) string {
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"token", flag}, environment(env), &out, &errs); code != 0 {
			t.Fatal(errs.String())
		}
		return strings.TrimSpace(out.String())
	}
	says := [][]string{{`event: ready`, `{"succeeded":["Jerry"],"failed":[],"memberCount":0}`, `"text":"a gift"`, `{"count":1}`}, {`"text":"up"}],"next":null}`}}
	blocks := blocksOf(t, "../../docs/KINDS.md")
	if len(blocks) != len(says) {
		t.Fatalf("the page has %d examples, want %d", len(blocks), len(says))
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte("fail-with-body\nmax-time = 20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, b := range blocks {
		cmd := exec.CommandContext(t.Context(), "bash", "-ec", "trap 'kill $(jobs -p) || true' EXIT\n"+b.text)
		cmd.Env = append(os.Environ(), "CURL_HOME="+home, "URL="+p.url, "JSON=Content-Type: application/json",
			"TOM="+mint("--client=Tom"), "JERRY="+mint("--client=Jerry"), "SERVER="+mint("--server"))
		out, err := cmd.CombinedOutput()
		for _, want := range says[i] {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%v, want %s\n%s\n%s", err, want, b.text, out)
			}
		}
	}
}
