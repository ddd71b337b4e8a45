package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/afterhours/afterhours"
)

// encoding is the first byte of every encoded event. A build refuses what it
// does not know.
const encoding = 1

var errTruncated = errors.New("decode event: truncated")

// AppendEvent appends the encoded event to dst: the one value cell of a row.
//
//	byte     1 (this format)
//	varint   event time, microseconds
//	varint   received time, microseconds
//	uvarint  length of the ID, then its bytes
//	…        the payload, to the end
//
// The type is not in it: it is part of the row's key.
func AppendEvent(dst []byte, e afterhours.Event) []byte {
	dst = append(dst, encoding)
	dst = binary.AppendVarint(dst, int64(e.Time))
	dst = binary.AppendVarint(dst, int64(e.Received))
	dst = binary.AppendUvarint(dst, uint64(len(e.ID)))
	dst = append(dst, e.ID...)
	return append(dst, e.Payload...)
}

// DecodeEvent reads what AppendEvent wrote for an event of hour h. The payload
// shares b's memory. An event of another hour is an error: it was stored under a
// wrong key and must not be published.
func DecodeEvent(h afterhours.Hour, b []byte) (afterhours.Event, error) {
	e := afterhours.Event{Type: h.Type}
	if len(b) == 0 {
		return e, errTruncated
	}
	if b[0] != encoding {
		return e, fmt.Errorf("decode event: format %d is unknown to this build, which reads %d", b[0], encoding)
	}
	rest := b[1:]
	at, n := binary.Varint(rest)
	if n <= 0 {
		return e, errTruncated
	}
	rest = rest[n:]
	received, n := binary.Varint(rest)
	if n <= 0 {
		return e, errTruncated
	}
	rest = rest[n:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > uint64(len(rest)-n) {
		return e, errTruncated
	}
	e.Time, e.Received = afterhours.Micros(at), afterhours.Micros(received)
	e.ID, e.Payload = string(rest[n:n+int(size)]), rest[n+int(size):]
	if !h.Contains(e.Time) {
		return e, fmt.Errorf("decode event %q: its time %s is not in hour %s", e.ID, e.Time, h)
	}
	return e, nil
}
