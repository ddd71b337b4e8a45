package lake

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
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
	idle       int64  // of these, rows added that left a row of the base as it is
	goneBase   int64  // rows of the base dropped as erased
	goneNew    int64  // rows added dropped as erased

	out *partitionWriter
}

// sortRows returns, in the order of the partition, the survivors of all rows
// that do not stay where the base has them.
func (m *merge) sortRows() (stream, error) {
	m.newIDs.sort()
	m.baseIDs = newIDSet(m.seed)
	if err := m.takeFromBase(); err != nil {
		return nil, err
	}
	return m.dedup()
}

// writeFile writes the new partition.
func (m *merge) writeFile(f *os.File, rest stream) (err error) {
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
	if p == nil || m.opt.Discard {
		return nil
	}
	touched := map[int]bool{} // row groups
	all := !m.streams() && !m.opt.Rebuild
	err := p.ids(func(group int, id []byte) error {
		m.baseIDs.add(id)
		switch {
		case m.opt.Rebuild:
			if m.erased(id) {
				m.goneBase++
			}
		case all || m.newIDs.has(id):
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
// checks. Noted rows are duplicates that the base does not know of yet.
func (m *merge) balance() error {
	n, next := m.Added(), m.manifest
	known := next.Merged.Count()
	next.Merged.AddAll(m.noted)
	noted := next.Merged.Count() - known
	next.Merged.AddAll(m.added)
	maps.Copy(next.Origins, m.origins)
	next.Seen += n + noted
	next.Duplicates += m.duplicates + noted
	next.remember(Publish{
		Generation: next.Generation, At: afterhours.MicrosOf(m.lake.opt.Now()), Cause: m.opt.Cause, Added: n, Duplicates: m.duplicates,
	})
	text, err := next.encode()
	if err == nil && len(text) > ManifestLimit {
		m.lake.opt.Logger.Error("manifest is too large: let fewer processes write this hour, and restart them less often; "+
			"it shrinks with the first publish after raw rows have expired",
			"hour", m.base.Hour.String(), "bytes", len(text), "limit", ManifestLimit, "segments", len(next.Merged))
	}
	return err
}

// verify reads the file back and decodes all of it, and accounts for every row
// of the base and every row added.
func (m *merge) verify(f *os.File) (*partition, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := openPartition(f, st.Size(), m.base.Hour)
	if err != nil {
		return nil, err
	}
	ids, err := p.audit(m.seed)
	if err != nil {
		return nil, err
	}
	if n := int64(ids.missing(m.baseIDs)); n != m.goneBase {
		return nil, fmt.Errorf("%d events of the base are missing, %d were erased", n, m.goneBase)
	}
	if n := int64(ids.missing(m.newIDs)); n != m.goneNew {
		return nil, fmt.Errorf("%d added rows are missing, %d were erased", n, m.goneNew)
	}
	return p, nil
}
