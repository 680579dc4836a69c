package files

// riffChunks calls f for each chunk of a RIFF file from off to end.
func (w *window) riffChunks(off, end int64, f func(kind string, off, size int64)) {
	for off < end && w.step() {
		b := w.at(off, 8)
		if b == nil {
			return
		}
		size := int64(le.Uint32(b[4:]))
		f(string(b[:4]), off+8, size)
		off += 8 + size + size&1
	}
}

func wav(w *window, m *Meta) {
	var rate int64 // bytes of a second
	w.riffChunks(12, w.size, func(kind string, off, size int64) {
		switch kind {
		case "fmt ":
			if b := w.at(off, 12); b != nil {
				rate = int64(le.Uint32(b[8:]))
			}
		case "data":
			if rest := w.size - off; size == 0 || size > rest { // written as it came, without going back
				size = rest
			}
			if rate > 0 && m.Duration == nil {
				m.setDuration(float64(size) / float64(rate))
			}
		}
	})
}

func avi(w *window, m *Meta) {
	b := w.at(0, 72)
	if b == nil || string(b[12:16]) != "LIST" || string(b[20:28]) != "hdrlavih" {
		return
	}
	b = b[32:] // microseconds of a frame; ...; frames; ...; width; height
	m.setDuration(float64(le.Uint32(b)) * float64(le.Uint32(b[16:])) / 1e6)
	m.setSize(int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:])))
}

func flac(w *window, m *Meta) {
	b := w.at(0, 26)
	if b == nil || string(b[:4]) != "fLaC" || b[4]&0x7f != 0 {
		return
	}
	rate := be.Uint32(b[18:]) >> 12            // 20 bits
	samples := be.Uint64(b[18:]) & (1<<36 - 1) // the last 36
	if rate > 0 {
		m.setDuration(float64(samples) / float64(rate))
	}
}

// walk adds up the durations of frames from off to end; frame returns the length of the
// one at off, 0 if there is none. Of a long file only the start is walked over, and the rest
// is taken to be alike.
func (w *window) walk(off, end int64, frame func(off int64) (bytes int64, seconds float64)) float64 {
	const far = 256 << 10
	start, total := off, 0.0
	for off < end {
		if off-start >= far {
			return total * float64(end-start) / float64(off-start)
		}
		n, s := frame(off)
		if n <= 0 {
			break
		}
		off, total = off+n, total+s
	}
	return total
}

// afterID3 is where the sound begins, behind the tags that may stand before it.
func afterID3(w *window) (off int64) {
	for w.step() {
		b := w.at(off, 10)
		if b == nil || string(b[:3]) != "ID3" {
			return off
		}
		off += 10 + int64(b[6]&0x7f)<<21 + int64(b[7]&0x7f)<<14 + int64(b[8]&0x7f)<<7 + int64(b[9]&0x7f)
		if b[5]&0x10 != 0 { // a footer
			off += 10
		}
	}
	return off
}

var (
	// kbit of a second, by version (1; 2 and 2.5), layer (3, 2, 1) and index.
	mpegRates = [2][3][15]int64{
		{{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
			{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
			{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}},
		{{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
			{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
			{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256}},
	}
	mpegSamples = [2][3]int64{{1152, 1152, 384}, {576, 1152, 384}} // of a frame, likewise
	mpegFreq    = [3]int64{44100, 48000, 32000}                    // of version 1
)

// mpegFrame is the header of one frame of MPEG sound.
type mpegFrame struct {
	bytes, samples, freq int64
	side                 int64 // length of what stands between header and Xing's
}

func readMPEG(b []byte) (f mpegFrame, ok bool) {
	if b == nil || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return f, false
	}
	version, layer, rate, freq := b[1]>>3&3, b[1]>>1&3, b[2]>>4, b[2]>>2&3
	if version == 1 || layer == 0 || rate == 0 || rate == 15 || freq == 3 {
		return f, false
	}
	old, l := 0, layer-1 // 0: layer 3
	if version != 3 {
		old = 1
	}
	f.freq = mpegFreq[freq] >> old
	if version == 0 { // 2.5
		f.freq >>= 1
	}
	f.samples = mpegSamples[old][l]
	padding := int64(b[2] >> 1 & 1)
	if l == 2 {
		padding *= 4
	}
	f.bytes = f.samples/8*mpegRates[old][l][rate]*1000/f.freq + padding
	switch mono := b[3]>>6 == 3; {
	case old == 0 && !mono:
		f.side = 32
	case old == 1 && mono:
		f.side = 9
	default:
		f.side = 17
	}
	return f, true
}

func mp3(w *window, m *Meta) {
	off := afterID3(w)
	for limit := off + 4096; ; off++ { // junk
		if _, ok := readMPEG(w.at(off, 4)); ok {
			break
		}
		if off == limit {
			return
		}
	}
	first, _ := readMPEG(w.at(off, 4))
	if frames := countedFrames(w, off, first.side); frames > 0 {
		m.setDuration(float64(frames) * float64(first.samples) / float64(first.freq))
		return
	}
	end := w.size
	if b := w.at(end-128, 3); string(b) == "TAG" {
		end -= 128
	}
	m.setDuration(w.walk(off, end, func(off int64) (int64, float64) {
		f, ok := readMPEG(w.at(off, 4))
		if !ok {
			return 0, 0
		}
		return f.bytes, float64(f.samples) / float64(f.freq)
	}))
}

// countedFrames reads how many frames there are where the encoder has left word of it; else 0.
func countedFrames(w *window, off, side int64) uint32 {
	if b := w.at(off+4+side, 12); b != nil && (string(b[:4]) == "Xing" || string(b[:4]) == "Info") && b[7]&1 != 0 {
		return be.Uint32(b[8:])
	}
	if b := w.at(off+36, 18); b != nil && string(b[:4]) == "VBRI" {
		return be.Uint32(b[14:])
	}
	return 0
}

var aacFreq = [16]float64{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

func aac(w *window, m *Meta) {
	m.setDuration(w.walk(afterID3(w), w.size, func(off int64) (int64, float64) {
		b := w.at(off, 7)
		if b == nil || b[0] != 0xff || b[1]&0xf6 != 0xf0 {
			return 0, 0
		}
		freq := aacFreq[b[2]>>2&0xf]
		if freq == 0 {
			return 0, 0
		}
		return int64(be.Uint32(b[3:]) >> 13 & 0x1fff), 1024 / freq * float64(1+b[6]&3)
	}))
}

// amr adds up frames of 20 ms; the first byte of each tells its length.
func amr(w *window, m *Meta) {
	off, lengths := int64(6), [16]int64{13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1}
	if b := w.at(0, 9); string(b) == "#!AMR-WB\n" {
		off, lengths = 9, [16]int64{18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1}
	}
	m.setDuration(w.walk(off, w.size, func(off int64) (int64, float64) {
		b := w.at(off, 1)
		if b == nil {
			return 0, 0
		}
		return lengths[b[0]>>3&0xf], 0.02
	}))
}
