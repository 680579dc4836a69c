package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	gogif "image/gif"
	gojpeg "image/jpeg"
	gopng "image/png"
	"math"
	"strconv"
	"strings"
	"testing"
)

// cat joins what a file is made of: text, bytes, numbers (big-endian; le32 and le16 the other way round).
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case le16:
			b = binary.LittleEndian.AppendUint16(b, uint16(p))
		case le32:
			b = binary.LittleEndian.AppendUint32(b, uint32(p))
		case le64:
			b = binary.LittleEndian.AppendUint64(b, uint64(p))
		default:
			var err error
			if b, err = binary.Append(b, binary.BigEndian, p); err != nil {
				panic(err)
			}
		}
	}
	return b
}

type (
	le16 uint16
	le32 uint32
	le64 uint64
)

func zeros(n int) []byte { return make([]byte, n) }

func box(kind string, parts ...any) []byte {
	content := cat(parts...)
	return cat(uint32(len(content)+8), kind, content)
}

// element has a length of 8 bytes.
func element(id []byte, parts ...any) []byte {
	content := cat(parts...)
	return cat(id, uint64(len(content))|1<<56, content)
}

func page(flags byte, granule uint64, serial uint32, packet []byte) []byte {
	return cat("OggS", byte(0), flags, le64(granule), le32(serial), le32(0), le32(0), byte(1), byte(len(packet)), packet)
}

func riff(kind string, parts ...any) []byte {
	content := cat(parts...)
	return cat("RIFF", le32(len(content)+4), kind, content)
}

func chunk(kind string, parts ...any) []byte {
	content := cat(parts...)
	return cat(kind, le32(len(content)), content, zeros(len(content)%2))
}

// hugePNG claims a size that nobody should try to decode.
func hugePNG(width, height uint32) []byte {
	head := cat("IHDR", width, height, []byte{8, 2, 0, 0, 0})
	return cat("\x89PNG\r\n\x1a\n", uint32(13), head, crc32.ChecksumIEEE(head), zeros(49<<10))
}

func encoded(encode func(*bytes.Buffer, image.Image) error, width, height int) []byte {
	var b bytes.Buffer
	if err := encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func trak(handler string, width, height uint16) []byte {
	return box("trak",
		box("tkhd", zeros(76), width, uint16(0), height, uint16(0)),
		box("mdia", box("hdlr", zeros(8), handler, zeros(12))))
}

func mp4(ftyp string, moov ...any) []byte {
	return cat(box("ftyp", ftyp, zeros(4), ftyp), box("mdat", zeros(100000)), box("moov", moov...))
}

func mvhd(scale, ticks uint32) []byte { return box("mvhd", zeros(12), scale, ticks, zeros(80)) }

func mvhd1(scale uint32, ticks uint64) []byte {
	return box("mvhd", byte(1), zeros(19), scale, ticks, zeros(80))
}

func webm(doctype string, duration float64, tracks ...[]byte) []byte {
	return cat(
		element([]byte{0x1a, 0x45, 0xdf, 0xa3}, element([]byte{0x42, 0x82}, doctype)),
		[]byte{0x18, 0x53, 0x80, 0x67}, uint64(1<<57-1), // of unknown length
		element([]byte{0x15, 0x49, 0xa9, 0x66}, element([]byte{0x2a, 0xd7, 0xb1}, uint32(1e6)), element([]byte{0x44, 0x89}, duration)),
		element([]byte{0x16, 0x54, 0xae, 0x6b}, bytes.Join(tracks, nil)),
		element([]byte{0x1f, 0x43, 0xb6, 0x75}, zeros(1000)))
}

func video(width, height uint16) []byte {
	return element([]byte{0xae}, element([]byte{0x83}, byte(1)),
		element([]byte{0xe0}, element([]byte{0xb0}, width), element([]byte{0xba}, height)))
}

func sound() []byte { return element([]byte{0xae}, element([]byte{0x83}, byte(2))) }

// mp3Frames are of 128 kbit/s at 44.1 kHz: 417 bytes and 1152 samples each.
func mp3Frames(n int) []byte {
	return bytes.Repeat(cat([]byte{0xff, 0xfb, 0x90, 0x00}, zeros(413)), n)
}

func samples() map[string]struct {
	data []byte
	want string // as String below
} {
	opus := cat("OpusHead", byte(1), byte(1), le16(312), le32(48000), le16(0), byte(0))
	vorbis := cat("\x01vorbis", le32(0), byte(2), le32(44100), zeros(14))
	theora := cat("\x80theora", []byte{3, 2, 1}, zeros(4), []byte{0, 1, 64, 0, 0, 240}, zeros(22))
	return map[string]struct {
		data []byte
		want string
	}{
		"png":           {encoded(func(b *bytes.Buffer, m image.Image) error { return gopng.Encode(b, m) }, 30, 20), "image/png png 30x20"},
		"huge":          {hugePNG(20000, 20000), "image/png png 20000x20000"},
		"png, negative": {hugePNG(1<<31, 10), "image/png png"},
		"jpeg":          {encoded(func(b *bytes.Buffer, m image.Image) error { return gojpeg.Encode(b, m, nil) }, 31, 21), "image/jpeg jpg 31x21"},
		"jpeg, thumbnail first": {cat([]byte{0xff, 0xd8, 0xff, 0xe1}, uint16(40000), zeros(39998), []byte{0xff, 0xff, 0xc2}, uint16(11), byte(8), uint16(480), uint16(640), zeros(4)),
			"image/jpeg jpg 640x480"},
		"gif":            {encoded(func(b *bytes.Buffer, m image.Image) error { return gogif.Encode(b, m, nil) }, 32, 22), "image/gif gif 32x22"},
		"bmp":            {cat("BM", zeros(8), le32(54), le32(40), le32(33), int32(0), zeros(100)), "image/bmp bmp"},
		"bmp, top":       {cat("BM", zeros(8), le32(54), le32(40), le32(33), le32(0xffffffe9), zeros(100)), "image/bmp bmp 33x23"},
		"webp":           {riff("WEBP", chunk("VP8 ", zeros(3), "\x9d\x01\x2a", le16(34), le16(24), zeros(10))), "image/webp webp 34x24"},
		"webp, lossless": {riff("WEBP", chunk("VP8L", byte(0x2f), le32(34|24<<14), zeros(10))), "image/webp webp 35x25"},
		"webp, extended": {riff("WEBP", chunk("VP8X", zeros(4), []byte{35, 0, 0, 25, 0, 0}), chunk("ALPH", zeros(20))), "image/webp webp 36x26"},
		"avif": {cat(box("ftyp", "avif", zeros(4), "avifmif1"), box("meta", zeros(4), box("iprp", box("ipco",
			box("ispe", zeros(4), uint32(64), uint32(64)), box("ispe", zeros(4), uint32(4000), uint32(3000)))))), "image/avif avif 4000x3000"},

		"mp4":            {mp4("isom", mvhd(1000, 2500), trak("soun", 0, 0), trak("vide", 640, 360)), "video/mp4 mp4 640x360 2.5s"},
		"mp4, long":      {mp4("isom", mvhd1(90000, 90000*3), trak("vide", 640, 360)), "video/mp4 mp4 640x360 3s"},
		"mp4, sound":     {mp4("isom", mvhd(44100, 44100), trak("soun", 0, 0)), "audio/mp4 mp4 1s"},
		"mp4, fragments": {mp4("isom", mvhd(1000, 0), box("mvex", box("mehd", zeros(4), uint32(1234)))), "video/mp4 mp4 1.234s"},
		"mp4, unknown":   {mp4("isom", mvhd(1000, 1<<32-1)), "video/mp4 mp4"},
		"mp4, no scale":  {mp4("isom", mvhd(0, 1000)), "video/mp4 mp4"},
		"m4a":            {mp4("M4A ", mvhd(1000, 4000), trak("soun", 0, 0)), "audio/x-m4a m4a 4s"},
		"mov":            {mp4("qt  ", mvhd(600, 900), trak("vide", 10, 10)), "video/quicktime mov 10x10 1.5s"},
		"webm":           {webm("webm", 5500, sound(), video(320, 240)), "video/webm webm 320x240 5.5s"},
		"webm, sound":    {webm("webm", 1000, sound()), "audio/webm webm 1s"},
		"webm, nonsense": {webm("webm", math.NaN(), video(0, 5)), "video/webm webm"},
		"mkv":            {webm("matroska", 7000, video(320, 240)), "video/matroska mkv 320x240 7s"},
		"opus":           {cat(page(2, 0, 7, opus), page(0, 0, 7, []byte("OpusTags")), page(4, 48000*2+312, 7, zeros(200))), "audio/ogg ogg 2s"},
		"vorbis":         {cat(page(2, 0, 7, vorbis), zeros(70000), page(4, 44100, 7, zeros(99)), page(4, 1<<64-1, 7, zeros(9))), "audio/ogg ogg 1s"},
		"theora":         {cat(page(2, 0, 8, theora), page(2, 0, 7, vorbis), page(4, 44100*4, 7, zeros(99)), page(4, 999, 8, nil)), "video/ogg ogg 320x240 4s"},
		"wav":            {riff("WAVE", chunk("fmt ", le16(1), le16(1), le32(8000), le32(16000), le32(0)), chunk("LIST", zeros(3)), chunk("data", zeros(24000))), "audio/wav wav 1.5s"},
		"wav, streamed":  {cat("RIFF", le32(0), "WAVE", chunk("fmt ", le16(1), le16(1), le32(8000), le32(16000), le32(0)), "data", le32(0xffffffff), zeros(8000)), "audio/wav wav 0.5s"},
		"flac":           {cat("fLaC", byte(0), []byte{0, 0, 34}, zeros(10), uint64(44100)<<44|uint64(44100*9), zeros(16)), "audio/flac flac 9s"},
		"avi":            {riff("AVI ", chunk("LIST", "hdrl", chunk("avih", le32(40000), zeros(12), le32(250), zeros(12), le32(352), le32(288), zeros(16)))), "video/x-msvideo avi 352x288 10s"},
		"mp3":            {cat("ID3", []byte{3, 0, 0, 0, 0, 2, 0}, zeros(256), mp3Frames(100), "TAG", zeros(125)), "audio/mpeg mp3 2.612s"},
		"mp3, long":      {mp3Frames(3000), "audio/mpeg mp3 78.367s"},
		"mp3, counted":   {cat("ID3", []byte{3, 0, 0, 0, 0, 0, 10}, zeros(10), []byte{0xff, 0xfb, 0x90, 0x00}, zeros(32), "Xing", uint32(1), uint32(441), zeros(400)), "audio/mpeg mp3 11.52s"},
		"mp3, tag only":  {cat("ID3", []byte{3, 0, 0, 0, 0x7f, 0x7f, 0x7f}, zeros(99)), "audio/mpeg mp3"},
		"aac":            {bytes.Repeat(cat([]byte{0xff, 0xf1, 0x50, 0x80, 0x01, 0xff, 0xfc}, zeros(8)), 43), "audio/aac aac 0.998s"},
		"amr":            {cat("#!AMR\n", bytes.Repeat(cat(byte(0x3c), zeros(31)), 75)), "audio/amr amr 1.5s"},

		"text":   {[]byte("hello\n"), "text/plain txt"},
		"empty":  {nil, "text/plain txt"},
		"html":   {[]byte("<!DOCTYPE html><script>alert(1)</script>"), "text/html html"},
		"svg":    {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><script/></svg>`), "image/svg+xml svg"},
		"pdf":    {[]byte("%PDF-1.7\n..."), "application/pdf pdf"},
		"zip":    {[]byte("PK\x05\x06" + strings.Repeat("\x00", 18)), "application/zip zip"},
		"binary": {[]byte{0, 1, 2, 3, 0xfe, 0xff, 0, 9}, "application/octet-stream"},
	}
}

func describe(m Meta) string {
	parts := []string{m.MimeType}
	if m.Format != "" {
		parts = append(parts, m.Format)
	}
	if m.Width != nil {
		parts = append(parts, itoa(float64(*m.Width))+"x"+itoa(float64(*m.Height)))
	}
	if m.Duration != nil {
		parts = append(parts, itoa(*m.Duration)+"s")
	}
	return strings.Join(parts, " ")
}

func TestInspect(t *testing.T) {
	for name, s := range samples() {
		m, err := Inspect(bytes.NewReader(s.data), int64(len(s.data)))
		if got := describe(m); err != nil || got != s.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, s.want)
		}
	}
}

// counting counts what is read, and fails where it is told to.
type counting struct {
	*bytes.Reader
	bytes  int
	failAt int64
}

func (c *counting) ReadAt(b []byte, off int64) (int, error) {
	if c.failAt > 0 && off+int64(len(b)) > c.failAt {
		return 0, errors.New("away")
	}
	c.bytes += len(b)
	return c.Reader.ReadAt(b, off)
}

func TestInspectIsBounded(t *testing.T) {
	for name, data := range map[string][]byte{
		"mp3":  mp3Frames(40000),
		"mp4":  cat(box("ftyp", "isom", zeros(4), "isom"), bytes.Repeat(box("free", zeros(1000)), 16000)),
		"jpeg": cat([]byte{0xff, 0xd8}, bytes.Repeat(cat([]byte{0xff, 0xe1}, uint16(30000), zeros(29998)), 600)),
		"ogg":  cat(page(2, 0, 7, cat("OpusHead", zeros(20))), bytes.Repeat([]byte("OggS"), 4<<20)),
	} {
		r := &counting{Reader: bytes.NewReader(data)}
		if _, err := Inspect(r, int64(len(data))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r.bytes > mostBlocks*blockSize {
			t.Errorf("%s: read %d bytes", name, r.bytes)
		}
	}
}

func TestInspectTellsThatReadingFailed(t *testing.T) {
	data := samples()["mp4"].data
	if _, err := Inspect(&counting{Reader: bytes.NewReader(data), failAt: blockSize}, int64(len(data))); err == nil {
		t.Error("an unreadable end was taken for none")
	}
}

// FuzzParsers throws every parser at everything, without the net that Inspect spreads.
func FuzzParsers(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.data[:min(len(s.data), 1<<10)])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, parse := range parsers {
			r := &counting{Reader: bytes.NewReader(data)}
			w := &window{r: r, size: int64(len(data)), left: mostBlocks, steps: mostSteps, blocks: make(map[int64][]byte)}
			m := Meta{MimeType: name}
			parse(w, &m)
			if w.err != nil || r.bytes > mostBlocks*blockSize {
				t.Errorf("%s: %v, %d bytes", name, w.err, r.bytes)
			}
			if (m.Width == nil) != (m.Height == nil) || m.Width != nil && (*m.Width < 1 || *m.Height < 1) {
				t.Errorf("%s: a size that is none", name)
			}
			if d := m.Duration; d != nil && !(*d >= 0 && *d <= 1e9) {
				t.Errorf("%s: lasts %v", name, *d)
			}
		}
		m := inspect(&window{r: bytes.NewReader(data), size: int64(len(data)), left: mostBlocks, steps: mostSteps, blocks: make(map[int64][]byte)})
		if m.MimeType == "" {
			t.Error("no type")
		}
	})
}

func itoa(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
