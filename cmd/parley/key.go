package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"parley/api"
)

// keyFile holds the generated key, in the data folder.
const keyFile = "jwt-secret"

// useGenerated makes the generated key the configured one when there is none; the
// first call on a data folder makes the key.
func (c *config) useGenerated() (bool, error) {
	if !c.generated() {
		return false, nil
	}
	secret, err := generatedSecret(filepath.Join(c.dataDir, keyFile))
	if err != nil {
		return false, err
	}
	c.secrets = []api.Secret{{Value: secret}}
	return true, nil
}

func generatedSecret(path string) (string, error) {
	if err := makeSecret(path); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("cannot make the signing key %s (%w): choose another PARLEY_DATA_DIR, or set PARLEY_JWT_SECRETS", path, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the signing key (%w): start parley as the user that owns it, or set PARLEY_JWT_SECRETS", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < 32 {
		return "", fmt.Errorf("%s holds no signing key: remove it to get a new one (tokens signed with the old one end)", path)
	}
	return secret, nil
}

// makeSecret writes a new secret unless the file exists. It appears whole: of two
// that start at once one wins, and the other reads the winner's.
func makeSecret(path string) error {
	if _, err := os.Stat(path); err == nil {
		return os.ErrExist
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, rand.Text()+rand.Text())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err == nil || errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Rename(f.Name(), path) // a file system without links
}
