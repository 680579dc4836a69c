package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const oldestVersion = 14

// programs is the folder of an installed PostgreSQL.
type programs struct {
	dir     string
	version int // major
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

// findPrograms finds initdb and postgres: of the version that made the database,
// if there is one already; else $PARLEY_PG_BIN, PATH, or the newest installed.
func findPrograms(link string) (programs, error) {
	need := 0
	if b, err := os.ReadFile(filepath.Join(link, "PG_VERSION")); err == nil {
		if need, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return programs{}, fmt.Errorf("%s is no database of PostgreSQL: remove it, or choose another PARLEY_DATA_DIR", link)
		}
	}
	var found []programs
	for _, dir := range candidates() {
		version, err := versionOf(filepath.Join(dir, "postgres"))
		if _, none := os.Stat(filepath.Join(dir, "initdb")); err == nil && none == nil {
			found = append(found, programs{dir, version})
		}
	}
	if need > 0 {
		for _, p := range found {
			if p.version == need {
				return p, nil
			}
		}
	}
	for _, p := range found {
		switch {
		case need > 0:
			return programs{}, fmt.Errorf("the database in %s needs PostgreSQL %d, and only %d is installed: type %q, or move the data with pg_dump", link, need, p.version, install(need))
		case p.version >= oldestVersion:
			return p, nil
		}
	}
	if len(found) > 0 {
		return programs{}, fmt.Errorf("PostgreSQL %d is too old, %d is the least: type %q, or set DATABASE_URL to a database you have", found[0].version, oldestVersion, install(need))
	}
	if dir := os.Getenv("PARLEY_PG_BIN"); dir != "" {
		return programs{}, fmt.Errorf("there is no PostgreSQL in %s, and none elsewhere: set PARLEY_PG_BIN to the folder with initdb and postgres", dir)
	}
	return programs{}, fmt.Errorf("PostgreSQL is not installed: type %q, or set DATABASE_URL to a database you have", install(need))
}

// candidates are the folders where PostgreSQL may be, best first.
func candidates() []string {
	var dirs []string
	if dir := os.Getenv("PARLEY_PG_BIN"); dir != "" {
		dirs = append(dirs, dir)
	}
	// A link from /usr/local/bin or the like leads to the folder that has all programs.
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	var installed []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", // Debian, Red Hat
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin", "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	} {
		matches, _ := filepath.Glob(pattern) // fails on a bad pattern only
		installed = append(installed, matches...)
	}
	slices.SortStableFunc(installed, func(a, b string) int { return cmp.Compare(number(b), number(a)) })
	return append(dirs, append(installed, "/opt/homebrew/bin", "/usr/local/bin", "/usr/bin")...)
}

// number is the version in a path such as /usr/lib/postgresql/15/bin.
func number(path string) int {
	n, _ := strconv.Atoi(strings.TrimFunc(filepath.Base(filepath.Dir(path)), func(r rune) bool { return r < '0' || r > '9' }))
	return n
}

// versionOf asks a postgres for its major version.
func versionOf(postgres string) (int, error) {
	out, err := exec.Command(postgres, "--version").Output() // "postgres (PostgreSQL) 15.6 (Debian 15.6-0)"
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(out), "(PostgreSQL) ")
	if !ok {
		return 0, errors.New("not a postgres")
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	return strconv.Atoi(rest[:max(end, 0)])
}

// install is what to type to get a version of PostgreSQL; 0: any.
func install(version int) string {
	if runtime.GOOS == "darwin" {
		return fmt.Sprintf("brew install postgresql@%d", cmp.Or(version, 17))
	}
	for _, m := range []struct{ manager, any, exact string }{
		{"apt-get", "sudo apt-get install postgresql", "sudo apt-get install postgresql-%d"},
		{"dnf", "sudo dnf install postgresql-server", "sudo dnf install postgresql%d-server"},
		{"apk", "sudo apk add postgresql", "sudo apk add postgresql%d"},
		{"pacman", "sudo pacman -S postgresql", "sudo pacman -S postgresql # version %d"},
	} {
		if _, err := exec.LookPath(m.manager); err == nil {
			if version > 0 {
				return fmt.Sprintf(m.exact, version)
			}
			return m.any
		}
	}
	return "make run, which installs it"
}
