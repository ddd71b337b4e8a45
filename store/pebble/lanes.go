package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// PutLane writes the index row and starts its time.
func (s *Store) PutLane(ctx context.Context, h afterhours.Hour, l store.Lane) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	b := s.db.NewBatch()
	defer b.Close()
	err = s.applyLane(laneKey(laneTable, h, l.Name), b, func(r *laneRecord) {
		now := s.micros()
		r.Listed, r.Closed, r.Rows, r.Bytes, r.Put = true, l.Closed, l.Rows, l.Bytes, now
		r.cover(now)
	})
	if err != nil {
		return err
	}
	return b.SyncWait()
}

// applyLane changes a lane's record, a new one if there is none, and applies it
// together with what is in the batch. The caller waits for the sync.
func (s *Store) applyLane(key []byte, b *pebble.Batch, change func(r *laneRecord)) error {
	s.expiring.Lock()
	defer s.expiring.Unlock()
	r, _, err := s.laneRecord(key)
	if err != nil {
		return err
	}
	change(&r)
	if err := b.Set(key, r.encode(), nil); err != nil {
		return err
	}
	return s.db.ApplyNoSyncWait(b, pebble.Sync)
}

// laneRecord reads one lane's record, and false if there is none.
func (s *Store) laneRecord(key []byte) (r laneRecord, ok bool, err error) {
	err = s.value(key, func(value []byte) error {
		ok = true
		r, err = decodeLane(value)
		return err
	})
	return r, ok, err
}

// Lanes returns the index rows of an hour that have not expired.
func (s *Store) Lanes(ctx context.Context, h afterhours.Hour) (lanes []store.Lane, err error) {
	hour := hourKey(laneTable, h)
	err = s.eachLane(ctx, hour, func(_ afterhours.Hour, l store.Lane) ([]byte, error) {
		lanes = append(lanes, l)
		return nil, nil
	})
	return lanes, err
}

// Hours visits the hours that have an index row which has not expired, in order.
func (s *Store) Hours(ctx context.Context, visit func(afterhours.Hour) error) error {
	return s.eachLane(ctx, []byte{byte(laneTable)}, func(h afterhours.Hour, _ store.Lane) ([]byte, error) {
		return after(hourKey(laneTable, h)), visit(h)
	})
}

// Index visits the hours that have index rows which have not expired, in order,
// with these.
func (s *Store) Index(ctx context.Context, visit func(afterhours.Hour, []store.Lane) error) error {
	var hour afterhours.Hour
	var lanes []store.Lane
	err := s.eachLane(ctx, []byte{byte(laneTable)}, func(h afterhours.Hour, l store.Lane) ([]byte, error) {
		if h != hour && len(lanes) > 0 {
			whole := lanes
			lanes = nil // the visitor may keep them
			if err := visit(hour, whole); err != nil {
				return nil, err
			}
		}
		hour, lanes = h, append(lanes, l)
		return nil, nil
	})
	if err != nil || len(lanes) == 0 {
		return err
	}
	return visit(hour, lanes)
}

// eachLane visits the index rows whose keys begin with prefix and that have not
// expired, in order. The visitor may return a later key to go on from.
func (s *Store) eachLane(ctx context.Context, prefix []byte, visit func(afterhours.Hour, store.Lane) (seek []byte, err error)) error {
	expired := s.expired()
	return s.scan(ctx, prefix, after(prefix), func(key, value []byte) ([]byte, error) {
		r, err := decodeLane(value)
		if err != nil {
			return nil, fmt.Errorf("value of key %q: %w", key, err)
		}
		if !r.isListed(expired) {
			return nil, nil
		}
		h, rest, err := cutHour(key)
		if err != nil {
			return nil, err
		}
		l := store.Lane{Closed: r.Closed, Rows: r.Rows, Bytes: r.Bytes, Until: r.Newest + s.lifetime()}
		if l.Name, _, err = cutString(rest); err != nil {
			return nil, err
		}
		return visit(h, l)
	})
}
