package cluster_test

import (
	"bufio"
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"parley/repo/cluster"
)

// TestMain is also the program that a test starts in order to kill it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CLUSTER_TEST_DIR"); dir != "" {
		c, err := cluster.Start(context.Background(), cluster.Options{Dir: dir})
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString(c.DSN() + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "parley-cluster-") // t.TempDir is closed to the user that we drop to
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, dir string, fast bool) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Fast: fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	return c
}

func query(t *testing.T, dsn, query string) (string, error) {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out string
	err = db.QueryRow(query).Scan(&out)
	return out, err
}

func must(t *testing.T, dsn, q string) string {
	t.Helper()
	out, err := query(t, dsn, q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return out
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

const insert = "WITH t AS (INSERT INTO kept VALUES ('here') RETURNING v) SELECT v FROM t"

func TestKeepsDataOverStopKillAndCrash(t *testing.T) {
	dir := folder(t)
	c := start(t, dir, false)
	must(t, c.DSN(), "CREATE TABLE kept (v text); SELECT 'made'")
	must(t, c.DSN(), insert)
	if got := must(t, c.DSN(), "SHOW fsync"); got != "on" {
		t.Errorf("fsync = %s", got)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}

	c = start(t, dir, false)
	must(t, c.DSN(), insert)
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}

	c = start(t, dir, false)
	if got := must(t, c.DSN(), "SELECT count(*) FROM kept"); got != "2" {
		t.Errorf("%s rows after a stop and a kill, want 2", got)
	}

	// Killed by somebody else it comes back by itself, at the same address.
	before := c.PID()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new server", func() bool {
		got, err := query(t, c.DSN(), "SELECT count(*) FROM kept")
		return err == nil && got == "2" && c.PID() != before
	})
}

func TestOneAtATime(t *testing.T) {
	dir := folder(t)
	start(t, dir, true)
	_, err := cluster.Start(t.Context(), cluster.Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "another parley (process ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("second start on the same folder: %v", err)
	}
}

// A killed program's server ends, or is ended by the next start, which finds everything.
func TestStartAfterKillOfProgram(t *testing.T) {
	dir := folder(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "CLUSTER_TEST_DIR="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dsn, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	must(t, dsn, "CREATE TABLE kept (v text); SELECT 'made'")
	must(t, dsn, insert)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	c := start(t, dir, false)
	if got := must(t, c.DSN(), "SELECT count(*) FROM kept"); got != "1" {
		t.Errorf("%s rows after the kill, want 1", got)
	}
}

// A pid file whose id belongs to another process of ours by now is no obstacle.
func TestStalePIDFile(t *testing.T) {
	dir := folder(t)
	c := start(t, dir, true)
	pidFile := filepath.Join(dir, "pg", "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "\n")
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	stale := []byte(strconv.Itoa(sleeper.Process.Pid) + "\n" + rest)
	if err := os.WriteFile(pidFile, stale, 0o600); err != nil {
		t.Fatal(err)
	}
	c = start(t, dir, true)
	must(t, c.DSN(), "SELECT 1")
	if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("the stranger was ended")
	}
}

func TestLongAndOddPaths(t *testing.T) {
	dir := filepath.Join(folder(t), strings.Repeat("long-", 20), "it's odd, isn't it")
	c := start(t, dir, true)
	must(t, c.DSN(), "SELECT 1")
}

// Below a folder that only root may enter the database lies elsewhere, and is found again.
func TestBelowAClosedFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then the server runs as ourselves, who may enter
	}
	closed := folder(t)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data")
	c := start(t, dir, true)
	must(t, c.DSN(), "CREATE TABLE kept (v text); SELECT 'made'")
	target, err := os.Readlink(filepath.Join(dir, "pg"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(filepath.Dir(target))
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	c = start(t, dir, true)
	must(t, c.DSN(), "SELECT count(*) FROM kept")
}

func TestSentences(t *testing.T) {
	elsewhere := folder(t)
	if err := os.Mkdir(filepath.Join(elsewhere, "pg"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "pg", "thesis.doc"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	future := folder(t)
	if err := os.Mkdir(filepath.Join(future, "pg"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(future, "pg", "PG_VERSION"), []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(future, "pg", "PG_VERSION"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(folder(t), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, dir, want string }{
		{"not a database", elsewhere, "holds something that is no database"},
		{"another version's", future, "needs PostgreSQL 99"},
		{"a file in the way", filepath.Join(file, "data"), "choose another PARLEY_DATA_DIR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cluster.Start(t.Context(), cluster.Options{Dir: tt.dir, Fast: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one sentence with %q", err, tt.want)
			}
		})
	}
}
