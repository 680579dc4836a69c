package files

import "math"

// The elements of Matroska and WebM that are looked at.
const (
	idSegment   = 0x18538067
	idInfo      = 0x1549a966
	idScale     = 0x2ad7b1 // nanoseconds of a tick
	idDuration  = 0x4489   // ticks
	idTracks    = 0x1654ae6b
	idTrack     = 0xae
	idTrackType = 0x83
	idVideo     = 0xe0
	idWidth     = 0xb0
	idHeight    = 0xba
	idCluster   = 0x1f43b675
)

// elements calls f for each EBML element from off to end, until f says that it is
// enough. One of unknown length reaches to the end.
func (w *window) elements(off, end int64, f func(id uint64, off, end int64) bool) {
	for off < end && w.step() {
		id, n := w.vint(off, false)
		if n == 0 {
			return
		}
		size, k := w.vint(off+n, true)
		if k == 0 {
			return
		}
		off += n + k
		to := end
		if unknown := uint64(1)<<(7*k) - 1; size != unknown && size < uint64(end-off) {
			to = off + int64(size)
		}
		if off > end || !f(id, off, to) {
			return
		}
		off = to
	}
}

// vint reads a number of 1 to 8 bytes; n is 0 when there is none. An id keeps the bit that tells its length.
func (w *window) vint(off int64, strip bool) (v uint64, n int64) {
	b := w.at(off, 1)
	if b == nil || b[0] == 0 {
		return 0, 0
	}
	n = 1
	for bit := byte(0x80); b[0]&bit == 0; bit >>= 1 {
		n++
	}
	if b = w.at(off, int(n)); b == nil {
		return 0, 0
	}
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	if strip {
		v &^= 1 << (7 * n)
	}
	return v, n
}

// number reads an unsigned integer of up to 8 bytes; 0 when it is none.
func (w *window) number(off, end int64) (v uint64) {
	if end-off > 8 {
		return 0
	}
	for _, c := range w.at(off, int(end-off)) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (w *window) float(off, end int64) float64 {
	switch v := w.number(off, end); end - off {
	case 4:
		return float64(math.Float32frombits(uint32(v)))
	case 8:
		return math.Float64frombits(v)
	}
	return 0
}

// matroska reads Info and Tracks, which stand before the first cluster. Sound
// without a picture is of another type.
func matroska(w *window, m *Meta) {
	var picture, sound bool
	w.elements(0, w.size, func(id uint64, off, end int64) bool {
		if id != idSegment {
			return true
		}
		w.elements(off, end, func(id uint64, off, end int64) bool {
			switch id {
			case idInfo:
				segmentInfo(w, m, off, end)
			case idTracks:
				w.elements(off, end, func(id uint64, off, end int64) bool {
					if id == idTrack {
						kind := matroskaTrack(w, m, off, end)
						picture = picture || kind == 1
						sound = sound || kind == 2
					}
					return true
				})
			}
			return id != idCluster
		})
		return false
	})
	if sound && !picture && m.MimeType == "video/webm" {
		m.MimeType = "audio/webm"
	}
}

func segmentInfo(w *window, m *Meta, off, end int64) {
	scale, ticks := 1e6, 0.0
	w.elements(off, end, func(id uint64, off, end int64) bool {
		switch id {
		case idScale:
			scale = float64(w.number(off, end))
		case idDuration:
			ticks = w.float(off, end)
		}
		return true
	})
	m.setDuration(ticks * scale / 1e9)
}

// matroskaTrack notes a track's size in pixels, if it has one, and returns its kind: 1 is a picture, 2 sound.
func matroskaTrack(w *window, m *Meta, off, end int64) (kind uint64) {
	w.elements(off, end, func(id uint64, off, end int64) bool {
		switch id {
		case idTrackType:
			kind = w.number(off, end)
		case idVideo:
			var width, height uint64
			w.elements(off, end, func(id uint64, off, end int64) bool {
				switch id {
				case idWidth:
					width = w.number(off, end)
				case idHeight:
					height = w.number(off, end)
				}
				return true
			})
			if m.Width == nil && width <= math.MaxInt32 && height <= math.MaxInt32 {
				m.setSize(int64(width), int64(height))
			}
		}
		return true
	})
	return kind
}
