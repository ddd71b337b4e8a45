package compact

import (
	"context"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// notice is a partition as the board is told of it.
type notice struct {
	manifest     *lake.Manifest
	version      string
	size         int64
	manifestSize int64
	settled      afterhours.RowSet // merged or noted; nil: merged
}

// record is what the board shows of it.
func (p notice) record() store.Partition {
	m := p.manifest
	r := store.Partition{
		Hour: m.Hour, Lineage: m.Lineage, Generation: m.Generation,
		Rows: m.Rows, Seen: m.Seen, Duplicates: m.Duplicates, Erased: m.Erased, Conflicts: m.Conflicts, Late: m.Late,
		Bytes: p.size, Manifest: p.manifestSize, Version: p.version, Settled: p.settled,
	}
	if r.Settled == nil {
		r.Settled = m.Merged
	}
	noted := r.Settled.Count() - m.Merged.Count()
	r.Seen += noted
	r.Duplicates += noted
	if n := len(m.History); n > 0 {
		r.Published = m.History[n-1].At
	}
	return r
}

// tell brings the board up to date with a partition. First come the feed's
// records of every publish that the board does not know, from the manifest's
// history: a crash after an upload must not hide that the hour changed. The board
// comes last, since it says which records are there. Whoever commits an offset
// has called tell before.
func (c *Compactor) tell(ctx context.Context, known store.Partition, p notice) error {
	now := p.record()
	if missing := publications(known.Generation, p.manifest); len(missing) > 0 {
		if err := c.board.PutPublications(ctx, missing); err != nil {
			return err
		}
	}
	if same(known, now) {
		return nil
	}
	// Another compactor may have told of a later publish since known was read.
	latest, _, err := c.board.Partition(ctx, now.Hour)
	if err != nil || latest.Generation > now.Generation {
		return err
	}
	return c.board.PutPartition(ctx, now)
}

// publications returns the publishes after a generation that the history knows.
func publications(after int64, m *lake.Manifest) []store.Publication {
	var ps []store.Publication
	for _, p := range m.History {
		if p.Generation > after {
			ps = append(ps, store.Publication{
				Hour: m.Hour, Lineage: m.Lineage, Generation: p.Generation, At: p.At, Cause: p.Cause, Added: p.Added, Duplicates: p.Duplicates,
			})
		}
	}
	return ps
}

// same reports whether the board says what it should.
func same(a, b store.Partition) bool {
	return a.Lineage == b.Lineage && a.Generation == b.Generation && a.Version == b.Version && a.Seen == b.Seen && a.Settled.Count() == b.Settled.Count()
}
