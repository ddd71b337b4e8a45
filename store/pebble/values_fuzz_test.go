package pebble

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// FuzzRowValue shows that any bytes in a row's place are refused, have expired, or
// are an event of the row's hour; and that they are not kept.
func FuzzRowValue(f *testing.F) {
	event := store.AppendEvent(nil, afterhours.Event{ID: "e", Time: testHour.Start, Payload: []byte("{}")})
	f.Add(append(binary.AppendVarint(nil, 7), event...), int64(0))
	f.Add(append(binary.AppendVarint(nil, 7), event...), int64(7))
	f.Add(binary.AppendVarint(nil, math.MinInt64), int64(math.MinInt64))
	f.Add(bytes.Repeat([]byte{0xff}, 11), int64(0))
	f.Fuzz(func(t *testing.T, value []byte, expired int64) {
		value = bytes.Clone(value)
		e, live, err := decodeRow(testHour, value, afterhours.Micros(expired))
		if err != nil || !live {
			return
		}
		if e.Hour() != testHour {
			t.Fatalf("%q was read as an event of %s", value, e.Hour())
		}
		payload := bytes.Clone(e.Payload)
		clear(value)
		if !bytes.Equal(e.Payload, payload) {
			t.Fatal("the event shares memory with the value")
		}
	})
}

// FuzzLaneRecord shows that any bytes in a lane record's place are refused or read
// as a record, which is read the same from its own encoding.
func FuzzLaneRecord(f *testing.F) {
	r := laneRecord{Listed: true, Put: -1, Newest: math.MaxInt64, Rows: 50_000, Bytes: 1 << 40}
	f.Add(r.encode())
	f.Add([]byte{unknownFlags, 0, 0, 0, 0})
	f.Add(append([]byte{0}, bytes.Repeat([]byte{0xff}, 40)...))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeLane(value)
		if err != nil {
			return
		}
		if back, err := decodeLane(r.encode()); err != nil || back != r {
			t.Fatalf("%x was read as %+v, and that as %+v, %v", value, r, back, err)
		}
	})
}

// FuzzKeys shows that keys of any bytes are refused or are exactly the keys of what
// is read from them.
func FuzzKeys(f *testing.F) {
	f.Add(laneKey(laneTable, testHour, "2026-11-20"))
	f.Add(appendRowID(laneKey(rowTable, testHour, "2026-11-20"), afterhours.RowID{Segment: afterhours.Segment{1}, Seq: 7}))
	f.Add(append(hourKey(noteTable, testHour), 0))
	f.Add([]byte("l\x00\xff\x00\x01"))
	f.Fuzz(func(t *testing.T, key []byte) {
		h, rest, err := cutHour(key)
		if err != nil {
			return
		}
		lane, rest, err := cutString(rest)
		if err != nil {
			return
		}
		back := laneKey(table(key[0]), h, lane)
		if id, err := cutRowID(rest); err == nil {
			back = appendRowID(back, id)
		} else {
			back = append(back, rest...)
		}
		if !bytes.Equal(back, key) {
			t.Fatalf("key %x was read as %+v, lane %q, whose key is %x", key, h, lane, back)
		}
	})
}

// FuzzBoardValues shows that any text in the place of what the board keeps is
// refused with its key, or read as a value, which is read the same from its own
// text.
func FuzzBoardValues(f *testing.F) {
	set := afterhours.RowSet{}
	set.Add(afterhours.RowID{Segment: afterhours.Segment{1}, Seq: 3})
	for _, v := range []any{
		store.Partition{Hour: testHour, Generation: 3, Settled: set}, store.Request{Hour: testHour, ID: "x", Rebuild: true},
		store.Stuck{Hour: testHour, Reason: "why"}, store.Publication{Hour: testHour, Cause: "merge"}, afterhours.Micros(7), "720h",
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"Settled":"\n"}`))
	f.Add([]byte(`{"Hour":{"Start":1e30}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		readAgain[store.Partition](t, value)
		readAgain[store.Request](t, value)
		readAgain[store.Stuck](t, value)
		readAgain[store.Publication](t, value)
		readAgain[afterhours.Micros](t, value)
	})
}

func readAgain[T any](t *testing.T, value []byte) {
	t.Helper()
	v, err := decode[T]([]byte("key"), value)
	if err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%q was read as %+v, which cannot be written: %v", value, v, err)
	}
	if back, err := decode[T]([]byte("key"), b); err != nil || fmt.Sprint(back) != fmt.Sprint(v) {
		t.Fatalf("%q was read as %+v, and that as %+v, %v", value, v, back, err)
	}
}
