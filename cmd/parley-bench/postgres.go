package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq"
)

// cluster is how to reach the server's private PostgreSQL, as its pid file tells.
type cluster struct {
	pid    int
	data   string // folder of the database
	socket string // folder of the Unix socket
	port   string
	user   string
}

// cluster finds the running private cluster in the data folder.
func (s *server) cluster() (cluster, error) {
	pidFile := filepath.Join(s.dataDir(), "postgres", "pg", "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return cluster{}, fmt.Errorf("no running PostgreSQL in %s: %w", s.dataDir(), err)
	}
	// Lines: pid, data folder, start time, port, socket folder, listen address.
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 {
		return cluster{}, fmt.Errorf("%s is incomplete", pidFile)
	}
	pid, err := strconv.Atoi(lines[0])
	return cluster{pid: pid, data: lines[1], port: lines[3], socket: lines[4], user: clusterUser}, err
}

// The private cluster's superuser, and the database that the server keeps its tables in.
const (
	clusterUser    = "postgres"
	serverDatabase = "postgres"
)

// stopPostgres ends a private PostgreSQL that outlived its server.
func (s *server) stopPostgres() {
	c, err := s.cluster()
	if err != nil {
		return
	}
	// The pid file may be a dead process's, and its number anybody's by now.
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", c.pid))
	if err != nil || cwd != c.data {
		return
	}
	_ = syscall.Kill(c.pid, syscall.SIGINT)
	for range 100 {
		if syscall.Kill(c.pid, 0) != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c cluster) dsn(database string) string {
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", c.socket, c.port, c.user, database)
}

// with runs f on one connection to a database of the cluster.
func (c cluster) with(database string, f func(*sql.DB) error) error {
	db, err := sql.Open("postgres", c.dsn(database))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	return f(db)
}

// exec runs statements one by one.
func (c cluster) exec(ctx context.Context, database string, statements ...string) error {
	return c.with(database, func(db *sql.DB) error {
		for _, statement := range statements {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
}

// version is PostgreSQL's own.
func (c cluster) version(ctx context.Context) (v string) {
	_ = c.with(serverDatabase, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT split_part(version(), ' ', 2)").Scan(&v)
	})
	return v
}

const yardstickDatabase = "parley_bench_yardstick"

// preparePgbench makes the table that pgbench inserts into: a message's worth
// of columns and the primary key a message table has, nothing else.
func (c cluster) preparePgbench(ctx context.Context) error {
	if err := c.exec(ctx, serverDatabase, "CREATE DATABASE "+yardstickDatabase); err != nil {
		return err
	}
	return c.exec(ctx, yardstickDatabase, `CREATE TABLE rows (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		conversation text NOT NULL, sender text NOT NULL, content text NOT NULL, at timestamptz NOT NULL DEFAULT now())`)
}

// pgbench inserts single rows, one transaction each, prepared, and returns how many a second.
func (c cluster) pgbench(ctx context.Context, dir string, clients int, d time.Duration) (float64, error) {
	program, err := findProgram("pgbench")
	if err != nil {
		return 0, err
	}
	script := filepath.Join(dir, "insert.sql")
	insert := `\set c random(1, 1000)
INSERT INTO rows (conversation, sender, content) VALUES ('conversation-' || :c, 'sender-' || :c, '` + textBody(0) + `');
`
	if err := os.WriteFile(script, []byte(insert), 0o644); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--jobs=2",
		fmt.Sprintf("--client=%d", clients), fmt.Sprintf("--time=%d", max(1, int(d.Seconds()))), "--file="+script,
		"--host="+c.socket, "--port="+c.port, "--username="+c.user, yardstickDatabase)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	_, rest, found := strings.Cut(string(out), "tps = ")
	if !found {
		return 0, fmt.Errorf("pgbench said no rate: %s", out)
	}
	return strconv.ParseFloat(strings.Fields(rest)[0], 64)
}

// findProgram looks for a program of PostgreSQL's where the server looks too.
func findProgram(name string) (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	brew, _ := filepath.Glob("/opt/homebrew/opt/postgresql*/bin")
	for i := range dirs { // the newest first
		if path := filepath.Join(dirs[len(dirs)-1-i], name); isFile(path) {
			return path, nil
		}
	}
	for _, dir := range brew {
		if path := filepath.Join(dir, name); isFile(path) {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (Debian and Ubuntu: apt install postgresql-contrib)", name)
	}
	return path, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
