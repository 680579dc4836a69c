package files

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// Meta is what the content of a file says of itself. Nil and empty: it does not say.
// The numbers are as the file claims; nothing is decoded to check them.
type Meta struct {
	MimeType      string // never empty; without parameters
	Format        string // the usual ending of such a file's name, without the dot
	Width, Height *int64
	Duration      *float64 // seconds, to the millisecond
}

// Inspect reads from a file's content what it is. It reads little of it, however
// large, and takes whatever is malformed for less. It fails only when r does.
func Inspect(r io.ReaderAt, size int64) (m Meta, err error) {
	w := &window{r: r, size: size, left: mostBlocks, steps: mostSteps, blocks: make(map[int64][]byte)}
	defer func() {
		// The parsers are fuzzed, ours and mimetype's; should one still stumble over a file,
		// then that file is just a file.
		if p := recover(); p != nil {
			m, err = Meta{MimeType: octets, Format: ""}, nil
		}
	}()
	m = inspect(w)
	if w.err != nil {
		return Meta{}, fmt.Errorf("inspect a file: %w", w.err)
	}
	return m, nil
}

const octets = "application/octet-stream"

func inspect(w *window) Meta {
	kind := mimetype.Detect(w.at(0, int(min(w.size, blockSize))))
	var m Meta
	m.MimeType, _, _ = strings.Cut(kind.String(), ";")
	m.Format = strings.TrimPrefix(kind.Extension(), ".")
	if parse := parsers[m.MimeType]; parse != nil {
		parse(w, &m)
	}
	return m
}

// parsers are those of the types that have a size or a duration.
var parsers = map[string]func(*window, *Meta){
	"image/png":           png,
	"image/apng":          png,
	"image/jpeg":          jpeg,
	"image/gif":           gif,
	"image/webp":          webp,
	"image/bmp":           bmp,
	"image/avif":          heif,
	"image/heic":          heif,
	"image/heic-sequence": heif,
	"image/heif":          heif,
	"image/heif-sequence": heif,
	"video/mp4":           movie,
	"video/x-m4v":         movie,
	"video/quicktime":     movie,
	"video/3gpp":          movie,
	"video/3gpp2":         movie,
	"audio/mp4":           movie,
	"audio/x-m4a":         movie,
	"application/ogg":     ogg,
	"audio/ogg":           ogg,
	"video/ogg":           ogg,
	"video/webm":          matroska,
	"video/matroska":      matroska,
	"video/x-msvideo":     avi,
	"audio/mpeg":          mp3,
	"audio/aac":           aac,
	"audio/amr":           amr,
	"audio/wav":           wav,
	"audio/flac":          flac,
}

// setSize notes a size in pixels, unless it makes no sense.
func (m *Meta) setSize(width, height int64) {
	if width > 0 && height > 0 && width <= math.MaxInt32 && height <= math.MaxInt32 {
		m.Width, m.Height = &width, &height
	}
}

// setDuration notes a duration in seconds, unless it makes no sense.
func (m *Meta) setDuration(seconds float64) {
	const most = 1e9 // some thirty years
	if seconds > 0 && seconds <= most {
		seconds = math.Round(seconds*1000) / 1000
		m.Duration = &seconds
	}
}

const (
	blockSize  = 32 << 10
	mostBlocks = 64   // 2 MiB of a file are read at most
	mostSteps  = 4096 // boxes, segments and the like looked at
)

// window reads a file in blocks, within bounds. What lies beyond is as if it were not there.
type window struct {
	r      io.ReaderAt
	size   int64
	left   int // blocks that may still be read
	steps  int // see step
	blocks map[int64][]byte
	err    error // of r
}

// at returns the n bytes at off, at most blockSize; nil when they are not all there.
func (w *window) at(off int64, n int) []byte {
	if off < 0 || n < 0 || n > blockSize || off > w.size-int64(n) {
		return nil
	}
	first := w.block(off / blockSize)
	from := int(off % blockSize)
	if from+n <= len(first) {
		return first[from : from+n]
	}
	second := w.block(off/blockSize + 1)
	if len(first) < blockSize || from+n-blockSize > len(second) {
		return nil
	}
	return append(append(make([]byte, 0, n), first[from:]...), second[:from+n-blockSize]...)
}

func (w *window) block(i int64) []byte {
	if b, ok := w.blocks[i]; ok {
		return b
	}
	if w.left == 0 || w.err != nil {
		return nil
	}
	w.left--
	b := make([]byte, min(blockSize, w.size-i*blockSize))
	n, err := w.r.ReadAt(b, i*blockSize)
	if n < len(b) {
		w.err = err
		if err == nil {
			w.err = io.ErrUnexpectedEOF
		}
	}
	w.blocks[i] = b[:n]
	return b[:n]
}

// step counts what is looked at; false when that is enough.
func (w *window) step() bool {
	w.steps--
	return w.steps >= 0
}
