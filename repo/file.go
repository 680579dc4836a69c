package repo

import (
	"context"
	"fmt"
	"time"

	"parley/model"
)

// The states of a file; see the table.
const (
	fileUploading = 1
	fileThere     = 2
	fileRemoved   = 3
)

// A file that no message holds is not seen any longer than this. It is removed a
// minute later: until then a message that was just found to be free to hold it is stored.
const (
	fileFresh     = `(f.unheld_since IS NULL OR f.unheld_since > now() - interval '24 hours')`
	fileOutlasted = `unheld_since < $3::timestamptz - interval '24 hours 1 minute'`
)

const fileColumns = `f.id, f.name, f.mime_type, f.size, f.width, f.height, f.duration, f.format, f.created_at`

// FileRow is a file as it is stored.
type FileRow struct {
	ID        string     `db:"id"`
	Name      *string    `db:"name"`
	MimeType  string     `db:"mime_type"`
	Size      int64      `db:"size"`
	Width     *int64     `db:"width"`
	Height    *int64     `db:"height"`
	Duration  *float64   `db:"duration"`
	Format    *string    `db:"format"`
	CreatedAt model.Time `db:"created_at"`
}

// FileKey is what the urls of files are signed with.
func (s *Store) FileKey(ctx context.Context) (key []byte, err error) {
	if err := s.get(ctx, &key, `SELECT secret FROM file_key`); err != nil {
		return nil, fmt.Errorf("read the files' key: %w", err)
	}
	return key, nil
}

// File returns a file to whoever has its key. It fails with file_not_found.
func (s *Store) File(ctx context.Context, id string) (*FileRow, error) {
	return s.file(ctx, id, true, "")
}

// FileFor returns a file to its uploader, to server tokens, and to whoever a message that
// holds it is for: the members of a conversation, and of a service those whose view of it has
// the message. For others too it fails with file_not_found.
func (s *Store) FileFor(ctx context.Context, caller model.Caller, id string) (*FileRow, error) {
	return s.file(ctx, id, caller.Server, caller.Client)
}

func (s *Store) file(ctx context.Context, id string, anybody bool, client string) (*FileRow, error) {
	const query = `SELECT ` + fileColumns + ` FROM files f
		WHERE f.id = $1 AND f.state = 2 AND ` + fileFresh + `
		  AND ($2 OR f.uploader = $3 OR EXISTS (
			SELECT 1 FROM messages g WHERE g.file_id = $1 AND (
				g.scope IN (0, 3) AND EXISTS (
					SELECT 1 FROM members m WHERE m.conversation_id = g.conversation_id AND m.client_id = $3)
				OR g.scope IN (1, 2) AND EXISTS (
					SELECT 1 FROM message_readers r
					WHERE r.conversation_id = g.conversation_id AND r.client_id = $3 AND r.seq = g.seq)
				OR g.scope = 4)))`
	missing := model.NewError(model.FileNotFound, "there is no such file, or you may not read it")
	if !storableID(id) {
		return nil, missing
	}
	var row FileRow
	if err := s.get(ctx, &row, query, id, anybody, null(client)); err != nil {
		return nil, fmt.Errorf("read a file: %w", explain(err, missing))
	}
	return &row, nil
}

// LockUnheld makes the transaction the only one that may add to what a client has
// uploaded and no message holds, and returns how much that is and when the first of it goes.
// The file except does not count.
func (s *Store) LockUnheld(ctx context.Context, client, except string) (bytes int64, until *model.Time, err error) {
	const lock = `SELECT pg_advisory_xact_lock(hashtextextended('files of ' || $1, 0))`
	// A statement of its own: it must see what was committed while we waited.
	const sum = `
		SELECT COALESCE(sum(f.size), 0)::bigint AS bytes, min(f.unheld_since) + interval '24 hours' AS until
		FROM files f WHERE f.uploader = $1 AND f.state < 3 AND f.unheld_since IS NOT NULL AND ` + fileFresh + ` AND f.id <> $2`
	if _, err := s.exec(ctx, lock, client); err != nil {
		return 0, nil, fmt.Errorf("lock a client's files: %w", err)
	}
	var row struct {
		Bytes int64       `db:"bytes"`
		Until *model.Time `db:"until"`
	}
	if err := s.get(ctx, &row, sum, client, except); err != nil {
		return 0, nil, fmt.Errorf("sum a client's files up: %w", err)
	}
	return row.Bytes, row.Until, nil
}

// InsertFile notes that a file of at least so many bytes is being uploaded. Should that
// never end, it is removed like one that no message holds.
func (s *Store) InsertFile(ctx context.Context, id, uploader string, atLeast int64) error {
	const query = `INSERT INTO files (id, uploader, state, size, created_at, unheld_since) VALUES ($1, $2, $3, $4, now(), now())`
	if _, err := s.exec(ctx, query, id, null(uploader), fileUploading, atLeast); err != nil {
		return fmt.Errorf("insert a file: %w", err)
	}
	return nil
}

// FinishFile makes an uploaded file one that is there; it reports whether it was still being uploaded.
func (s *Store) FinishFile(ctx context.Context, f *FileRow) (bool, error) {
	const query = `
		UPDATE files SET state = $2, name = $3, mime_type = $4, size = $5, width = $6, height = $7, duration = $8, format = $9,
		                 created_at = now(), unheld_since = now()
		WHERE id = $1 AND state = $10`
	n, err := s.exec(ctx, query, f.ID, fileThere, f.Name, f.MimeType, f.Size, f.Width, f.Height, f.Duration, f.Format, fileUploading)
	if err != nil {
		return false, fmt.Errorf("finish a file: %w", err)
	}
	return n == 1, nil
}

// RemoveFile hides a file of the caller's, or any for a server token, from everybody;
// its bytes are to be removed next, and then its row. It fails with file_not_found.
func (s *Store) RemoveFile(ctx context.Context, caller model.Caller, id string) error {
	const query = `UPDATE files f SET state = $4, unheld_since = '-infinity'
		WHERE f.id = $1 AND f.state = 2 AND ` + fileFresh + ` AND ($2 OR f.uploader = $3)`
	missing := model.NewError(model.FileNotFound, "there is no such file of yours")
	if !storableID(id) {
		return missing
	}
	n, err := s.exec(ctx, query, id, caller.Server, null(caller.Client), fileRemoved)
	if err != nil {
		return fmt.Errorf("remove a file: %w", err)
	}
	if n == 0 {
		return missing
	}
	return nil
}

// RemoveFiles hides up to limit files that no message has held for a day, and returns
// them and others that are hidden but not gone yet.
func (s *Store) RemoveFiles(ctx context.Context, now time.Time, limit int) (ids []string, err error) {
	const query = `
		UPDATE files SET state = $2, unheld_since = '-infinity' WHERE id IN (
			SELECT id FROM files WHERE ` + fileOutlasted + ` ORDER BY unheld_since LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING id`
	if err := s.selectAll(ctx, &ids, query, limit, fileRemoved, now); err != nil {
		return nil, fmt.Errorf("remove files: %w", err)
	}
	return ids, nil
}

// DeleteFile forgets a file whose bytes are gone.
func (s *Store) DeleteFile(ctx context.Context, id string) error {
	if _, err := s.exec(ctx, `DELETE FROM files WHERE id = $1`, id); err != nil {
		return fmt.Errorf("delete a file: %w", err)
	}
	return nil
}
