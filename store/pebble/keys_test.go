package pebble

import (
	"bytes"
	"cmp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// place is what a row's key says.
type place struct {
	hour afterhours.Hour
	lane string
	id   afterhours.RowID
}

func (p place) key() []byte { return appendRowID(laneKey(rowTable, p.hour, p.lane), p.id) }

func (p place) compare(o place) int {
	return cmp.Or(
		p.hour.Compare(o.hour), strings.Compare(p.lane, o.lane),
		bytes.Compare(p.id.Segment[:], o.id.Segment[:]), cmp.Compare(p.id.Seq, o.id.Seq),
	)
}

// names are short and share their bytes, so that keys come close to each other.
var names = rapid.StringOfN(rapid.SampledFrom([]rune("\x00\x01a/\u00ff")), 0, 4, -1)

var places = rapid.Custom(func(t *rapid.T) place {
	var p place
	p.hour.Type = names.Draw(t, "type")
	p.hour.Start = afterhours.Micros(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 2)).Draw(t, "start"))
	p.hour.Width = afterhours.Width(rapid.IntRange(0, 1).Draw(t, "width"))
	p.lane = names.Draw(t, "lane")
	p.id.Segment[0] = rapid.SampledFrom([]byte{0, 1, 255}).Draw(t, "segment")
	p.id.Seq = rapid.Uint32().Draw(t, "seq")
	return p
})

// TestKeyOrder shows that keys are in the order of what they say, so that no two
// things have one key.
func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := places.Draw(t, "a"), places.Draw(t, "b")
		if got, want := bytes.Compare(a.key(), b.key()), a.compare(b); got != want {
			t.Fatalf("keys %x and %x compare as %d, want %d", a.key(), b.key(), got, want)
		}
	})
}

// TestKeyPrefix shows that what begins with a lane's or an hour's key is of that
// lane or hour, and lies before the key after it.
func TestKeyPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := places.Draw(t, "a"), places.Draw(t, "b")
		hour, lane := hourKey(rowTable, b.hour), laneKey(rowTable, b.hour, b.lane)
		within := func(prefix []byte) bool {
			return bytes.Compare(a.key(), prefix) >= 0 && bytes.Compare(a.key(), after(prefix)) < 0
		}
		if got, want := within(hour), a.hour == b.hour; got != want {
			t.Fatalf("%+v in hour %+v: %v", a, b.hour, got)
		}
		if got, want := within(lane), a.hour == b.hour && a.lane == b.lane; got != want {
			t.Fatalf("%+v in lane %+v %q: %v", a, b.hour, b.lane, got)
		}
	})
}

// TestKeyRead shows that keys are read back as they were made.
func TestKeyRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := places.Draw(t, "p")
		h, rest, err := cutHour(p.key())
		if err != nil || h != p.hour {
			t.Fatalf("hour %+v, want %+v, error %v", h, p.hour, err)
		}
		lane, rest, err := cutString(rest)
		if err != nil || lane != p.lane {
			t.Fatalf("lane %q, want %q, error %v", lane, p.lane, err)
		}
		if id, err := cutRowID(rest); err != nil || id != p.id {
			t.Fatalf("row %+v, want %+v, error %v", id, p.id, err)
		}
	})
}

// FuzzCutHour shows that any bytes are either read as the hour whose key they
// are, or refused.
func FuzzCutHour(f *testing.F) {
	f.Add(hourKey(laneTable, testHour))
	f.Add(laneKey(rowTable, testHour, "2026-11-20"))
	f.Add([]byte("l\x00"))
	f.Add([]byte("l\x00\x01\x00\xff"))
	f.Fuzz(func(t *testing.T, key []byte) {
		h, rest, err := cutHour(key)
		if err != nil {
			return
		}
		if back := append(hourKey(table(key[0]), h), rest...); !bytes.Equal(back, key) {
			t.Errorf("key %x was read as %+v, whose key is %x", key, h, back)
		}
	})
}

// TestFeedOrder shows that a lake's publications lie in order of time, apart from
// other lakes', and that a time's key comes before all that happened then.
func TestFeedOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lakes, ats := [2]string{}, [2]afterhours.Micros{}
		var keys [2][]byte
		for i := range keys {
			p := places.Draw(t, "place")
			lakes[i], ats[i] = p.lane, p.hour.Start
			generation := rapid.Int64().Draw(t, "generation")
			keys[i] = publicationKey(lakes[i], store.Publication{Hour: p.hour, Lineage: p.lane, Generation: generation, At: ats[i]})
		}
		if want := cmp.Or(strings.Compare(lakes[0], lakes[1]), cmp.Compare(ats[0], ats[1])); want != 0 && bytes.Compare(keys[0], keys[1]) != want {
			t.Fatalf("keys %x and %x do not compare as %d", keys[0], keys[1], want)
		}
		from := feedKey(lakes[0], ats[0])
		if got, want := bytes.Compare(keys[1], from) >= 0, cmp.Or(strings.Compare(lakes[1], lakes[0]), cmp.Compare(ats[1], ats[0])) >= 0; got != want {
			t.Fatalf("key %x is at or after %x: %v", keys[1], from, got)
		}
	})
}

// TestLaneRecord shows that a lane record is read back as it was stored, and that
// a damaged one is an error.
func TestLaneRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := laneRecord{
			Listed: rapid.Bool().Draw(t, "listed"), Closed: rapid.Bool().Draw(t, "closed"), Purged: rapid.Bool().Draw(t, "purged"),
			Put: afterhours.Micros(rapid.Int64().Draw(t, "put")), Newest: afterhours.Micros(rapid.Int64().Draw(t, "newest")),
			Rows: rapid.Int64().Draw(t, "rows"), Bytes: rapid.Int64().Draw(t, "bytes"),
		}
		value := r.encode()
		if back, err := decodeLane(value); err != nil || back != r {
			t.Fatalf("%+v was read as %+v, error %v", r, back, err)
		}
		for _, damaged := range [][]byte{value[:rapid.IntRange(0, len(value)-1).Draw(t, "cut")], append(value, 0), {255, 0, 0, 0, 0}} {
			if back, err := decodeLane(damaged); err == nil {
				t.Fatalf("%x was read as %+v", damaged, back)
			}
		}
	})
}
