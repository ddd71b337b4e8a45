package lake

import (
	"encoding/binary"
	"errors"

	"github.com/afterhours/afterhours"
)

// Within a rewrite rows travel through sorters as a key and a body. Both keys
// there are, by ID and by order, end with the event ID, so the body has its
// length only:
//
//	byte     flags
//	uvarint  length of the ID
//	varint   event time
//	varint   received time
//	         if the flag says so, for every declared column: a byte, 1 if it has
//	         a value, then the value: varint, or uvarint length and bytes
//	…        the payload, to the end
type flags byte

const (
	hasConflict flags = 1 << iota
	hasCells
	fromBase // the row was published already, and counted
)

var errBody = errors.New("read sorted rows: temporary file is damaged")

func appendBody(dst []byte, r *record, f flags) []byte {
	if r.conflict {
		f |= hasConflict
	}
	dst = append(dst, byte(f))
	dst = binary.AppendUvarint(dst, uint64(len(r.id)))
	dst = binary.AppendVarint(dst, int64(r.time))
	dst = binary.AppendVarint(dst, int64(r.received))
	if f&hasCells != 0 {
		for _, c := range r.cells {
			dst = appendCell(dst, c)
		}
	}
	return append(dst, r.payload...)
}

func appendCell(dst []byte, c cell) []byte {
	switch {
	case !c.set:
		return append(dst, 0)
	case c.bytes != nil:
		dst = binary.AppendUvarint(append(dst, 2), uint64(len(c.bytes)))
		return append(dst, c.bytes...)
	default:
		return binary.AppendVarint(append(dst, 1), c.bits)
	}
}

// decodeBody sets r from a key and body, whose memory it then shares. columns is
// how many cells there are if the body has cells.
func decodeBody(key, body []byte, columns int, r *record) (flags, error) {
	d := decoder{b: body}
	f := flags(d.byte())
	n := d.uvarint()
	r.time, r.received = afterhours.Micros(d.varint()), afterhours.Micros(d.varint())
	r.conflict = f&hasConflict != 0
	r.cells = r.cells[:0]
	if f&hasCells != 0 {
		for range columns {
			r.cells = append(r.cells, d.cell())
		}
	}
	if d.bad || n > uint64(len(key)) {
		return 0, errBody
	}
	r.id, r.payload = key[len(key)-int(n):], d.b
	return f, nil
}

// idOf returns the ID of a key and body.
func idOf(key, body []byte) ([]byte, error) {
	d := decoder{b: body}
	d.byte()
	n := d.uvarint()
	if d.bad || n > uint64(len(key)) {
		return nil, errBody
	}
	return key[len(key)-int(n):], nil
}

// decoder reads values off the front of b until something is wrong.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, n = true, 0
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// fixed reads what must stand there.
func (d *decoder) fixed(want string) {
	if string(d.take(len(want))) != want {
		d.bad = true
	}
}

func (d *decoder) uint32() uint32 {
	if v := d.take(4); len(v) == 4 {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); len(v) == 8 {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) byte() byte {
	if v := d.take(1); len(v) == 1 {
		return v[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

// skip passes over a varint that had n bytes; 0 and less say that it was none.
func (d *decoder) skip(n int) {
	if n <= 0 {
		n = -1
	}
	d.take(n)
}

func (d *decoder) cell() cell {
	switch d.byte() {
	case 0:
		return cell{}
	case 1:
		return cell{set: true, bits: d.varint()}
	default:
		return cell{set: true, bytes: d.take(int(d.uvarint()))}
	}
}
