package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who PostgreSQL runs as; the zero account is ourselves. PostgreSQL
// refuses to run as root.
type account struct {
	name     string
	uid, gid int
	other    bool // not ourselves
}

// pickUser says who is to run the server: whoever is not root, himself; for root
// the owner of the database, if there is one already, else postgres or nobody.
func pickUser(link string) (account, error) {
	if os.Geteuid() != 0 {
		if info, err := os.Stat(filepath.Join(link, "PG_VERSION")); errors.Is(err, os.ErrPermission) {
			return account{}, fmt.Errorf("the database in %s belongs to another user: start parley as that user or as root, or choose another PARLEY_DATA_DIR", link)
		} else if err == nil && owner(info) != os.Geteuid() {
			return account{}, fmt.Errorf("the database in %s belongs to user %d: start parley as that user or as root, or choose another PARLEY_DATA_DIR", link, owner(info))
		}
		return account{}, nil
	}
	if info, err := os.Stat(filepath.Join(link, "PG_VERSION")); err == nil {
		u, err := user.LookupId(strconv.Itoa(owner(info)))
		if err != nil || u.Uid == "0" {
			return account{}, fmt.Errorf("the database in %s belongs to user %d, whom PostgreSQL cannot run as: give it to another with: chown -R postgres %s", link, owner(info), link)
		}
		return newAccount(u)
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return newAccount(u)
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: start parley as an ordinary user, or set DATABASE_URL")
}

func newAccount(u *user.User) (account, error) {
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return account{name: u.Username, uid: uid, gid: gid, other: true}, err
}

func (a account) credential() *syscall.Credential {
	if !a.other {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: []uint32{}}
}

// attributes of a child that runs as the account. It gets a process group of its
// own: Ctrl-C in the terminal is for us alone, who then stop it last.
func (a account) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: a.credential(), Setpgid: true}
}

// claim gives a folder to the account and closes it to all others. It must be a
// folder, and ours or the account's already.
func (a account) claim(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	uid := os.Geteuid()
	if a.other {
		uid = a.uid
	}
	if o := owner(info); !info.IsDir() || (o != uid && o != os.Geteuid()) {
		return fmt.Errorf("%s belongs to somebody else: remove it", path)
	}
	if a.other {
		if err := os.Lchown(path, a.uid, a.gid); err != nil {
			return fmt.Errorf("cannot give %s to the user %s (%w): start parley as an ordinary user, or set DATABASE_URL", path, a.name, reason(err))
		}
	}
	return os.Chmod(path, 0o700)
}

func owner(info os.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
