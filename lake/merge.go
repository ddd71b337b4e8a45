package lake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/afterhours/afterhours"
)

// merge is a publish at work, from the rows added to a verified file.
//
// Rows of the base that may be copies of added ones are taken out and go through
// the same sorting by ID as these. The rest of the base stays where it is: blocks
// that no row leaves or enters are copied, and of the others the strips of rows. If
// the order or the columns are others than the base's, all its rows are taken out.
//
// Every step is accounted for. By sums of hashes, of IDs or of whole rows: what went
// into a sorter came out of it, what left the base was taken or erased, and what
// strips hold that are written anew, decoded again, is what they held in the base and
// what was placed there. Row by row: they are what they were made of. Bytes that are
// copied, of blocks or of strips, are compared by their checksums.
type merge struct {
	*Rewrite
	ctx      context.Context
	manifest *Manifest // the new one; its counts grow

	duplicates int64 // dropped in this publish
	idle       int64 // of these, rows added that left a row of the base as it is

	byID      *sorter           // rows that may have copies: added, and of the base
	repeated  *idSet            // of the rows added, those that may have copies
	separated content           // of the rows added that went into byID
	leaving   map[int][]leaving // rows of the base that do not stay, by block and in order
	taken     content           // of those that went into byID
	sortedIn  content           // of the IDs that went into it
	sorted    content           // of those that came out of it
	survivors content           // of the rows that did
	placed    content           // of the rows that were given a place in a block
	places    int64             // how many these are

	// Of rows, and guarded by mu:
	dropped content // those that left their block, taken and erased
	erasure content // the erased ones among them
	undone  content // those that the base has in strips that are written anew
	written content // those of the new strips, as they are read back
}

// sortRows returns, in the order of the partition, the survivors of all rows
// that do not stay where the base has them.
func (m *merge) sortRows() (stream, error) {
	if err := m.rows.finish(); err != nil {
		return nil, err
	}
	m.repeated = m.ids.sort()
	m.leaving = map[int][]leaving{}
	m.byID = m.sorter()
	if err := m.takeFromBase(); err != nil {
		return nil, err
	}
	m.ids = idSet{} // they take much memory, and are not needed any more
	m.repeated.sort()
	rows, err := m.rows.sorted()
	if err != nil || m.repeated.empty() && len(m.manifest.ErasedIDs) == 0 {
		return rows, err
	}
	if err := m.separate(); err != nil {
		return nil, err
	}
	folded, err := m.dedup()
	if err != nil {
		return nil, err
	}
	if m.sorted != m.sortedIn {
		return nil, errors.New("the IDs of rows before and after sorting differ: the temporary file is damaged")
	}
	return newBoth(without{m, rows}, folded), nil
}

// streams reports whether what the base holds can stay where it is.
func (m *merge) streams() bool {
	b := m.base.Manifest
	return b != nil && !m.opt.Rebuild && slices.Equal(b.Columns, m.opt.Columns) && slices.Equal(b.Sort, m.manifest.Sort)
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

var writeBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 64<<10) }}

// writeFile writes the new partition, save for what stays in a bucket.
func (m *merge) writeFile(out *os.File, rest stream) (*draft, error) {
	buffer := writeBuffers.Get().(*bufio.Writer)
	defer writeBuffers.Put(buffer)
	buffer.Reset(out)
	m.trail = newTrail(out)
	f, err := newPartitionFile(buffer, m.layout, m.trail)
	if err != nil {
		return nil, fmt.Errorf("write partition: %w", err)
	}
	if err := m.writeBlocks(f, rest); err != nil {
		return nil, err
	}
	if err := m.account(f.table.sums()); err != nil {
		return nil, fmt.Errorf("verify before the upload: %w", err)
	}
	text, err := m.balance(f.table.sums())
	if err != nil {
		return nil, err
	}
	if err := f.close(text); err != nil {
		return nil, fmt.Errorf("write partition: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return nil, fmt.Errorf("write partition: %w", err)
	}
	return newDraft(out, f), nil
}

// account sets the content of the new partition, whose blocks have these rows, once
// what came out of the sorter, what is left of the base and what left it are all
// accounted for.
func (m *merge) account(blocks block) error {
	want := m.places
	if m.streams() {
		want += m.base.Manifest.Rows
		for _, rows := range m.leaving {
			want -= int64(len(rows))
		}
	}
	if blocks.Rows != want {
		return fmt.Errorf("%d rows were written, want %d", blocks.Rows, want)
	}
	if m.placed != m.sum.sub(m.separated).add(m.survivors) {
		return errors.New("other rows were placed than came out of the sorting")
	}
	if m.written != m.undone.sub(m.dropped).add(m.placed) {
		return errors.New("other rows were written than were placed or stay")
	}
	all, p := m.placed, m.base.partition
	m.manifest.Content = all.String()
	if !m.streams() {
		if p != nil && !m.opt.Rebuild && m.taken != p.content {
			return errors.New("not every row of the base was taken")
		}
		return nil
	}
	if m.dropped.sub(m.erasure) != m.taken {
		return errors.New("other rows have left their blocks than were taken")
	}
	m.manifest.Content = all.add(p.content).sub(m.dropped).String()
	return nil
}

// balance closes the books, and returns the manifest's text. Duplicates were
// counted where they were dropped, so a row that was lost on the way shows in the
// sum, which the manifest's encoding checks. Noted rows are duplicates that the
// base does not know of yet.
func (m *merge) balance(all block) (string, error) {
	n, next := m.Added(), m.manifest
	next.Rows, next.Late, next.Conflicts = all.Rows, all.Late, all.Conflicts
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
	return text, err
}

// verifySynced verifies the draft while its file is synced.
func (m *merge) verifySynced(d *draft) (*partition, error) {
	synced := make(chan error, 1)
	go func() { synced <- m.lake.objects.sync(d.file) }()
	p, err := m.verify(d)
	if err != nil {
		err = fmt.Errorf("verify before the upload: %w", err)
	}
	return p, errors.Join(err, <-synced)
}

// verify reads the draft back: every byte of it must be as it was written, and what
// was copied as the base had it. What the trail has checked is not read again. Blocks
// that are still in a bucket are not read at all: their checksums, which are the
// base's, are part of the draft's own, which their bytes are compared with on their
// way.
func (m *merge) verify(d *draft) (*partition, error) {
	p, err := openPartition(d, d.size, m.base.Hour)
	if err != nil {
		return nil, err
	}
	if err := m.trail.wait(); err != nil {
		return nil, m.blame(err)
	}
	unchecked := func(block int) bool {
		return !m.trail.has(p.starts[block], &p.table.Blocks[block]) && (d.base == nil || !d.leaves(p, block, m.base.partition))
	}
	if err := p.check(unchecked); err != nil {
		return nil, m.blame(err)
	}
	d.verified = p
	return p, nil
}

// blame adds to an error about bytes that are not as they must be whether it is the
// base that is damaged.
func (m *merge) blame(err error) error {
	if !m.streams() {
		return err
	}
	all := func(int) bool { return true }
	return errors.Join(err, refuse(m.base.partition.check(all)))
}
