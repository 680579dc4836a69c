package repo

import (
	"database/sql/driver"
	"encoding/binary"
)

// array is a one-dimensional array in PostgreSQL's binary form, which a connection
// with binary parameters takes as it is. Its elements are all of one kind.
type array struct {
	of  element
	buf []byte
}

// element is the type of an array's elements: its OID, and the size of a value, 0 when they vary.
type element struct {
	oid  uint32
	size int
}

var (
	ofBool  = element{16, 1}
	ofBytea = element{17, 0}
	ofInt8  = element{20, 8}
	ofInt2  = element{21, 2}
	ofInt4  = element{23, 4}
	ofText  = element{25, 0}
)

const arrayHead = 20 // dimensions, whether there may be nulls, type, length, lower bound

// newArray returns an empty array with room for about n elements.
func newArray(of element, n int) *array {
	size := of.size
	if size == 0 {
		size = 28
	}
	buf := make([]byte, arrayHead, arrayHead+n*(4+size))
	binary.BigEndian.PutUint32(buf, 1)
	binary.BigEndian.PutUint32(buf[4:], 1)
	binary.BigEndian.PutUint32(buf[8:], of.oid)
	binary.BigEndian.PutUint32(buf[16:], 1)
	return &array{of: of, buf: buf}
}

func texts(n int) *array { return newArray(ofText, n) }

// begin counts another element of so many bytes, which the caller appends; -1 is null.
func (a *array) begin(size int) {
	length := a.buf[12:16]
	binary.BigEndian.PutUint32(length, binary.BigEndian.Uint32(length)+1)
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(int32(size)))
}

func (a *array) null() { a.begin(-1) }

// text appends s, or null.
func (a *array) text(s string, valid bool) {
	if !valid {
		a.null()
		return
	}
	a.begin(len(s))
	a.buf = append(a.buf, s...)
}

// bytes appends b; nil is null.
func (a *array) bytes(b []byte) {
	if b == nil {
		a.null()
		return
	}
	a.begin(len(b))
	a.buf = append(a.buf, b...)
}

func (a *array) bool(v bool) {
	a.begin(a.of.size)
	if v {
		a.buf = append(a.buf, 1)
	} else {
		a.buf = append(a.buf, 0)
	}
}

// int appends v, which must fit.
func (a *array) int(v int64) {
	a.begin(a.of.size)
	switch a.of.size {
	case 2:
		a.buf = binary.BigEndian.AppendUint16(a.buf, uint16(v))
	case 4:
		a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(v))
	case 8:
		a.buf = binary.BigEndian.AppendUint64(a.buf, uint64(v))
	}
}

// Value hands the array to the driver.
func (a *array) Value() (driver.Value, error) { return a.buf, nil }
