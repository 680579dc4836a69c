package main

import (
	"bytes"
	"errors"
	"fmt"
)

// frame is one event as it stands on the wire. Its slices are valid only while
// the callback that got it runs.
type frame struct {
	raw             []byte // all lines, the closing empty one included
	id, event, data []byte // nil when the line is absent
}

// sseParser cuts a byte stream into frames, however the bytes were split. It
// copies only what straddles two chunks. Lines end in LF, as the server writes them.
type sseParser struct {
	carry []byte // the beginning of a frame whose end has not come yet
}

// feed takes the next bytes and calls emit for every frame they complete.
func (p *sseParser) feed(chunk []byte, emit func(frame)) {
	if len(p.carry) > 0 {
		end := frameEndAfter(p.carry, chunk)
		if end < 0 {
			p.carry = append(p.carry, chunk...)
			return
		}
		p.carry = append(p.carry, chunk[:end]...)
		f, _ := nextFrame(p.carry)
		emit(f)
		p.carry, chunk = p.carry[:0], chunk[end:]
	}
	for {
		f, used := nextFrame(chunk)
		if used == 0 {
			p.carry = append(p.carry, chunk...)
			return
		}
		emit(f)
		chunk = chunk[used:]
	}
}

// frameEndAfter returns how many bytes of chunk belong to the frame begun in
// carry; -1 when the frame does not end in chunk.
func frameEndAfter(carry, chunk []byte) int {
	if carry[len(carry)-1] == '\n' && len(chunk) > 0 && chunk[0] == '\n' {
		return 1
	}
	if i := bytes.Index(chunk, []byte("\n\n")); i >= 0 {
		return i + 2
	}
	return -1
}

// nextFrame takes the first frame off b and says how many bytes it has; 0 when
// its end is not there yet. The contract has one data line; of several only the
// last would be seen.
func nextFrame(b []byte) (f frame, used int) {
	for {
		i := bytes.IndexByte(b[used:], '\n')
		if i < 0 {
			return frame{}, 0
		}
		line := b[used : used+i]
		used += i + 1
		switch {
		case i == 0:
			f.raw = b[:used]
			return f, used
		case line[0] == 'd':
			f.data = field(line, "data:", f.data)
		case line[0] == 'e':
			f.event = field(line, "event:", f.event)
		case line[0] == 'i':
			f.id = field(line, "id:", f.id)
		}
	}
}

// field is the value of a line that has that name, else what there was before.
func field(line []byte, name string, before []byte) []byte {
	if len(line) < len(name) || string(line[:len(name)]) != name {
		return before
	}
	if value := line[len(name):]; len(value) == 0 || value[0] != ' ' {
		return value
	}
	return line[len(name)+1:]
}

// dechunker takes HTTP/1.1 chunked framing off a stream of bytes, however they were split.
type dechunker struct {
	left  int    // bytes of the current chunk still to come
	line  []byte // the part of a size line seen so far
	state chunkState
}

type chunkState byte

const (
	inSize chunkState = iota // reading a size line
	inData                   // reading left bytes
	inTail                   // reading the CRLF after a chunk
	inEnd                    // reading the trailer
)

var errChunk = errors.New("broken chunked encoding")

// feed takes the next bytes, hands the body's bytes on, and says how many it
// used and whether the last chunk has been seen.
func (d *dechunker) feed(in []byte, emit func([]byte)) (used int, done bool, err error) {
	for used < len(in) {
		if d.state == inData {
			n := min(d.left, len(in)-used)
			emit(in[used : used+n])
			used += n
			if d.left -= n; d.left == 0 {
				d.state = inTail
			}
			continue
		}
		i := bytes.IndexByte(in[used:], '\n')
		if i < 0 {
			d.line = append(d.line, in[used:]...)
			return len(in), false, nil
		}
		d.line = append(d.line, in[used:used+i]...)
		used += i + 1
		done, err = d.endLine()
		if done || err != nil {
			return used, done, err
		}
	}
	return used, false, nil
}

// endLine acts on a completed line outside the data.
func (d *dechunker) endLine() (done bool, err error) {
	line := bytes.TrimSuffix(d.line, []byte("\r"))
	d.line = d.line[:0]
	switch d.state {
	case inTail:
		if len(line) != 0 {
			return false, errChunk
		}
		d.state = inSize
	case inSize:
		size, _, _ := bytes.Cut(line, []byte(";"))
		if _, err := fmt.Sscanf(string(size), "%x", &d.left); err != nil || d.left < 0 {
			return false, errChunk
		}
		if d.state = inData; d.left == 0 {
			d.state = inEnd
		}
	case inEnd:
		return len(line) == 0, nil
	}
	return false, nil
}
