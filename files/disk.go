package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Disk keeps files in a folder, spread over folders by the first letters of their
// ids. Servers on one database need the same folder, or a store of the other kind.
type Disk struct{ dir string }

// OpenDisk returns the store in a folder, which is made when it is missing.
func OpenDisk(dir string) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder of uploaded files: %w", err)
	}
	return &Disk{dir}, nil
}

func (d *Disk) path(id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	return filepath.Join(d.dir, id[:2], id), nil
}

// partial is what a file is called until it is whole.
const partial = ".part"

// Put implements Store.
func (d *Disk) Put(ctx context.Context, id string, r io.Reader) (size int64, err error) {
	path, err := d.path(id)
	if err != nil {
		return 0, err
	}
	if err := d.makeFolder(filepath.Dir(path)); err != nil {
		return 0, err
	}
	size, err = write(path+partial, r)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(path+partial, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		_ = d.Delete(context.WithoutCancel(ctx), id)
		return 0, err
	}
	return size, nil
}

func (d *Disk) makeFolder(dir string) error {
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncFolder(d.dir) // lest a power cut take the folder with all that is in it
}

// write makes a file of what r gives, and waits until it is on disk.
func write(path string, r io.Reader) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 64<<10)
	if size, err = io.Copy(w, r); err != nil {
		return 0, err
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return size, f.Sync()
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Open implements Store.
func (d *Disk) Open(_ context.Context, id string, _ int64) (Blob, error) {
	path, err := d.path(id)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err // not f: a nil *os.File is no nil Blob
	}
	return f, nil
}

// Delete implements Store.
func (d *Disk) Delete(_ context.Context, id string) error {
	path, err := d.path(id)
	if err != nil {
		return err
	}
	for _, p := range []string{path + partial, path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
