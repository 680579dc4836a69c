package model

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// StoredFile is an uploaded file. Null is what its content does not say.
type StoredFile struct {
	ID       string   `json:"id"`
	URL      string   `json:"url"` // signed: whoever has it may read the file
	Name     *string  `json:"name"`
	MimeType string   `json:"mimeType"`
	Size     int64    `json:"size"`     // bytes
	Width    *int64   `json:"width"`    // pixels
	Height   *int64   `json:"height"`   // pixels
	Duration *float64 `json:"duration"` // seconds
	Format   *string  `json:"format"`   // such as png or mp4
}

// InMessage is what a message that holds the file says of it.
func (f *StoredFile) InMessage() *File {
	m := &File{ID: f.ID, URL: f.URL, MimeType: f.MimeType, Size: &f.Size, Width: f.Width, Height: f.Height, Duration: f.Duration}
	if f.Name != nil {
		m.Name = *f.Name
	}
	if f.Format != nil {
		m.Format = *f.Format
	}
	return m
}

// MaxUnheldBytes is how much a client may have uploaded that no message holds.
const MaxUnheldBytes = 500 << 20

// FilePath is where a file is read, without the key.
const FilePath = "/v1/files/"

// FileOfURL takes a file's id and key out of what looks like the url of one: ours
// when the key is right, wherever the url says that it leads. relative: it does not say.
func FileOfURL(text string) (id, key string, relative, ok bool) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", false, false
	}
	i := strings.LastIndex(u.Path, FilePath)
	relative = u.Scheme == "" && u.Host == ""
	if i < 0 || relative && i > 0 {
		return "", "", relative, false
	}
	id, key = u.Path[i+len(FilePath):], u.Query().Get("key")
	return id, key, relative, id != "" && key != "" && !strings.Contains(id, "/")
}

// CheckFileName fails with invalid_request unless a file may be called so.
func CheckFileName(field, name string) error {
	const most = 255
	switch {
	case !utf8.ValidString(name):
		return Invalid(field, "must be valid UTF-8")
	case name == "" || utf8.RuneCountInString(name) > most:
		return Invalid(field, "must be the name of a file, of 1 to %d characters", most)
	case strings.ContainsFunc(name, unicode.IsControl):
		return Invalid(field, "must not hold control characters")
	}
	return nil
}
