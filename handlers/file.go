package handlers

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"parley/chat"
	"parley/model"
	"parley/repo"
)

const (
	fileStall  = 30 * time.Second // without a byte, in either direction: the client has gone
	fileTotal  = time.Hour        // for one upload
	fileRefuse = 10 * time.Second // for the rest of one that is refused
	fileRest   = time.Second      // likewise, without a byte
	// fileWrapping is how much longer than its file the body of a form may be.
	fileWrapping = 64 << 10
	// mostRanges keeps one request from making many of an S3 store.
	mostRanges = 8
)

// UploadFile stores a file.
//
//	@Summary		Upload a file
//	@Description	As the field `file` of a form, or as the raw body, of any media type. What the file is, its size and duration are read from its content. A file that no message holds is removed after 24 hours.
//	@Tags			files
//	@Accept			multipart/form-data,application/octet-stream
//	@Param			name	query		string	false	"the file's name, with a raw body"	maxlength(255)
//	@Param			file	formData	file	true	"the file"
//	@Success		201		{object}	model.StoredFile
//	@Failure		default	{object}	Problem
//	@Router			/v1/files [post]
func (h *Handlers) UploadFile(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	body := &uploadBody{
		r: r.Body, conn: http.NewResponseController(w), end: time.Now().Add(fileTotal), awaited: r.Header.Get("Expect") == "",
	}
	n, err := h.newFile(r, body)
	var f *model.StoredFile
	if err == nil {
		f, err = h.Chat.Upload(r.Context(), caller, n)
	}
	if err != nil {
		body.giveUp()
		return err
	}
	body.rest()
	w.Header().Set("Location", model.FilePath+f.ID)
	return encode(w, http.StatusCreated, f)
}

// newFile reads of a request what comes before the file itself.
func (h *Handlers) newFile(r *http.Request, body io.Reader) (n chat.NewFile, err error) {
	p := query(r)
	name, named := p.text("name")
	if err := p.done(); err != nil {
		return n, err
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return n, model.NewError(model.UnsupportedMediaType, "say with Content-Type what the body is: multipart/form-data with the field file, or the file's own")
	case kind == "multipart/form-data" && named:
		return n, model.Invalid("name", "is for a raw body: a form names its file itself")
	case kind == "multipart/form-data":
		return h.formFile(r, body, params["boundary"])
	case strings.HasPrefix(kind, "multipart/"):
		return n, model.NewError(model.UnsupportedMediaType, "of multipart bodies only multipart/form-data is taken")
	case r.ContentLength == 0:
		return n, model.Invalid("body", "must be the file, and is empty")
	}
	if named {
		err = model.CheckFileName("name", name)
	}
	return chat.NewFile{Name: name, Body: body, AtLeast: max(0, r.ContentLength)}, err
}

// formFile finds the file in a form, which holds nothing else.
func (h *Handlers) formFile(r *http.Request, body io.Reader, boundary string) (n chat.NewFile, err error) {
	most := h.Chat.Config.Files.MaxBytes
	tooLarge := model.NewError(model.FileTooLarge, "a file may be %d bytes", most)
	if r.ContentLength > most+fileWrapping {
		return n, tooLarge
	}
	if boundary == "" {
		return n, model.Invalid("Content-Type", "must name the boundary of the form")
	}
	form := multipart.NewReader(&capped{r: body, left: most + fileWrapping, err: tooLarge}, boundary)
	part, err := form.NextRawPart()
	switch {
	case err == io.EOF:
		return n, model.Invalid("file", "is needed")
	case err != nil:
		return n, formError(err)
	case part.FormName() != "file":
		return n, model.Invalid(clip(orForm(part.FormName())), "is not known here: a form holds the field file alone")
	}
	name := part.FileName()
	if name != "" {
		err = model.CheckFileName("file", name)
	}
	return chat.NewFile{Name: name, Body: &onlyPart{part: part, form: form}, AtLeast: max(0, r.ContentLength-fileWrapping)}, err
}

func orForm(name string) string {
	if name == "" {
		return "body"
	}
	return strings.ToValidUTF8(name, "�")
}

// formError is what a form is refused for that cannot be read.
func formError(err error) error {
	var ours *model.Error
	if errors.As(err, &ours) {
		return err
	}
	return model.Invalid("body", "must be a whole multipart/form-data form")
}

// onlyPart reads the one part of a form, and at its end sees to it that no other follows.
type onlyPart struct {
	part *multipart.Part
	form *multipart.Reader
}

func (p *onlyPart) Read(b []byte) (int, error) {
	n, err := p.part.Read(b)
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		return n, formError(err)
	}
	switch next, err := p.form.NextRawPart(); {
	case err == io.EOF:
		return n, io.EOF
	case err != nil:
		return n, formError(err)
	case next.FormName() == "file":
		return n, model.Invalid("file", "must not be repeated")
	default:
		return n, model.Invalid(clip(orForm(next.FormName())), "is not known here: a form holds the field file alone")
	}
}

// capped fails with err when there is more to read than left bytes.
type capped struct {
	r    io.Reader
	left int64
	err  error
}

func (c *capped) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

// uploadBody reads the body of an upload, and gives a client up that stalls.
type uploadBody struct {
	r       io.Reader
	conn    *http.ResponseController
	end     time.Time
	awaited bool // the client is sending: it does not wait to be asked, or has been
}

func (u *uploadBody) Read(b []byte) (int, error) {
	u.awaited = true
	deadline := time.Now().Add(fileStall)
	if deadline.After(u.end) {
		deadline = u.end
	}
	_ = u.conn.SetReadDeadline(deadline) // fails only where there is no connection, as in tests
	n, err := u.r.Read(b)
	switch {
	case err == io.EOF:
		u.rest()
	case err != nil:
		err = model.Invalid("body", "could not be read to its end")
	}
	return n, err
}

// giveUp takes for a while what nobody wants: most clients, browsers among them, hear why
// an upload is refused only when they have sent all of it.
func (u *uploadBody) giveUp() {
	end, b := time.Now().Add(fileRefuse), make([]byte, 32<<10)
	for u.awaited && time.Now().Before(end) {
		_ = u.conn.SetReadDeadline(time.Now().Add(fileRest))
		switch _, err := u.r.Read(b); {
		case err == io.EOF:
			u.rest()
			return
		case err != nil:
			end = time.Now()
		}
	}
	_ = u.conn.SetReadDeadline(time.Now()) // net/http would wait for some more before it answers
}

// rest lifts the deadline: the connection is watched for its end also while nothing is read.
func (u *uploadBody) rest() { _ = u.conn.SetReadDeadline(time.Time{}) }

// File sends a file, or a part of it.
//
//	@Summary		Download a file
//	@Description	With the key of its url for anybody, without a token. Else for its uploader, members of a conversation with a message that holds it, and server tokens.
//	@Tags			files
//	@Produce		octet-stream
//	@Param			id		path		string	true	"file"
//	@Param			key		query		string	false	"as in its url"
//	@Param			Range	header		string	false	"which part"
//	@Success		200,206	{file}		file
//	@Failure		default	{object}	Problem
//	@Router			/v1/files/{id} [get]
func (h *Handlers) File(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	key, keyed := p.text("key")
	if err := p.done(); err != nil {
		return err
	}
	var given *string
	if keyed {
		given = &key
	}
	id := r.PathValue("id")
	row, blob, err := h.Chat.OpenFile(r.Context(), caller, id, given)
	if err != nil {
		return err
	}
	defer blob.Close()
	r = withRange(r, row.Size)
	source := &notedReader{ReadSeeker: blob}
	d := &download{ResponseWriter: w, conn: http.NewResponseController(w)}
	headers := fileHeaders(row, keyed)
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	http.ServeContent(d, r, "", row.CreatedAt.Time, source)
	switch err = nil; {
	case d.status == http.StatusPreconditionFailed:
		err = model.NewError(model.PreconditionFailed, "the file is not as If-Match or If-Unmodified-Since says")
	case d.status == http.StatusRequestedRangeNotSatisfiable:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", row.Size))
		err = model.NewError(model.RangeNotSatisfiable, "the file has %d bytes", row.Size)
	case source.err != nil:
		err = h.Chat.FileReadError(r.Context(), id, source.err)
	}
	if err != nil {
		for name := range headers {
			w.Header().Del(name)
		}
		return err
	}
	d.finish()
	return nil
}

// withRange is the request as http.ServeContent takes it rightly: it refuses units it does
// not know, which are to be ignored, and takes the last 0 bytes for a part.
func withRange(r *http.Request, size int64) *http.Request {
	given := r.Header.Get("Range")
	known := strings.HasPrefix(given, "bytes=") && strings.Count(given, ",") < mostRanges
	if given == "" || known && given != "bytes=-0" {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range") // to send all of it is always right
	if known {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", size))
	}
	return r
}

// fileHeaders describe a file to browsers, which must neither guess what it is nor run it.
func fileHeaders(f *repo.FileRow, keyed bool) map[string]string {
	kind, disposition := f.MimeType, "attachment"
	if inline(kind) {
		disposition = "inline"
	}
	if strings.HasPrefix(kind, "text/") {
		kind += "; charset=utf-8"
	}
	name := f.ID
	if f.Format != nil {
		name += "." + *f.Format
	}
	if f.Name != nil {
		name = *f.Name
	}
	cache := "private, no-cache" // who may read it can change
	if keyed {
		cache = "private, max-age=86400"
	}
	return map[string]string{
		"Content-Type":            kind,
		"Content-Disposition":     disposition + fileNameParams(name),
		"Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox",
		"Cache-Control":           cache,
		"Etag":                    `"` + f.ID + `"`, // its content never changes
	}
}

// inline reports whether a browser may show a file of that type by itself: nothing that
// could hold a script, PDF included.
func inline(kind string) bool {
	switch kind {
	case "image/png", "image/apng", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/heic", "image/heif",
		"text/plain":
		return true
	}
	return strings.HasPrefix(kind, "audio/") || strings.HasPrefix(kind, "video/")
}

// fileNameParams writes a name as RFC 6266 says: plainly, and exactly where the plain one says less.
func fileNameParams(name string) string {
	const hex = "0123456789ABCDEF"
	var plain, exact strings.Builder
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune("._-", c):
			plain.WriteRune(c)
			exact.WriteRune(c)
			continue
		case strings.ContainsRune(" ()[]{}+,@!#$&~^=", c):
			plain.WriteRune(c)
		default:
			plain.WriteByte('_')
		}
		for _, b := range []byte(string(c)) {
			exact.WriteString("%" + string(hex[b>>4]) + string(hex[b&0xf]))
		}
	}
	params := `; filename="` + plain.String() + `"`
	if plain.String() != name {
		params += "; filename*=UTF-8''" + exact.String()
	}
	return params
}

// notedReader remembers how reading failed, which http.ServeContent does not tell.
type notedReader struct {
	io.ReadSeeker
	err error
}

func (n *notedReader) Read(b []byte) (int, error) {
	m, err := n.ReadSeeker.Read(b)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return m, err
}

// download holds the header back until there is something to send, so that a failure
// can still be answered, and gives a client up that takes nothing.
type download struct {
	http.ResponseWriter
	conn   *http.ResponseController
	status int // 0: not known yet
	begun  bool
}

func (d *download) WriteHeader(status int) { d.status = status }

func (d *download) Write(b []byte) (int, error) {
	if d.status == http.StatusRequestedRangeNotSatisfiable {
		return len(b), nil // answered otherwise
	}
	_ = d.conn.SetWriteDeadline(time.Now().Add(fileStall)) // fails only where there is no connection, as in tests
	if !d.begun {
		d.begun = true
		d.ResponseWriter.WriteHeader(d.status)
	}
	return d.ResponseWriter.Write(b)
}

// finish answers what has no body, and lifts the deadline: the connection may serve others.
func (d *download) finish() {
	if !d.begun {
		d.ResponseWriter.WriteHeader(d.status)
	}
	_ = d.conn.SetWriteDeadline(time.Time{})
}

// DeleteFile removes a file.
//
//	@Summary		Delete a file of one's own
//	@Description	Messages that hold it stay; its url in them leads nowhere from then on.
//	@Tags			files
//	@Param			id	path	string	true	"file"
//	@Success		204
//	@Failure		default	{object}	Problem
//	@Router			/v1/files/{id} [delete]
func (h *Handlers) DeleteFile(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := h.Chat.DeleteFile(r.Context(), caller, r.PathValue("id")); err != nil {
		return err
	}
	return noContent(w)
}
