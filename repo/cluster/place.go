package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// outside is where a database lies whose own folder its user cannot enter.
const outside = "/var/lib"

// place says where the database really lies. That is Dir/pg, unless Dir is where
// the user that we drop to cannot go, below /root for example. Then it is a folder
// below /var/lib, and Dir/pg a symbolic link to it, which says so to whoever looks
// and to the next start.
func (c *Cluster) place() error {
	if target, err := filepath.EvalSymlinks(c.link()); err == nil {
		c.data = target
		if c.user.other && c.user.enter(c.bin, filepath.Dir(target)) != nil {
			return fmt.Errorf("the user %s cannot enter %s, where the database lies: make its parent folders passable with chmod o+x, or choose another PARLEY_DATA_DIR", c.user.name, filepath.Dir(target))
		}
		return nil
	}
	dir, err := filepath.EvalSymlinks(c.opts.Dir)
	if err != nil {
		return err
	}
	if !c.user.other || c.user.enter(c.bin, dir) == nil {
		c.data = filepath.Join(dir, "pg")
		return c.dropLink()
	}
	away := filepath.Join(outside, "parley-"+strings.ToLower(rand.Text()[:10]))
	if err := os.Mkdir(away, 0o755); err != nil {
		return fmt.Errorf("the user %s cannot enter %s and the database cannot lie in %s (%w): choose another PARLEY_DATA_DIR, or set DATABASE_URL", c.user.name, dir, outside, reason(err))
	}
	if err := os.Chmod(away, 0o755); err != nil { // whatever the umask says
		return err
	}
	c.data = filepath.Join(away, "pg")
	if err := c.dropLink(); err != nil {
		return err
	}
	if err := os.Symlink(c.data, c.link()); err != nil {
		return fmt.Errorf("cannot write in %s: %w", dir, reason(err))
	}
	c.opts.Log.Info(fmt.Sprintf("the user %s, whom PostgreSQL runs as, cannot enter %s: the database lies in %s", c.user.name, dir, away))
	return nil
}

// dropLink removes a link whose target is gone.
func (c *Cluster) dropLink() error {
	if err := os.Remove(c.link()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// enter tries whether the account can work in a folder, by doing so: permissions
// are more than mode bits.
func (a account) enter(bin programs, dir string) error {
	cmd := exec.Command(bin.path("postgres"), "--version")
	cmd.Dir = dir
	cmd.SysProcAttr = a.attributes()
	return cmd.Run()
}

// initdb makes the database if there is none. It appears under its name when it is
// complete, so that a crash in between leaves nothing half-made.
func (c *Cluster) initdb(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.data, "PG_VERSION")); err == nil {
		return nil
	}
	if entries, err := os.ReadDir(c.data); err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder %s holds something that is no database: move it away, or choose another PARLEY_DATA_DIR", c.data)
	}
	making := c.data + ".new"
	if err := os.RemoveAll(making); err != nil {
		return fmt.Errorf("cannot remove %s: %w", making, reason(err))
	}
	if err := os.Mkdir(making, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder %s (%w): choose another PARLEY_DATA_DIR, or set DATABASE_URL", making, reason(err))
	}
	if err := c.user.claim(making); err != nil {
		return err
	}
	var out []byte
	var err error
	for _, locale := range []string{"C.UTF-8", "en_US.UTF-8", "C"} { // for upper and lower case; text sorts by code point
		if out, err = c.runInitdb(ctx, making, locale); err == nil || !strings.Contains(string(out), "locale") {
			break
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("initdb could not make a database in %s: %w: %s", making, err, lastLine(out)), os.RemoveAll(making))
	}
	if err := os.Remove(c.data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(making, c.data)
}

func (c *Cluster) runInitdb(ctx context.Context, dir, locale string) ([]byte, error) {
	args := []string{"-D", dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--lc-collate=C", "--lc-ctype=" + locale,
		"--lc-messages=C", "--lc-monetary=C", "--lc-numeric=C", "--lc-time=C", "--no-instructions"}
	if c.opts.Fast {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, c.bin.path("initdb"), args...)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = c.user.attributes()
	cmd.WaitDelay = time.Second // its children hold the pipe for a moment longer
	return cmd.CombinedOutput()
}

// environment is ours without what would bend the server or its messages.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "LC_") && !strings.HasPrefix(v, "LANG") &&
			!strings.HasPrefix(v, "PARLEY_") && !strings.HasPrefix(v, "DATABASE_URL=") && !strings.HasPrefix(v, "AWS_") {
			env = append(env, v)
		}
	}
	return append(env, "LC_ALL=C")
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
