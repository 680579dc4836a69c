package files

// The boxes of ISO 14496-12: MP4, QuickTime, HEIF.

// boxes calls f for each box from off to end, with its content's place.
func (w *window) boxes(off, end int64, f func(kind string, off, end int64)) {
	for off < end && w.step() {
		b := w.at(off, 8)
		if b == nil {
			return
		}
		kind, head, size := string(b[4:8]), int64(8), int64(be.Uint32(b))
		switch size {
		case 0: // to the end
			size = end - off
		case 1:
			if b = w.at(off+8, 8); b == nil {
				return
			}
			head, size = 16, int64(be.Uint64(b))
		}
		if size < head || size > end-off {
			return
		}
		f(kind, off+head, off+size)
		off += size
	}
}

// movie finds duration and size in moov. Sound without a picture is of another type.
func movie(w *window, m *Meta) {
	var picture, sound bool
	w.boxes(0, w.size, func(kind string, off, end int64) {
		if kind != "moov" {
			return
		}
		var scale float64 // ticks of a second
		w.boxes(off, end, func(kind string, off, end int64) {
			switch kind {
			case "mvhd":
				var ticks float64
				scale, ticks = movieHeader(w, off)
				if scale > 0 {
					m.setDuration(ticks / scale)
				}
			case "mvex":
				fragments(w, m, off, end, scale)
			case "trak":
				switch track(w, m, off, end) {
				case "vide":
					picture = true
				case "soun":
					sound = true
				}
			}
		})
	})
	if sound && !picture && m.MimeType == "video/mp4" {
		m.MimeType = "audio/mp4"
	}
}

// movieHeader reads mvhd: how many ticks a second has, and how many all.
func movieHeader(w *window, off int64) (scale, ticks float64) {
	b := w.at(off, 20)
	if b == nil {
		return 0, 0
	}
	if b[0] == 0 {
		if d := be.Uint32(b[16:]); d != 1<<32-1 { // which says: unknown
			ticks = float64(d)
		}
		return float64(be.Uint32(b[12:])), ticks
	}
	if b = w.at(off, 32); b == nil {
		return 0, 0
	}
	if d := be.Uint64(b[24:]); d != 1<<64-1 {
		ticks = float64(d)
	}
	return float64(be.Uint32(b[20:])), ticks
}

// fragments finds the duration of a movie in fragments, whose header has none.
func fragments(w *window, m *Meta, off, end int64, scale float64) {
	w.boxes(off, end, func(kind string, off, _ int64) {
		b := w.at(off, 8)
		if kind != "mehd" || b == nil || scale <= 0 || m.Duration != nil {
			return
		}
		ticks := float64(be.Uint32(b[4:]))
		if b[0] == 1 {
			if b = w.at(off+4, 8); b == nil {
				return
			}
			ticks = float64(be.Uint64(b))
		}
		m.setDuration(ticks / scale)
	})
}

// track notes a track's size in pixels, if it has one, and returns its kind.
func track(w *window, m *Meta, off, end int64) (kind string) {
	var width, height int64
	w.boxes(off, end, func(box string, off, end int64) {
		switch box {
		case "tkhd":
			at := off + 76
			if b := w.at(off, 1); b != nil && b[0] == 1 {
				at = off + 88
			}
			if b := w.at(at, 8); b != nil { // fixed point
				width, height = int64(be.Uint16(b)), int64(be.Uint16(b[4:]))
			}
		case "mdia":
			w.boxes(off, end, func(box string, off, _ int64) {
				if b := w.at(off, 12); box == "hdlr" && b != nil {
					kind = string(b[8:12])
				}
			})
		}
	})
	if kind == "vide" && m.Width == nil {
		m.setSize(width, height)
	}
	return kind
}

// heif finds the largest picture: the others are its tiles and thumbnails.
func heif(w *window, m *Meta) {
	var width, height int64
	w.boxes(0, w.size, func(kind string, off, end int64) {
		if kind != "meta" {
			return
		}
		w.boxes(off+4, end, func(kind string, off, end int64) {
			if kind != "iprp" {
				return
			}
			w.boxes(off, end, func(kind string, off, end int64) {
				if kind != "ipco" {
					return
				}
				w.boxes(off, end, func(kind string, off, _ int64) {
					b := w.at(off, 12)
					if kind != "ispe" || b == nil {
						return
					}
					x, y := int64(be.Uint32(b[4:])), int64(be.Uint32(b[8:]))
					if float64(x)*float64(y) > float64(width)*float64(height) {
						width, height = x, y
					}
				})
			})
		})
	})
	m.setSize(width, height)
}
