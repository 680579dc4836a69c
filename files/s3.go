package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// What an upload keeps in memory: at first, to send what is small in one request, and then one part at a time.
	s3Small = 1 << 20
	s3Part  = 5 << 20 // the least that a part may have
	// A store that is away is told to the client soon; it may try again.
	s3Retries = 3
)

// S3 keeps files in a bucket of an S3-compatible store.
type S3 struct {
	core   minio.Core
	bucket string
	part   uint64
}

// S3Config says which bucket, and whose.
type S3Config struct {
	Bucket   string
	Endpoint *url.URL // scheme and host
	Region   string
	Key      string
	Secret   string
	MaxBytes int64 // of one file
}

// ParseS3 reads s3://bucket?endpoint=...&region=... An endpoint without a scheme is reached by https.
func ParseS3(text string) (S3Config, error) {
	var c S3Config
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.Port() != "" || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return c, errors.New("is not s3://bucket?endpoint=...&region=...")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, errors.New("is not s3://bucket?endpoint=...&region=...")
	}
	for name, values := range query {
		if (name != "endpoint" && name != "region") || len(values) != 1 {
			return c, fmt.Errorf("%q is to be given once, or not at all: there are endpoint and region", name)
		}
	}
	endpoint := query.Get("endpoint")
	if endpoint == "" {
		endpoint = "s3.amazonaws.com"
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	e, err := url.Parse(endpoint)
	if err != nil || (e.Scheme != "https" && e.Scheme != "http") || e.Host == "" || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" || e.User != nil {
		return c, errors.New("endpoint must be a host such as s3.example.com or http://127.0.0.1:9000")
	}
	c.Bucket, c.Endpoint, c.Region = u.Host, e, query.Get("region")
	_, err = OpenS3(c) // knows what a bucket may be called
	return c, err
}

// OpenS3 returns the store; it connects when it is used.
func OpenS3(c S3Config) (*S3, error) {
	core, err := minio.NewCore(c.Endpoint.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(c.Key, c.Secret, ""),
		Secure:     c.Endpoint.Scheme == "https",
		Region:     c.Region,
		MaxRetries: s3Retries,
	})
	if err != nil {
		return nil, fmt.Errorf("the S3 store: %w", err)
	}
	if len(c.Bucket) < 3 || len(c.Bucket) > 63 {
		return nil, errors.New("the name of a bucket has 3 to 63 characters")
	}
	const mostParts = 10000
	return &S3{core: *core, bucket: c.Bucket, part: uint64(max(s3Part, c.MaxBytes/mostParts+1))}, nil
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, id string, r io.Reader) (size int64, err error) {
	if err := checkID(id); err != nil {
		return 0, err
	}
	// minio takes io.ErrUnexpectedEOF, which is how a body that was cut short ends, for the end of the file.
	source := &noted{r: r}
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: s.part, NumThreads: 1, AutoChecksum: minio.ChecksumCRC32C}
	small, err := io.ReadAll(io.LimitReader(source, s3Small))
	if err != nil {
		return 0, err
	}
	var info minio.UploadInfo
	if len(small) < s3Small {
		info, err = s.core.Client.PutObject(ctx, s.bucket, id, bytes.NewReader(small), int64(len(small)), opts)
	} else {
		info, err = s.core.Client.PutObject(ctx, s.bucket, id, io.MultiReader(bytes.NewReader(small), source), -1, opts)
	}
	if err == nil && source.err == nil {
		return info.Size, nil
	}
	_ = s.Delete(context.WithoutCancel(ctx), id)
	if source.err != nil {
		return 0, source.err
	}
	return 0, fmt.Errorf("S3: %w", err)
}

// noted remembers how reading failed.
type noted struct {
	r   io.Reader
	err error
}

func (n *noted) Read(b []byte) (int, error) {
	m, err := n.r.Read(b)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return m, err
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := s.core.RemoveIncompleteUpload(ctx, s.bucket, id); err != nil && !missing(err) {
		return fmt.Errorf("S3: %w", err)
	}
	if err := s.core.RemoveObject(ctx, s.bucket, id, minio.RemoveObjectOptions{}); err != nil && !missing(err) {
		return fmt.Errorf("S3: %w", err)
	}
	return nil
}

func missing(err error) bool {
	e := minio.ToErrorResponse(err)
	return e.Code == "NoSuchKey" || e.Code == "NoSuchUpload" || e.StatusCode == http.StatusNotFound && e.Code != "NoSuchBucket"
}

// Open implements Store. Nothing is asked of the store before the first Read.
func (s *S3) Open(ctx context.Context, id string, size int64) (Blob, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	return &s3Blob{store: s, ctx: ctx, id: id, size: size}, nil
}

// s3Blob reads an object by ranged requests: one from each place that it is read from.
type s3Blob struct {
	store *S3
	ctx   context.Context
	id    string
	size  int64
	at    int64         // of the next Read
	body  io.ReadCloser // from at on; nil: not asked for
}

func (b *s3Blob) get(from, to int64) (io.ReadCloser, error) {
	var opts minio.GetObjectOptions
	if err := opts.SetRange(from, to-1); err != nil {
		return nil, err
	}
	body, _, _, err := b.store.core.GetObject(b.ctx, b.store.bucket, b.id, opts)
	switch {
	case err == nil:
		return body, nil
	case missing(err):
		return nil, fmt.Errorf("S3: %w: %w", fs.ErrNotExist, err)
	}
	return nil, fmt.Errorf("S3: %w", err)
}

// Read implements io.Reader.
func (b *s3Blob) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	if b.body == nil {
		var err error
		if b.body, err = b.get(b.at, b.size); err != nil {
			return 0, err
		}
	}
	n, err := b.body.Read(p)
	b.at += int64(n)
	if err == io.EOF && b.at < b.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (b *s3Blob) ReadAt(p []byte, off int64) (int, error) {
	end := min(off+int64(len(p)), b.size)
	if off >= end {
		return 0, io.EOF
	}
	body, err := b.get(off, end)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p[:end-off])
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (b *s3Blob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("files: seek before the start")
	}
	if offset != b.at {
		_ = b.Close()
		b.at = offset
	}
	return offset, nil
}

// Close ends reading.
func (b *s3Blob) Close() error {
	if b.body == nil {
		return nil
	}
	err := b.body.Close()
	b.body = nil
	return err
}
