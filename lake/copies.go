package lake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/afterhours/afterhours"
)

// Rows added whose ID came once are published as they are. Only the others, with
// the rows of the base that they may be copies of, are brought together by ID.

// separate puts the rows added that may have copies, or are erased, among the rows
// to sort by ID.
func (m *merge) separate() error {
	in := m.rows.all()
	var rec record
	for n := 0; ; n++ {
		key, body, err := in.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = m.interrupted(n)
		}
		if err == nil {
			_, err = decodeBody(key, body, len(m.layout.columns), &rec)
		}
		if err != nil {
			return err
		}
		if m.suspect(rec.id) {
			m.separated = m.separated.add(m.hash.row(&rec))
			if err := m.sortByID(&rec, 0); err != nil {
				return err
			}
		}
	}
}

// suspect reports whether a row added may be a copy of another, or erased.
func (m *merge) suspect(id []byte) bool { return m.repeated.has(hashID(id)) || m.erased(id) }

// without leaves the suspects out of a stream.
type without struct {
	m  *merge
	in stream
}

func (w without) next() (key, body []byte, err error) {
	for {
		key, body, err = w.in.next()
		if err != nil {
			return nil, nil, err
		}
		id, err := idOf(key, body)
		if err != nil {
			return nil, nil, err
		}
		if !w.m.suspect(id) {
			return key, body, nil
		}
	}
}

// both merges two streams.
type both struct {
	in   [2]stream
	head [2]struct{ key, body []byte }
	left [2]bool
	last int // whose record was handed out; -1: none yet
}

func newBoth(a, b stream) *both { return &both{in: [2]stream{a, b}, last: -1} }

func (s *both) next() (key, body []byte, err error) {
	for i := range s.in {
		if s.last < 0 || s.last == i {
			h := &s.head[i]
			h.key, h.body, err = s.in[i].next()
			if s.left[i] = err == nil; err != nil && err != io.EOF {
				return nil, nil, err
			}
		}
	}
	switch {
	case !s.left[0] && !s.left[1]:
		return nil, nil, io.EOF
	case s.left[0] && (!s.left[1] || bytes.Compare(s.head[0].key, s.head[1].key) < 0):
		s.last = 0
	default:
		s.last = 1
	}
	return s.head[s.last].key, s.head[s.last].body, nil
}

// sortByID brings all copies of an event together. The hash in front makes the
// keys differ early.
func (m *merge) sortByID(rec *record, f flags) error {
	m.key = binary.BigEndian.AppendUint64(m.key[:0], hashID(rec.id))
	m.key = append(m.key, rec.id...)
	m.body = appendBody(m.body[:0], rec, f)
	m.sortedIn = m.sortedIn.add(idContent(rec.id))
	return m.byID.add(m.key, m.body)
}

// dedup folds the copies of each event and returns the survivors in the order of
// the partition.
func (m *merge) dedup() (stream, error) {
	if err := m.byID.finish(); err != nil {
		return nil, err
	}
	in, err := m.byID.sorted()
	if err != nil {
		return nil, err
	}
	out := m.sorter()
	var g copies
	for n := 0; ; n++ {
		key, body, err := in.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = m.interrupted(n)
		}
		if err == nil && g.n > 0 && bytes.Equal(g.key, key) {
			err = g.join(body)
		} else if err == nil {
			err = errors.Join(m.survive(&g, out), g.start(key, body))
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.survive(&g, out); err != nil {
		return nil, err
	}
	if err := out.finish(); err != nil {
		return nil, err
	}
	return out.sorted()
}

// copies are the copies of one event that were met so far.
type copies struct {
	n, base   int // how many, and how many of these were published already
	key, body []byte
	rec       record
	folded    *afterhours.Copies // of all, if there are several
	was       *afterhours.Copies // the one of the base, likewise
}

func (g *copies) start(key, body []byte) error {
	g.key, g.body = append(g.key[:0], key...), append(g.body[:0], body...)
	g.n, g.base, g.folded, g.was = 1, 0, nil, nil
	f, err := decodeBody(g.key, g.body, 0, &g.rec)
	g.count(f)
	return err
}

func (g *copies) count(f flags) {
	if f&fromBase != 0 {
		g.base++
	}
}

func (g *copies) join(body []byte) error {
	if g.folded == nil {
		c := g.rec.copies("")
		g.folded = &c
		if g.base > 0 {
			g.was = &c
		}
	}
	var r record
	f, err := decodeBody(g.key, body, 0, &r)
	if err != nil {
		return err
	}
	one := r.copies("")
	if f&fromBase != 0 {
		g.was = &one
	}
	c := afterhours.Dedup(*g.folded, one)
	g.folded = &c
	g.n++
	g.count(f)
	return nil
}

// idle reports whether the row of the base survived as it was.
func (g *copies) idle() bool {
	a, b := g.folded, g.was
	return g.base == 1 && a != nil && b != nil &&
		a.Received == b.Received && a.Time == b.Time && bytes.Equal(a.Payload, b.Payload) && a.Conflict == b.Conflict
}

// survive counts the copies of one event and sorts what is published of them.
func (m *merge) survive(g *copies, out *sorter) error {
	if g.n == 0 {
		return nil
	}
	for id, n := idContent(g.rec.id), g.n; n > 0; n-- {
		m.sorted = m.sorted.add(id)
	}
	if m.erased(g.rec.id) {
		m.manifest.Erased += int64(g.n)
		return nil
	}
	m.duplicates += int64(g.n - 1)
	if g.idle() {
		m.idle += int64(g.n - 1)
	}
	r := &g.rec
	if c := g.folded; c != nil {
		r.time, r.received, r.payload, r.conflict = c.Time, c.Received, c.Payload, c.Conflict
	}
	m.layout.extract(r)
	m.survivors = m.survivors.add(m.hash.row(r))
	return m.sortRow(out, r)
}
