package afterhours_test

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// numbers draws row numbers: close to each other, so that ranges touch and
// overlap, or at the end of what there is.
var numbers = rapid.OneOf(rapid.Uint32Range(0, 40), rapid.Uint32Range(math.MaxUint32-20, math.MaxUint32))

// set is a set of row numbers in the plain way: the oracle.
type set map[uint32]bool

// ranges writes the set as it should be: sorted, not touching.
func (s set) ranges() afterhours.Ranges {
	var r afterhours.Ranges
	for _, n := range slices.Sorted(maps.Keys(s)) {
		if len(r) > 0 && r[len(r)-1].Last+1 == n {
			r[len(r)-1].Last = n
		} else {
			r = append(r, afterhours.Range{First: n, Last: n})
		}
	}
	return r
}

// prefix is the first number that is not in the set.
func (s set) prefix() int64 {
	for n := uint32(0); ; n++ {
		if !s[n] {
			return int64(n)
		}
	}
}

// draw adds random runs to a set and to ranges alike.
func draw(t *rapid.T) (afterhours.Ranges, set) {
	var r afterhours.Ranges
	s := set{}
	for range rapid.IntRange(0, 20).Draw(t, "runs") {
		first := numbers.Draw(t, "first")
		last := uint32(min(int64(first)+rapid.Int64Range(0, 6).Draw(t, "length"), math.MaxUint32))
		r = r.Add(first, last)
		for n := int64(first); n <= int64(last); n++ {
			s[uint32(n)] = true
		}
	}
	return r, s
}

// TestRanges compares a set of ranges with the oracle, in everything it can say.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, s := draw(t)
		if want := s.ranges(); !slices.Equal(r, want) {
			t.Fatalf("ranges %v, want %v", r, want)
		}
		if r.Count() != int64(len(s)) || r.Prefix() != s.prefix() {
			t.Fatalf("%v counts %d with prefix %d, want %d and %d", r, r.Count(), r.Prefix(), len(s), s.prefix())
		}
		for range 20 {
			if n := numbers.Draw(t, "n"); r.Has(n) != s[n] {
				t.Fatalf("%v has %d: %v", r, n, r.Has(n))
			}
		}
		if back, err := afterhours.ParseRanges(r.String()); err != nil || !slices.Equal(back, r) {
			t.Fatalf("%q was read as %v, want %v, error %v", r, back, r, err)
		}
	})
}

// TestRangesOfEverything shows that the ends of what there is do not overflow.
func TestRangesOfEverything(t *testing.T) {
	var r afterhours.Ranges
	r = r.Add(math.MaxUint32, math.MaxUint32)
	r = r.Add(0, 0)
	r = r.Add(1, math.MaxUint32-1)
	if r.String() != "0-4294967295" || r.Count() != 1<<32 || r.Prefix() != 1<<32 || !r.Has(0) || !r.Has(math.MaxUint32) {
		t.Errorf("%s counts %d with prefix %d", r, r.Count(), r.Prefix())
	}
}

// TestParseRangesRefuses shows that there is one text for a set.
func TestParseRangesRefuses(t *testing.T) {
	for _, text := range []string{
		" ", ",", "-", "1,", ",1", "1-", "-1", "2-1", "1-1", "1,1", "2,1", "1,2", "1-2,3", "1-5,5-6", "1-5,4", "01", "+1", "1 ", "1-2-3", "4294967296",
		"1,4294967296", "0x1", "1_0", "a", "1\n",
	} {
		if r, err := afterhours.ParseRanges(text); err == nil {
			t.Errorf("%q was read as %v", text, r)
		}
	}
}

// FuzzParseRanges shows that what is accepted prints as it was.
func FuzzParseRanges(f *testing.F) {
	for _, s := range []string{"", "0", "0-41,43,50-99", "4294967294-4294967295", "1,2", "3-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := afterhours.ParseRanges(text); err == nil && r.String() != text {
			t.Fatalf("%q was read as %v, which prints as %q", text, r, r)
		}
	})
}

// rowSet draws a set of rows and its oracle, of few segments, some empty.
func rowSet(t *rapid.T) (afterhours.RowSet, map[afterhours.RowID]bool) {
	rows, oracle := afterhours.RowSet{}, map[afterhours.RowID]bool{}
	for i := range byte(3) {
		seg := afterhours.Segment{i}
		r, s := draw(t)
		rows[seg] = r
		for n := range s {
			oracle[afterhours.RowID{Segment: seg, Seq: n}] = true
		}
	}
	id := afterhours.RowID{Segment: afterhours.Segment{9}, Seq: numbers.Draw(t, "one row")}
	rows.Add(id)
	oracle[id] = true
	return rows, oracle
}

// TestRowSet compares sets of rows with the oracle, alone and joined.
func TestRowSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, inA := rowSet(t)
		b, inB := rowSet(t)
		covers := true
		for id := range inB {
			covers = covers && inA[id]
		}
		if a.Covers(b) != covers || !a.Covers(a) || !a.Covers(nil) {
			t.Fatalf("%v covers %v: %v, want %v", a, b, a.Covers(b), covers)
		}
		joined, before := a.Clone(), a.Clone()
		joined.AddAll(b)
		if !reflect.DeepEqual(a, before) {
			t.Fatalf("to add to a clone changed %v to %v", before, a)
		}
		maps.Copy(inA, inB)
		if joined.Count() != int64(len(inA)) || !joined.Covers(a) || !joined.Covers(b) {
			t.Fatalf("%v and %v joined are %v, want %d rows", a, b, joined, len(inA))
		}
		for id := range inA {
			if !joined.Has(id) {
				t.Fatalf("%v and %v joined lack %v", a, b, id)
			}
		}
	})
}

// TestRowSetText shows that a set of rows, as JSON, is read back as it was.
func TestRowSetText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, _ := rowSet(t)
		text, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		var back afterhours.RowSet
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !back.Covers(rows) || !rows.Covers(back) || !slices.Equal(back.Segments(), rows.Segments()) {
			t.Fatalf("%v became %s, which was read as %v", rows, text, back)
		}
	})
}

// TestRowSetSegments shows that a segment without rows is as good as none.
func TestRowSetSegments(t *testing.T) {
	rows := afterhours.RowSet{{1}: nil, {3}: {{First: 0, Last: 0}}, {2}: {{First: 1, Last: 2}}, {4}: {}}
	if got, want := rows.Segments(), []afterhours.Segment{{2}, {3}}; !slices.Equal(got, want) {
		t.Errorf("segments %v, want %v", got, want)
	}
	text, err := rows.MarshalText()
	want := afterhours.Segment{2}.String() + " 1-2\n" + afterhours.Segment{3}.String() + " 0"
	if err != nil || string(text) != want {
		t.Errorf("text %q, want %q, error %v", text, want, err)
	}
}

// TestRowSetTextRefuses shows that nothing is guessed, and that the set stays as
// it was.
func TestRowSetTextRefuses(t *testing.T) {
	seg := afterhours.NewSegment().String()
	for _, text := range []string{
		"\n", " ", seg, seg + " ", seg + "  0", seg + " 0\n", "\n" + seg + " 0", seg + " 0\n" + seg + " 1", seg + " 1,0", seg + "\t0", seg[1:] + " 0", strings.ToUpper(seg[:31]+"a") + " 0",
	} {
		before := afterhours.RowSet{{1}: {{First: 1, Last: 1}}}
		s := before.Clone()
		if err := s.UnmarshalText([]byte(text)); err == nil || !reflect.DeepEqual(s, before) {
			t.Errorf("%q was read as %v, error %v", text, s, err)
		}
	}
}

// FuzzRowSetUnmarshalText shows that what is accepted is the same set when it is
// printed and read again.
func FuzzRowSetUnmarshalText(f *testing.F) {
	seg := strings.Repeat("0f", 16)
	f.Add([]byte(""))
	f.Add([]byte(seg + " 0-41,43"))
	f.Add([]byte(seg + " 0\n" + strings.Repeat("00", 16) + " 7"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s, back afterhours.RowSet
		if s.UnmarshalText(text) != nil {
			return
		}
		again, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := back.UnmarshalText(again); err != nil || !reflect.DeepEqual(s, back) {
			t.Fatalf("%q was read as %v, and %q as %v, error %v", text, s, again, back, err)
		}
		if len(again) != len(text) {
			t.Fatalf("%q prints as %q", text, again)
		}
	})
}

// TestSegment shows that segments differ and are read back from their text.
func TestSegment(t *testing.T) {
	a, b := afterhours.NewSegment(), afterhours.NewSegment()
	if a == b {
		t.Errorf("two segments are %s", a)
	}
	if back, err := afterhours.ParseSegment(a.String()); err != nil || back != a {
		t.Errorf("%s was read as %s, error %v", a, back, err)
	}
	for _, text := range []string{"", "2026-11-20", a.String()[1:], a.String() + "00", strings.Repeat("A", 32), strings.Repeat("g", 32)} {
		if s, err := afterhours.ParseSegment(text); err == nil {
			t.Errorf("%q was read as %s", text, s)
		}
	}
}
