package files

import "encoding/binary"

var (
	be = binary.BigEndian
	le = binary.LittleEndian
)

func png(w *window, m *Meta) {
	if b := w.at(0, 24); b != nil && string(b[12:16]) == "IHDR" {
		m.setSize(int64(be.Uint32(b[16:])), int64(be.Uint32(b[20:])))
	}
}

func gif(w *window, m *Meta) {
	if b := w.at(0, 10); b != nil {
		m.setSize(int64(le.Uint16(b[6:])), int64(le.Uint16(b[8:])))
	}
}

func bmp(w *window, m *Meta) {
	const head = 26
	b := w.at(0, head)
	if b == nil {
		return
	}
	if le.Uint32(b[14:]) == 12 { // the oldest header
		m.setSize(int64(le.Uint16(b[18:])), int64(le.Uint16(b[20:])))
		return
	}
	width, height := int64(int32(le.Uint32(b[18:]))), int64(int32(le.Uint32(b[22:])))
	if height < 0 { // upside down
		height = -height
	}
	m.setSize(width, height)
}

func webp(w *window, m *Meta) {
	b := w.at(0, 30)
	if b == nil {
		return
	}
	switch string(b[12:16]) {
	case "VP8 ":
		if string(b[23:26]) == "\x9d\x01\x2a" {
			m.setSize(int64(le.Uint16(b[26:])&0x3fff), int64(le.Uint16(b[28:])&0x3fff))
		}
	case "VP8L":
		if b[20] == 0x2f {
			v := int64(le.Uint32(b[21:]))
			m.setSize(v&0x3fff+1, v>>14&0x3fff+1)
		}
	case "VP8X":
		m.setSize(uint24(b[24:])+1, uint24(b[27:])+1)
	}
}

func uint24(b []byte) int64 { return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 }

// jpeg walks over the segments to the one that begins the frame.
func jpeg(w *window, m *Meta) {
	for off := int64(2); w.step(); {
		b := w.at(off, 4)
		switch {
		case b == nil || b[0] != 0xff:
			return
		case b[1] == 0xff: // filling
			off++
			continue
		case b[1] == 0x01 || b[1] >= 0xd0 && b[1] <= 0xd8: // without a length
			off += 2
			continue
		case b[1] == 0xd9 || b[1] == 0xda: // the end, or the picture itself
			return
		case b[1] >= 0xc0 && b[1] <= 0xcf && b[1] != 0xc4 && b[1] != 0xc8 && b[1] != 0xcc:
			if f := w.at(off+5, 4); f != nil {
				m.setSize(int64(be.Uint16(f[2:])), int64(be.Uint16(f)))
			}
			return
		}
		off += 2 + int64(max(2, be.Uint16(b[2:])))
	}
}
