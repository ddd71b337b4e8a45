package pebble

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
)

const (
	sweepEvery = time.Hour

	// sweepPage is how many keys are looked at in one go: writers wait for
	// about a millisecond at most.
	sweepPage = 500
)

// sweepHourly deletes what has expired, until the store is closed.
func (s *Store) sweepHourly() {
	defer close(s.swept)
	ctx := s.db.Lifetime()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("delete what has expired, will be tried again", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep deletes what has expired. It happens by itself when the store is opened
// and once an hour; whoever has a clock of his own may ask for it.
func (s *Store) Sweep(ctx context.Context) error {
	ctx, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	deleted := false
	for _, t := range []struct {
		table table
		page  page
	}{{laneTable, s.expiredLanes}, {noteTable, s.expiredNotes}, {publicationTable, s.expiredPublications}} {
		d, err := s.sweepTable(ctx, t.table, t.page)
		if err != nil {
			return fmt.Errorf("sweep table %c: %w", t.table, err)
		}
		deleted = deleted || d
	}
	if !deleted {
		return nil
	}
	// Space comes back only when the deletions have left memory: tables they
	// cover are dropped whole, others compacted soon.
	return s.db.Flush()
}

// page looks at sweepPage keys from a key on, adds to the batch what deletes the
// expired ones, and returns the key to go on from, nil at the end of the table.
type page func(ctx context.Context, from []byte, b *pebble.Batch) (next []byte, err error)

// sweepTable deletes what has expired of one table, page by page, and reports
// whether there was anything.
func (s *Store) sweepTable(ctx context.Context, t table, p page) (deleted bool, err error) {
	for from := []byte{byte(t)}; from != nil; {
		next, d, err := s.sweepPage(ctx, from, p)
		if err != nil {
			return deleted, err
		}
		from, deleted = next, deleted || d
	}
	return deleted, nil
}

// sweepPage deletes what has expired of one page. Most pages have nothing; in one
// that has, it looks again while nobody writes, because what expired may have
// been written anew.
func (s *Store) sweepPage(ctx context.Context, from []byte, p page) (next []byte, deleted bool, err error) {
	b := s.db.NewBatch()
	defer b.Close()
	if next, err = p(ctx, from, b); err != nil || b.Empty() {
		return next, false, err
	}
	b.Reset()
	s.expiring.Lock()
	defer s.expiring.Unlock()
	if next, err = p(ctx, from, b); err != nil || b.Empty() {
		return next, false, err
	}
	return next, true, s.db.Apply(b, pebble.NoSync)
}

// expiredLanes is the page of lanes. When the newest row of a lane has expired,
// all are deleted as one range; when its index row has, so is the record.
func (s *Store) expiredLanes(ctx context.Context, from []byte, b *pebble.Batch) (next []byte, err error) {
	rows, index := s.expiredRows(), s.expired()
	return s.scanPage(ctx, from, func(key, value []byte) ([]byte, error) {
		r, err := decodeLane(value)
		if err != nil || r.Newest > rows {
			return nil, err
		}
		if !r.Purged {
			lane := rowsOf(key)
			if err := b.DeleteRange(lane, after(lane), nil); err != nil {
				return nil, err
			}
		}
		switch {
		case !r.isListed(index):
			return nil, b.Delete(key, nil)
		case !r.Purged:
			r.Purged = true
			return nil, b.Set(key, r.encode(), nil)
		}
		return nil, nil
	})
}

// rowsOf returns what the keys of a lane's rows begin with. It differs from the
// key of the lane's record in the table only.
func rowsOf(record []byte) []byte {
	return append([]byte{byte(rowTable)}, record[1:]...)
}

// expiredNotes is the page of notes.
func (s *Store) expiredNotes(ctx context.Context, from []byte, b *pebble.Batch) (next []byte, err error) {
	expired := s.expired()
	return s.scanPage(ctx, from, func(key, value []byte) ([]byte, error) {
		r, err := decode[noteRecord](key, value)
		if err != nil || r.Put > expired {
			return nil, err
		}
		return nil, b.Delete(key, nil)
	})
}

// expiredPublications is the page of the feed. It looks at those that are old,
// lake by lake: the newer ones were put later still.
func (s *Store) expiredPublications(ctx context.Context, from []byte, b *pebble.Batch) (next []byte, err error) {
	expired := s.expired()
	return s.scanPage(ctx, from, func(key, value []byte) ([]byte, error) {
		lake, rest, err := cutString(key[1:])
		if err != nil {
			return nil, err
		}
		at, _, err := cutInt(rest)
		if err != nil || afterhours.Micros(at) > expired {
			return after(nameKey(publicationTable, lake)), err
		}
		r, err := decode[publicationRecord](key, value)
		if err != nil || r.Put > expired {
			return nil, err
		}
		return nil, b.Delete(key, nil)
	})
}

// scanPage visits at most sweepPage keys of a table, from a key on, and returns
// the one it did not come to, nil if that was the last.
func (s *Store) scanPage(ctx context.Context, from []byte, visit func(key, value []byte) (seek []byte, err error)) (next []byte, err error) {
	upper, n := after(from[:1]), 0
	err = s.scan(ctx, from, upper, func(key, value []byte) ([]byte, error) {
		if n++; n > sweepPage {
			next = bytes.Clone(key)
			return upper, nil
		}
		return visit(key, value)
	})
	return next, err
}
