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
	laneTable        table = 'l' // hour, lane name
	rowTable         table = 'r' // hour, lane name, segment, seq
	noteTable        table = 'n' // hour, lineage, lane name, segment, first, last
	typeTable        table = 't' // event type
	columnTable      table = 'c' // event type, column name
	requestTable     table = 'q' // lake, hour, request ID
	partitionTable   table = 'p' // lake, hour
	stuckTable       table = 'x' // lake, hour
	publicationTable table = 'f' // lake, time, hour, lineage, generation
	sweptTable       table = 'w' // lake
	settingTable     table = 's' // setting name
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

// nameKey is a key that begins with a name: an event type, a lake or a setting.
func nameKey(t table, name string) []byte {
	return appendString([]byte{byte(t)}, name)
}

// hourKey is a key that begins with an hour.
func hourKey(t table, h afterhours.Hour) []byte {
	return appendHour([]byte{byte(t)}, h)
}

// lakeKey is a key that begins with a lake and an hour.
func lakeKey(t table, lake string, h afterhours.Hour) []byte {
	return appendHour(nameKey(t, lake), h)
}

func appendHour(key []byte, h afterhours.Hour) []byte {
	key = appendString(key, h.Type)
	key = appendInt(key, int64(h.Start))
	return append(key, byte(h.Width))
}

// appendInt flips the sign, so that what is negative comes first.
func appendInt(key []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(n)^1<<63)
}

// cutInt reads what appendInt wrote and returns the rest.
func cutInt(key []byte) (n int64, rest []byte, err error) {
	if len(key) < 8 {
		return 0, nil, errKey
	}
	return int64(binary.BigEndian.Uint64(key) ^ 1<<63), key[8:], nil
}

// laneKey is an index row's key, or what a lane's row keys begin with.
func laneKey(t table, h afterhours.Hour, lane string) []byte {
	return appendString(hourKey(t, h), lane)
}

func appendRowID(key []byte, id afterhours.RowID) []byte {
	key = append(key, id.Segment[:]...)
	return binary.BigEndian.AppendUint32(key, id.Seq)
}

// cutHour reads the hour that a key begins with.
func cutHour(key []byte) (h afterhours.Hour, rest []byte, err error) {
	if len(key) == 0 {
		return h, nil, errKey
	}
	h.Type, rest, err = cutString(key[1:])
	if err != nil || len(rest) < 8+1 {
		return h, nil, fmt.Errorf("%w: %q", errKey, key)
	}
	start, rest, err := cutInt(rest)
	h.Start, h.Width = afterhours.Micros(start), afterhours.Width(rest[0])
	return h, rest[1:], err
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
