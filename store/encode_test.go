package store_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

var testHour = afterhours.HourOf("purchase", 1_795_000_000e6)

func sameEvent(a, b afterhours.Event) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Time == b.Time && a.Received == b.Received && bytes.Equal(a.Payload, b.Payload)
}

// events draws any event of an hour, also one that would not be valid.
func events(h afterhours.Hour) *rapid.Generator[afterhours.Event] {
	return rapid.Custom(func(t *rapid.T) afterhours.Event {
		return afterhours.Event{
			ID: rapid.String().Draw(t, "id"), Type: h.Type,
			Time:     h.Start + afterhours.Micros(rapid.Int64Range(0, 3_600e6-1).Draw(t, "time")),
			Received: afterhours.Micros(rapid.Int64().Draw(t, "received")),
			Payload:  rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
	})
}

// TestEncoding shows that every event is read back as it was, from behind
// whatever it was appended to.
func TestEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := afterhours.HourOf("purchase", afterhours.Micros(rapid.Int64Range(-62135596800e6, 253402300800e6-1).Draw(t, "hour")))
		e := events(h).Draw(t, "event")
		b := store.AppendEvent([]byte("before"), e)
		got, err := store.DecodeEvent(h, b[len("before"):])
		if err != nil || !sameEvent(got, e) || string(b[:6]) != "before" {
			t.Fatalf("%+v was read as %+v, error %v", e, got, err)
		}
	})
}

// TestEncodingIsStable holds the format to its bytes: they are in databases.
func TestEncodingIsStable(t *testing.T) {
	e := afterhours.Event{ID: "id", Type: "purchase", Time: -1, Received: 64, Payload: []byte("{}")}
	want := "\x01" + "\x01" + "\x80\x01" + "\x02id" + "{}"
	if got := string(store.AppendEvent(nil, e)); got != want {
		t.Errorf("encoded as %q, want %q", got, want)
	}
}

// TestDecodeEventRefuses shows that an error says what is wrong.
func TestDecodeEventRefuses(t *testing.T) {
	whole := store.AppendEvent(nil, afterhours.Event{ID: "an ID", Time: testHour.Start, Received: math.MaxInt64})
	for cut := range whole {
		if e, err := store.DecodeEvent(testHour, whole[:cut]); err == nil || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("the first %d of %d bytes were read as %+v, error %v", cut, len(whole), e, err)
		}
	}
	outside := func(at afterhours.Micros) []byte { return store.AppendEvent(nil, afterhours.Event{ID: "e", Time: at}) }
	for fault, b := range map[string][]byte{
		"format 0 is unknown":                 {0},
		"format 2 is unknown":                 append([]byte{2}, whole[1:]...),
		"is not in hour " + testHour.String(): outside(testHour.End()),
		`decode event "e": its time`:          outside(testHour.Start - 1),
		"truncated":                           append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...),
	} {
		if e, err := store.DecodeEvent(testHour, b); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%q was read as %+v, error %v, want one with %q", b, e, err, fault)
		}
	}
}

// FuzzDecodeEvent shows that any bytes are refused or read as an event of the
// hour, which is read the same from its own encoding.
func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte{})
	f.Add(store.AppendEvent(nil, afterhours.Event{ID: "e", Time: testHour.Start, Received: -1, Payload: []byte("{}")}))
	f.Add([]byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := store.DecodeEvent(testHour, b)
		if err != nil {
			return
		}
		if e.Hour() != testHour {
			t.Fatalf("%q was read as an event of %s", b, e.Hour())
		}
		if back, err := store.DecodeEvent(testHour, store.AppendEvent(nil, e)); err != nil || !sameEvent(e, back) {
			t.Fatalf("%+v was read as %+v, error %v", e, back, err)
		}
	})
}

// TestOwnLane shows that only a segment's text names a lane of its own.
func TestOwnLane(t *testing.T) {
	seg := afterhours.NewSegment()
	if got, own := store.OwnLane(seg).Own(); !own || got != seg {
		t.Errorf("lane of %s belongs to %s: %v", seg, got, own)
	}
	for _, name := range []string{"", "2026-11-20", strings.ToUpper(seg.String()[:31] + "a"), seg.String() + "0"} {
		if got, own := (store.Lane{Name: name}).Own(); own {
			t.Errorf("lane %q belongs to %s", name, got)
		}
	}
}
