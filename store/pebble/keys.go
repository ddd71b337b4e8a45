package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/afterhours/afterhours"
)

// table is the first byte of a key.
type table byte

const (
	laneTable      table = 'l' // hour, lane name
	rowTable       table = 'r' // hour, lane name, segment, seq
	columnTable    table = 'c' // event type, column name
	requestTable   table = 'q' // hour, request ID
	partitionTable table = 'p' // hour
	stuckTable     table = 's' // hour
)

// rowIDSize is the length of what names a row within its lane.
const rowIDSize = len(afterhours.Segment{}) + 4

var errKey = errors.New("decode key: malformed")

// appendString appends s so that no encoded string is a prefix of another, and
// that they are in the order of the strings.
func appendString(key []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			break
		}
		key = append(key, s[:i]...)
		key = append(key, 0, 0xff)
		s = s[i+1:]
	}
	key = append(key, s...)
	return append(key, 0, 1)
}

// cutString reads what appendString wrote and returns the rest.
func cutString(key []byte) (s string, rest []byte, err error) {
	var b []byte
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 || i+1 == len(key) {
			return "", nil, errKey
		}
		b = append(b, key[:i]...)
		mark := key[i+1]
		key = key[i+2:]
		switch mark {
		case 1:
			return string(b), key, nil
		case 0xff:
			b = append(b, 0)
		default:
			return "", nil, errKey
		}
	}
}

func typeKey(t table, eventType string) []byte {
	return appendString([]byte{byte(t)}, eventType)
}

// hourKey flips the sign of the time, so that hours before 1970 come first.
func hourKey(t table, h afterhours.Hour) []byte {
	key := typeKey(t, h.Type)
	key = binary.BigEndian.AppendUint64(key, uint64(h.Start)^1<<63)
	return append(key, byte(h.Width))
}

// laneKey is an index row's key, or what a lane's row keys begin with.
func laneKey(t table, h afterhours.Hour, lane string) []byte {
	return appendString(hourKey(t, h), lane)
}

func appendRowID(key []byte, id afterhours.RowID) []byte {
	key = append(key, id.Segment[:]...)
	return binary.BigEndian.AppendUint32(key, id.Seq)
}

// cutHour reads an hour from a key of any table that has one.
func cutHour(key []byte) (h afterhours.Hour, rest []byte, err error) {
	if len(key) == 0 {
		return h, nil, errKey
	}
	h.Type, rest, err = cutString(key[1:])
	if err != nil || len(rest) < 9 {
		return h, nil, fmt.Errorf("%w: %q", errKey, key)
	}
	h.Start = afterhours.Micros(binary.BigEndian.Uint64(rest) ^ 1<<63)
	h.Width = afterhours.Width(rest[8])
	return h, rest[9:], nil
}

// cutRowID reads what appendRowID wrote, and nothing more.
func cutRowID(b []byte) (id afterhours.RowID, err error) {
	if len(b) != rowIDSize {
		return id, fmt.Errorf("%w: row ID %x", errKey, b)
	}
	copy(id.Segment[:], b)
	id.Seq = binary.BigEndian.Uint32(b[len(id.Segment):])
	return id, nil
}

// after returns the first key that does not begin with prefix. No table is the
// byte 255, so there is one.
func after(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	end = append(make([]byte, 0, len(end)), end...)
	end[len(end)-1]++
	return end
}
