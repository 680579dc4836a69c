// Package files keeps the bytes of uploaded files, on disk or in an S3-compatible
// store, and reads from a file's content what it is. Who may do what with a file is
// none of its business.
//
// Everything here is safe for concurrent use, save a Blob, which is one reader's.
package files

import (
	"context"
	"errors"
	"io"
)

// Store keeps files by their ids. A file is written once and never changes.
type Store interface {
	// Put reads r to its end and keeps what it read: when it returns without an error, that
	// is safe. It never holds a whole file in memory. When it fails, nothing is left; after a
	// crash a rest may be, which Delete removes. It fails with r's error when r does.
	Put(ctx context.Context, id string, r io.Reader) (size int64, err error)
	// Open returns the file for reading; the error is fs.ErrNotExist when there is none, at
	// the latest at the first Read. ctx holds for all reading. size is what Put returned.
	Open(ctx context.Context, id string, size int64) (Blob, error)
	// Delete removes the file and what an upload that ended half-way left of it. One that is not there is no error.
	Delete(ctx context.Context, id string) error
}

// Blob is a file opened for reading.
type Blob interface {
	io.ReadSeekCloser
	io.ReaderAt
}

var errID = errors.New("files: not the id of a file")

// checkID keeps ids to what may stand in a path: those that parley makes.
func checkID(id string) error {
	if len(id) < 8 || len(id) > 64 {
		return errID
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			return errID
		}
	}
	return nil
}
