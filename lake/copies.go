package lake

import (
	"bytes"
	"errors"
	"io"

	"github.com/afterhours/afterhours"
)

// dedup folds the copies of each event and returns the survivors in the order of
// the partition.
func (m *merge) dedup() (stream, error) {
	in, err := m.byID.sorted()
	if err != nil {
		return nil, err
	}
	out := &sorter{limit: m.opt.Memory / 2, create: m.temp}
	if m.byID.spilled() {
		out.limit = m.opt.Memory
	}
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
	if m.erased(g.rec.id) {
		m.manifest.Erased += int64(g.n)
		m.goneBase += int64(g.base)
		m.goneNew += int64(g.n - g.base)
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
	m.key = m.layout.appendKey(m.key[:0], r)
	m.body = appendBody(m.body[:0], r, hasCells)
	return out.add(m.key, m.body)
}
