package chat

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"parley/files"
	"parley/model"
	"parley/repo"
)

// FileConfig is what an operator can choose about files.
type FileConfig struct {
	Store     files.Store // nil: none may be uploaded
	MaxBytes  int64       // of one
	PublicURL string      // before the path in their urls; empty: nothing
}

// fileKey signs the urls of files. It is made with the database and never changes.
type fileKey struct{ secret atomic.Pointer[[]byte] }

// sign returns the key to a file.
func (k *fileKey) sign(ctx context.Context, store *repo.Store, id string) (string, error) {
	secret := k.secret.Load()
	if secret == nil {
		b, err := store.FileKey(ctx)
		if err != nil {
			return "", err
		}
		secret = &b
		k.secret.Store(secret)
	}
	mac := hmac.New(sha256.New, *secret)
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]), nil
}

// opens reports whether key is the one to a file.
func (k *fileKey) opens(ctx context.Context, store *repo.Store, id, key string) (bool, error) {
	right, err := k.sign(ctx, store, id)
	return err == nil && hmac.Equal([]byte(right), []byte(key)), err
}

// NewFile is a file to be uploaded.
type NewFile struct {
	Name    string // checked; empty: none
	Body    io.Reader
	AtLeast int64 // how many bytes are known to come
}

// Upload stores a file. It fails with file_too_large as soon as that is known, with
// rate_limited when the caller has too much already that no message holds, and with what
// Body does; then nothing is left of it.
func (s *Service) Upload(ctx context.Context, caller model.Caller, n NewFile) (*model.StoredFile, error) {
	if s.Config.Files.Store == nil {
		return nil, model.NewError(model.NotFound, "this server keeps no files")
	}
	if n.AtLeast > s.Config.Files.MaxBytes {
		return nil, s.errFileTooLarge()
	}
	id := rand.Text()
	err := s.Store.InTx(ctx, func(tx *repo.Store) error {
		if err := checkUnheld(ctx, tx, caller, id, max(n.AtLeast, 1)); err != nil {
			return err
		}
		return tx.InsertFile(ctx, id, caller.Client, n.AtLeast)
	})
	if err != nil {
		return nil, err
	}
	row, err := s.keepFile(ctx, caller, id, n)
	if err != nil {
		s.eraseFile(context.WithoutCancel(ctx), id)
		return nil, err
	}
	return s.storedFile(ctx, row)
}

// keepFile stores the bytes of a file and what they say of themselves.
func (s *Service) keepFile(ctx context.Context, caller model.Caller, id string, n NewFile) (*repo.FileRow, error) {
	body := &bounded{r: n.Body, left: s.Config.Files.MaxBytes, tooLarge: s.errFileTooLarge()}
	size, err := s.Config.Files.Store.Put(ctx, id, body)
	switch {
	case body.err != nil:
		return nil, body.err
	case err != nil:
		return nil, s.errFileStore(ctx, err)
	}
	meta, err := s.inspect(ctx, id, size)
	if err != nil {
		return nil, s.errFileStore(ctx, err)
	}
	row := &repo.FileRow{
		ID: id, MimeType: meta.MimeType, Size: size, Width: meta.Width, Height: meta.Height, Duration: meta.Duration,
		Name: optional(n.Name), Format: optional(meta.Format),
	}
	return row, s.Store.InTx(ctx, func(tx *repo.Store) error {
		if err := checkUnheld(ctx, tx, caller, id, size); err != nil {
			return err
		}
		ok, err := tx.FinishFile(ctx, row)
		if err == nil && !ok {
			err = errors.New("upload: the file was removed meanwhile")
		}
		return err
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *Service) inspect(ctx context.Context, id string, size int64) (files.Meta, error) {
	blob, err := s.Config.Files.Store.Open(ctx, id, size)
	if err != nil {
		return files.Meta{}, err
	}
	defer blob.Close()
	return files.Inspect(blob, size)
}

// checkUnheld fails with rate_limited when a file of that size is one too many. Until the
// end of the transaction no other is added.
func checkUnheld(ctx context.Context, tx *repo.Store, caller model.Caller, id string, size int64) error {
	if caller.Client == "" {
		return nil
	}
	have, until, err := tx.LockUnheld(ctx, caller.Client, id)
	if err != nil || have+size <= model.MaxUnheldBytes {
		return err
	}
	e := model.NewError(model.RateLimited, "you have uploaded %d bytes that no message holds; %d may be: send them, or delete some",
		have, int64(model.MaxUnheldBytes))
	if until != nil {
		e.RetryAfter = max(1, int(time.Until(until.Time)/time.Second)+1)
	}
	return e
}

func (s *Service) errFileTooLarge() *model.Error {
	return model.NewError(model.FileTooLarge, "a file may be %d bytes", s.Config.Files.MaxBytes)
}

// errFileStore is what a client is told when the file store fails.
func (s *Service) errFileStore(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.Log.ErrorContext(ctx, "the file store fails", "err", err)
	e := model.NewError(model.Unavailable, "the file store cannot be used just now: try again soon")
	e.RetryAfter = 5
	return e
}

// bounded reads up to left bytes, and fails when there are more. It remembers how reading failed.
type bounded struct {
	r        io.Reader
	left     int64
	tooLarge error
	err      error // nil at the end
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left { // one more tells whether there are more
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), b.tooLarge
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// storedFile is a file as clients see it.
func (s *Service) storedFile(ctx context.Context, row *repo.FileRow) (*model.StoredFile, error) {
	key, err := s.fileKey.sign(ctx, s.Store, row.ID)
	if err != nil {
		return nil, err
	}
	return &model.StoredFile{
		ID: row.ID, URL: s.Config.Files.PublicURL + model.FilePath + row.ID + "?key=" + key,
		Name: row.Name, MimeType: row.MimeType, Size: row.Size,
		Width: row.Width, Height: row.Height, Duration: row.Duration, Format: row.Format,
	}, nil
}

// OpenFile opens a file for whoever has its key, which is asked for when key is not
// nil, and else for a caller that may read it. It fails with file_not_found.
func (s *Service) OpenFile(ctx context.Context, caller model.Caller, id string, key *string) (*repo.FileRow, files.Blob, error) {
	row, err := s.findFile(ctx, caller, id, key)
	if err != nil {
		return nil, nil, err
	}
	if s.Config.Files.Store == nil {
		return nil, nil, model.NewError(model.FileNotFound, "this server keeps no files")
	}
	blob, err := s.Config.Files.Store.Open(ctx, id, row.Size)
	if err != nil {
		return nil, nil, s.FileReadError(ctx, id, err)
	}
	return row, blob, nil
}

func (s *Service) findFile(ctx context.Context, caller model.Caller, id string, key *string) (*repo.FileRow, error) {
	if key == nil {
		return s.Store.FileFor(ctx, caller, id)
	}
	if ok, err := s.fileKey.opens(ctx, s.Store, id, *key); err != nil || !ok {
		if err == nil {
			err = model.NewError(model.FileNotFound, "there is no such file, or this is not its key")
		}
		return nil, err
	}
	return s.Store.File(ctx, id)
}

// FileReadError is what a client is told when a file cannot be read.
func (s *Service) FileReadError(ctx context.Context, id string, err error) error {
	if errors.Is(err, fs.ErrNotExist) { // it is being deleted, or the store has lost it
		s.Log.WarnContext(ctx, "a file is not in the file store", "file", id, "err", err)
		return model.NewError(model.FileNotFound, "there is no such file")
	}
	return s.errFileStore(ctx, err)
}

// DeleteFile removes a file of the caller's; a server token may remove any. Messages
// that hold it stay as they are: its url in them leads nowhere from now on. It fails
// with file_not_found.
func (s *Service) DeleteFile(ctx context.Context, caller model.Caller, id string) error {
	if err := s.Store.RemoveFile(ctx, caller, id); err != nil {
		return err
	}
	s.eraseFile(context.WithoutCancel(ctx), id)
	return nil
}

// eraseTimeout bounds how long a request waits for the file store to let go of one.
const eraseTimeout = 20 * time.Second

// eraseFile removes all of a file that nobody sees any more. What fails is done again by cleanFiles.
func (s *Service) eraseFile(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	if err := s.erase(ctx, id); err != nil {
		s.Log.WarnContext(ctx, "a file could not be removed; it is tried again", "file", id, "err", err)
	}
}

func (s *Service) erase(ctx context.Context, id string) error {
	if err := s.Config.Files.Store.Delete(ctx, id); err != nil {
		return err
	}
	return s.Store.DeleteFile(ctx, id)
}

// filesAtOnce is how many files are removed in one go.
const filesAtOnce = 100

// cleanFiles removes the files that no message has held for a day, and what uploads that
// never ended have left. It stops at the first that the file store does not let go of.
func (s *Service) cleanFiles(ctx context.Context, now time.Time) error {
	if s.Config.Files.Store == nil {
		return nil
	}
	for n := filesAtOnce; n == filesAtOnce; {
		var ids []string
		err := s.Store.InTx(ctx, func(tx *repo.Store) error {
			ids = nil
			got, err := tx.LockHouse(ctx)
			if err == nil && got {
				ids, err = tx.RemoveFiles(ctx, now, filesAtOnce)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.erase(ctx, id); err != nil {
				return fmt.Errorf("remove a file: %w", err)
			}
			s.Removed.Files.Add(1)
		}
		n = len(ids)
	}
	return nil
}

// withFile returns the draft with all that is known of its file, and the file's id: when
// it is one of ours, named by its id or its url. It fails with invalid_request when there is
// no such file that the caller may read.
func (s *Service) withFile(ctx context.Context, caller model.Caller, d *model.Draft) (*model.Draft, string, error) {
	if d.File == nil {
		return d, "", nil
	}
	row, err := s.fileOfDraft(ctx, caller, d.File)
	if err != nil || row == nil {
		return d, "", err
	}
	f, err := s.storedFile(ctx, row)
	if err != nil {
		return d, "", err
	}
	filled := *d
	filled.File = f.InMessage()
	return &filled, f.ID, nil
}

// fileOfDraft finds the file that a draft means; nil when it is not one of ours.
func (s *Service) fileOfDraft(ctx context.Context, caller model.Caller, f *model.File) (*repo.FileRow, error) {
	field, relative := "file.id", false
	var row *repo.FileRow
	var err error
	if f.ID != "" {
		row, err = s.Store.FileFor(ctx, caller, f.ID)
	} else {
		var id, key string
		var ok bool
		if id, key, relative, ok = model.FileOfURL(f.URL); !ok {
			return nil, nil
		}
		field = "file.url"
		row, err = s.findFile(ctx, caller, id, &key)
		if model.IsCode(err, model.FileNotFound) && !relative {
			return nil, nil // somebody else's, who has the same paths
		}
	}
	if model.IsCode(err, model.FileNotFound) {
		return nil, model.Invalid(field, "there is no such file, or you may not read it")
	}
	return row, err
}

// replayed answers a send that cannot be done any more, since its file is gone, when it was
// done before: its key still stands for the message. Else it returns the error.
func (s *Service) replayed(ctx context.Context, caller model.Caller, conversationID string, d *model.Draft, reason error) (model.Message, Outcome, error) {
	if d.Key == "" || asError(reason) == nil {
		return model.Message{}, Stored, reason
	}
	state, err := s.Store.SendState(ctx, &repo.Send{ConversationID: conversationID, Sender: caller.Client, Key: d.Key, Digest: d.Digest})
	switch {
	case err != nil:
		return model.Message{}, Stored, err
	case state.Replay == nil || !state.SameBody:
		return model.Message{}, Stored, reason
	}
	return *state.Replay, Replayed, nil
}
