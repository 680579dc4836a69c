package web_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
	"parley/web"
)

func TestMain(m *testing.M) {
	code := m.Run()
	closeBrowser()
	systest.CleanUp()
	os.Exit(code)
}

// The client that is served speaks to a real server: the project's own scenarios, and
// every snippet of the documents that people come from.
func TestClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no Node.js: install version 20 or newer")
	}
	server := systest.Start(t, repotest.DSN(t), "PARLEY_RECONNECT_GRACE=1s")
	client := filepath.Join(t.TempDir(), "parley.mjs")
	if err := os.WriteFile(client, web.Client, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"scenarios.test.mjs", "connection.test.mjs", "snippets.test.mjs"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", file)
			cmd.Dir = "test"
			cmd.Env = append(os.Environ(), "PARLEY_TEST_SERVER="+server.URL(), "PARLEY_TEST_SECRET="+systest.Secret, "PARLEY_TEST_CLIENT="+client)
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "# SKIP") {
				t.Log("the documents are not beside the project: their snippets were not run")
			}
			if err != nil {
				t.Errorf("%v\n%s", err, failures(string(out)))
			}
		})
	}
}

var failed = regexp.MustCompile(`(?m)^ *not ok .*\n( +---\n(.*\n)*? +\.\.\.\n)?`)

func failures(tap string) string {
	if found := failed.FindAllString(tap, -1); found != nil {
		return strings.Join(found, "")
	}
	return tap
}

// What a page has to load.
func TestSize(t *testing.T) {
	const most = 14 << 10
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = z.Write(web.Client)
	_ = z.Close()
	t.Logf("%d bytes, %d gzipped", len(web.Client), b.Len())
	if b.Len() > most {
		t.Errorf("the client has %d bytes gzipped, more than %d", b.Len(), most)
	}
}
