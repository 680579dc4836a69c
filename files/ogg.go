package files

import (
	"bytes"
)

// oggTrack is one logical stream of an Ogg file.
type oggTrack struct {
	serial uint32
	rate   float64 // samples of a second; 0: not sound that we know
	skip   uint64  // samples at the start that are not played
}

// ogg reads the first page of each stream, and the place of the last sample.
func ogg(w *window, m *Meta) {
	var tracks []oggTrack
	var picture, sound bool
	for off := int64(0); w.step() && len(tracks) < 16; {
		b := w.at(off, 27)
		if b == nil || string(b[:4]) != "OggS" || b[5]&2 == 0 { // only first pages stand at the front
			break
		}
		lengths := w.at(off+27, int(b[26]))
		if lengths == nil {
			break
		}
		body, size := off+27+int64(len(lengths)), int64(0)
		for _, n := range lengths {
			size += int64(n)
		}
		t, isPicture := oggHead(w, m, body)
		t.serial = be.Uint32(b[14:])
		tracks = append(tracks, t)
		picture, sound = picture || isPicture, sound || t.rate > 0
		off = body + size
	}
	switch {
	case picture:
		m.MimeType = "video/ogg"
	case sound:
		m.MimeType = "audio/ogg"
	}
	m.Format = "ogg"
	oggEnd(w, m, tracks)
}

// oggHead reads the first packet of a stream.
func oggHead(w *window, m *Meta, off int64) (t oggTrack, picture bool) {
	b := w.at(off, 19)
	if b == nil {
		return t, false
	}
	switch {
	case bytes.HasPrefix(b, []byte("OpusHead")):
		t.rate, t.skip = 48000, uint64(le.Uint16(b[10:]))
	case bytes.HasPrefix(b, []byte("\x01vorbis")):
		t.rate = float64(le.Uint32(b[12:]))
	case bytes.HasPrefix(b, []byte("Speex   ")):
		if b = w.at(off+36, 4); b != nil {
			t.rate = float64(le.Uint32(b))
		}
	case bytes.HasPrefix(b, []byte("\x7fFLAC")):
		if b = w.at(off+27, 4); b != nil {
			t.rate = float64(be.Uint32(b) >> 12)
		}
	case bytes.HasPrefix(b, []byte("\x80theora")):
		if b = w.at(off, 20); b != nil {
			picture = true
			m.setSize(int64(be.Uint32(b[13:])&0xffffff), int64(be.Uint32(b[16:])&0xffffff))
		}
	}
	return t, picture
}

// oggEnd looks for the last page of a stream of sound: there stands how many samples it has.
func oggEnd(w *window, m *Meta, tracks []oggTrack) {
	const page = 27 + 255 + 255*255 // the longest
	for end := w.size; end > max(0, w.size-2*page) && w.step(); {
		from := max(0, end-blockSize)
		b := w.at(from, int(end-from))
		for i := bytes.LastIndex(b, []byte("OggS")); i >= 0; i = bytes.LastIndex(b[:i], []byte("OggS")) {
			head := w.at(from+int64(i), 18)
			if head == nil {
				continue
			}
			granule := le.Uint64(head[6:])
			for _, t := range tracks {
				if t.rate > 0 && t.serial == be.Uint32(head[14:]) && granule < 1<<62 && granule > t.skip {
					m.setDuration(float64(granule-t.skip) / t.rate)
					return
				}
			}
		}
		if from == 0 {
			return
		}
		end = from + 3 // a mark may lie across the border
	}
}
