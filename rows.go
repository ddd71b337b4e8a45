package afterhours

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Segment names the rows that one ingest worker incarnation wrote to one hour:
// 128 random bits, never reused and never persisted by its writer, so that no
// restart can number two different rows alike.
type Segment [16]byte

// NewSegment draws a segment.
func NewSegment() Segment {
	var s Segment
	_, _ = rand.Read(s[:]) // never fails: crypto/rand aborts the process instead
	return s
}

// String prints 32 hexadecimal digits, the inverse of [ParseSegment].
func (s Segment) String() string { return hex.EncodeToString(s[:]) }

// ParseSegment reads what String prints.
func ParseSegment(text string) (Segment, error) {
	var s Segment
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) || hex.EncodeToString(b) != text {
		return s, fmt.Errorf("parse segment %q: want 32 lower-case hexadecimal digits", text)
	}
	copy(s[:], b)
	return s, nil
}

// RowID names one stored row for ever.
type RowID struct {
	Segment Segment
	Seq     uint32 // number of the row in its segment, from 0
}

// Range is a run of row numbers, both ends included.
type Range struct{ First, Last uint32 }

// Ranges is a set of row numbers: sorted, not touching each other. The zero
// value is the empty set.
type Ranges []Range

// Has reports whether n is in the set.
func (r Ranges) Has(n uint32) bool {
	i := r.search(n)
	return i < len(r) && r[i].First <= n
}

// search returns the first range that does not end before n.
func (r Ranges) search(n uint32) int {
	return sort.Search(len(r), func(i int) bool { return r[i].Last >= n })
}

// Count returns how many row numbers are in the set.
func (r Ranges) Count() int64 {
	var n int64
	for _, x := range r {
		n += int64(x.Last) - int64(x.First) + 1
	}
	return n
}

// Prefix returns the length of the run that begins at 0: every number below it
// is in the set.
func (r Ranges) Prefix() int64 {
	if len(r) == 0 || r[0].First != 0 {
		return 0
	}
	return int64(r[0].Last) + 1
}

// Add returns the set with the numbers from first to last. It may reuse r.
func (r Ranges) Add(first, last uint32) Ranges {
	// Ranges that overlap or touch [first, last] are joined with it.
	i := sort.Search(len(r), func(i int) bool { return int64(r[i].Last)+1 >= int64(first) })
	j := i
	for j < len(r) && int64(r[j].First) <= int64(last)+1 {
		first, last = min(first, r[j].First), max(last, r[j].Last)
		j++
	}
	return slices.Replace(r, i, j, Range{first, last})
}

// String prints the set as "0-41,43,50-99", the inverse of [ParseRanges].
func (r Ranges) String() string {
	var b []byte
	for i, x := range r {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(x.First), 10)
		if x.Last != x.First {
			b = append(b, '-')
			b = strconv.AppendUint(b, uint64(x.Last), 10)
		}
	}
	return string(b)
}

// ParseRanges reads what String prints, and nothing else: an unsorted or
// overlapping text is an error, as it would be read back as another set.
func ParseRanges(text string) (Ranges, error) {
	if text == "" {
		return nil, nil
	}
	var r Ranges
	for part := range strings.SplitSeq(text, ",") {
		lo, hi, run := strings.Cut(part, "-")
		if !run {
			hi = lo
		}
		first, err1 := strconv.ParseUint(lo, 10, 32)
		last, err2 := strconv.ParseUint(hi, 10, 32)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("parse ranges: %.40q is not a number or a run", part)
		}
		r = append(r, Range{uint32(first), uint32(last)})
		if n := len(r); last < first || n > 1 && first <= uint64(r[n-2].Last)+1 {
			return nil, fmt.Errorf("parse ranges: %.40q is out of order", part)
		}
	}
	if r.String() != text {
		return nil, fmt.Errorf("parse ranges: %.40q is not in its shortest form", text)
	}
	return r, nil
}

// RowSet is a set of rows. Use [make] or a literal; a nil RowSet can be read but
// not added to. It is not safe for concurrent use while rows are added.
type RowSet map[Segment]Ranges

// Has reports whether the row is in the set.
func (s RowSet) Has(id RowID) bool { return s[id.Segment].Has(id.Seq) }

// Add puts one row into the set.
func (s RowSet) Add(id RowID) { s[id.Segment] = s[id.Segment].Add(id.Seq, id.Seq) }

// AddAll puts every row of o into the set.
func (s RowSet) AddAll(o RowSet) {
	for seg, rs := range o {
		mine := s[seg]
		for _, r := range rs {
			mine = mine.Add(r.First, r.Last)
		}
		s[seg] = mine
	}
}

// Count returns how many rows are in the set.
func (s RowSet) Count() int64 {
	var n int64
	for _, r := range s {
		n += r.Count()
	}
	return n
}

// Covers reports whether every row of o is in s.
func (s RowSet) Covers(o RowSet) bool {
	for seg, rs := range o {
		mine := s[seg]
		for _, r := range rs {
			// Ranges do not touch, so a run that is covered lies within one.
			i := mine.search(r.First)
			if i == len(mine) || mine[i].First > r.First || mine[i].Last < r.Last {
				return false
			}
		}
	}
	return true
}

// Clone returns a set that shares nothing with s.
func (s RowSet) Clone() RowSet {
	c := make(RowSet, len(s))
	for seg, rs := range s {
		c[seg] = slices.Clone(rs)
	}
	return c
}

// Segments returns the segments that have rows in the set, in order.
func (s RowSet) Segments() []Segment {
	segs := slices.SortedFunc(maps.Keys(s), func(a, b Segment) int { return bytes.Compare(a[:], b[:]) })
	return slices.DeleteFunc(segs, func(seg Segment) bool { return len(s[seg]) == 0 })
}

// MarshalText prints each segment's Ranges on a line of its own, sorted:
// "SEGMENT 0-41,43". It makes a RowSet a JSON string.
func (s RowSet) MarshalText() ([]byte, error) {
	var b []byte
	for i, seg := range s.Segments() {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, seg.String()...)
		b = append(b, ' ')
		b = append(b, s[seg].String()...)
	}
	return b, nil
}

// UnmarshalText reads what MarshalText prints.
func (s *RowSet) UnmarshalText(text []byte) error {
	set := RowSet{}
	if len(text) == 0 {
		*s = set
		return nil
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		name, ranges, _ := strings.Cut(line, " ")
		seg, err := ParseSegment(name)
		if err != nil {
			return err
		}
		r, err := ParseRanges(ranges)
		if err != nil {
			return err
		}
		if _, twice := set[seg]; twice || len(r) == 0 {
			return fmt.Errorf("parse row set: segment %s is empty or listed twice", seg)
		}
		set[seg] = r
	}
	*s = set
	return nil
}
