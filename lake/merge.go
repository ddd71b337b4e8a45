package lake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/afterhours/afterhours"
)

// merge is a publish at work, from the rows added to a verified file.
//
// Rows of the base that may be copies of added ones are taken out and go through
// the same sorting by ID as these. What is left of the base is in order already,
// and is merged with the rest while it is read. If the order or the columns are
// others than the base's, all its rows are taken out.
type merge struct {
	*Rewrite
	ctx      context.Context
	manifest *Manifest // the new one; its counts grow

	baseIDs    *idSet // of all rows of the base
	duplicates int64  // dropped in this publish
	goneBase   int64  // rows of the base dropped as erased
	goneNew    int64  // rows added dropped as erased

	out *partitionWriter
}

// run writes the new partition.
func (m *merge) run(f *os.File) error {
	m.newIDs.sort()
	m.baseIDs = newIDSet(m.seed)
	if err := m.takeFromBase(); err != nil {
		return err
	}
	rest, err := m.dedup()
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(f, 64<<10)
	if m.out, err = newPartitionWriter(buffer, m.layout); err != nil {
		return err
	}
	if err := m.write(rest); err != nil {
		return err
	}
	if err := m.balance(); err != nil {
		return err
	}
	if err := m.out.close(m.manifest); err != nil {
		return fmt.Errorf("write partition: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("write partition: %w", err)
	}
	return nil
}

// streams reports whether what the base holds can be merged while it is read.
func (m *merge) streams() bool {
	b := m.base.Manifest
	return b != nil && !m.opt.Rebuild && slices.Equal(b.Columns, m.opt.Columns) && slices.Equal(b.Sort, m.manifest.Sort)
}

// takeFromBase puts the rows of the base that cannot stay in their place among
// the rows to sort.
func (m *merge) takeFromBase() error {
	p := m.base.partition
	if p == nil {
		return nil
	}
	touched := map[int]bool{} // row groups
	all := !m.streams() && !m.opt.Rebuild
	err := p.ids(func(group int, id []byte) error {
		m.baseIDs.add(id)
		if all || !m.opt.Rebuild && m.newIDs.has(id) {
			touched[group] = true
		}
		return m.interrupted(len(m.baseIDs.hashes))
	})
	if err != nil {
		return refuse(err)
	}
	m.baseIDs.sort()
	return refuse(p.read(func(g int) bool { return touched[g] }, func(r *record) error {
		if all || m.newIDs.has(r.id) {
			return m.sortByID(r, fromBase)
		}
		return nil
	}))
}

// interrupted returns the context's error every now and then.
func (m *merge) interrupted(n int) error {
	if n%4096 != 0 {
		return nil
	}
	return m.ctx.Err()
}

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
}

func (g *copies) start(key, body []byte) error {
	g.key, g.body = append(g.key[:0], key...), append(g.body[:0], body...)
	g.n, g.base, g.folded = 1, 0, nil
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
	}
	var r record
	f, err := decodeBody(g.key, body, 0, &r)
	if err != nil {
		return err
	}
	c := afterhours.Dedup(*g.folded, r.copies(""))
	g.folded = &c
	g.n++
	g.count(f)
	return nil
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
	r := &g.rec
	if c := g.folded; c != nil {
		r.time, r.received, r.payload, r.conflict = c.Time, c.Received, c.Payload, c.Conflict
	}
	m.layout.extract(r)
	m.key = m.layout.appendKey(m.key[:0], r)
	m.body = appendBody(m.body[:0], r, hasCells)
	return out.add(m.key, m.body)
}

// erased reports whether the event must not be published any more.
func (m *merge) erased(id []byte) bool {
	if len(m.manifest.ErasedIDs) == 0 {
		return false
	}
	_, yes := slices.BinarySearch(m.manifest.ErasedIDs, digest(id))
	return yes
}

// write writes what is left of the base merged with the rest.
func (m *merge) write(rest stream) error {
	head := &survivors{in: rest, columns: len(m.layout.columns)}
	if err := head.next(); err != nil {
		return err
	}
	if m.streams() {
		var key []byte
		err := m.base.partition.rows(func(r *record) error {
			if m.newIDs.has(r.id) {
				return nil // it is among the rest
			}
			if m.erased(r.id) {
				m.manifest.Erased++
				m.goneBase++
				return nil
			}
			key = m.layout.appendKey(key[:0], r)
			if err := m.writeUntil(head, key); err != nil {
				return err
			}
			return m.add(r)
		})
		if err != nil {
			return refuse(err)
		}
	}
	return m.writeUntil(head, nil)
}

// survivors reads records from a sorted stream.
type survivors struct {
	in      stream
	columns int
	key     []byte // nil after the last
	rec     record
}

func (s *survivors) next() error {
	key, body, err := s.in.next()
	s.key = key
	if err == io.EOF {
		s.key = nil
		return nil
	}
	if err != nil {
		return err
	}
	_, err = decodeBody(key, body, s.columns, &s.rec)
	return err
}

// writeUntil writes records up to a key, nil for all that are left.
func (m *merge) writeUntil(head *survivors, key []byte) error {
	for head.key != nil && (key == nil || bytes.Compare(head.key, key) < 0) {
		if err := m.add(&head.rec); err != nil {
			return err
		}
		if err := head.next(); err != nil {
			return err
		}
	}
	return nil
}

// add writes and counts a row.
func (m *merge) add(r *record) error {
	if err := m.interrupted(int(m.manifest.Rows)); err != nil {
		return err
	}
	m.manifest.Rows++
	count(&m.manifest.Conflicts, r.conflict)
	count(&m.manifest.Late, isLate(m.base.Hour, r))
	return m.out.add(r)
}

// balance closes the books. Duplicates were counted where they were dropped, so
// a row that was lost on the way shows in the sum, which the manifest's encoding
// checks.
func (m *merge) balance() error {
	n := m.Added()
	m.manifest.Merged.AddAll(m.added)
	m.manifest.Seen += n
	m.manifest.Duplicates += m.duplicates
	m.manifest.remember(Publish{
		Generation: m.manifest.Generation, At: afterhours.MicrosOf(m.lake.opt.Now()), Cause: m.opt.Cause, Added: n, Duplicates: m.duplicates,
	})
	text, _, err := m.manifest.encode()
	if err == nil && len(text) > manifestAlarm {
		m.lake.opt.Logger.Warn("manifest is large", "hour", m.base.Hour.String(), "bytes", len(text), "segments", len(m.manifest.Merged))
	}
	return err
}

// verify reads the file back and decodes all of it, and accounts for every row
// of the base and every row added. It returns the file's size.
func (m *merge) verify(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	p, err := openPartition(f, st.Size(), m.base.Hour)
	if err != nil {
		return 0, err
	}
	ids, err := p.audit(m.seed)
	if err != nil {
		return 0, err
	}
	if n := int64(ids.missing(m.baseIDs)); n != m.goneBase {
		return 0, fmt.Errorf("%d events of the base are missing, %d were erased", n, m.goneBase)
	}
	if n := int64(ids.missing(m.newIDs)); n != m.goneNew {
		return 0, fmt.Errorf("%d added rows are missing, %d were erased", n, m.goneNew)
	}
	return st.Size(), nil
}
