package pebble

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// sweepEvery is how often expired lanes are looked for.
const sweepEvery = time.Hour

// laneValue is an index row's value.
type laneValue struct {
	store.Lane
	Put afterhours.Micros // when its time started
}

// oldest returns the instant whose writes expire now.
func (s *Store) oldest(ttl afterhours.Micros) afterhours.Micros {
	return afterhours.MicrosOf(s.now()) - ttl
}

// PutLane writes the index row and starts its time.
func (s *Store) PutLane(ctx context.Context, h afterhours.Hour, l store.Lane) error {
	s.lanes.RLock()
	defer s.lanes.RUnlock()
	return s.put(ctx, laneKey(laneTable, h, l.Name), laneValue{l, afterhours.MicrosOf(s.now())})
}

// Lanes returns the index rows of an hour that have not expired.
func (s *Store) Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error) {
	var lanes []store.Lane
	oldest := s.oldest(2 * s.ttl)
	err := each(ctx, s, hourKey(laneTable, h), func(_ []byte, v laneValue) error {
		if v.Put > oldest {
			lanes = append(lanes, v.Lane)
		}
		return nil
	})
	return lanes, err
}

// Hours visits the hours that have an index row which has not expired, in order.
func (s *Store) Hours(ctx context.Context, visit func(afterhours.Hour) error) error {
	oldest := s.oldest(2 * s.ttl)
	return s.scan(ctx, []byte{byte(laneTable)}, func(key, value []byte) ([]byte, error) {
		var v laneValue
		if err := json.Unmarshal(value, &v); err != nil {
			return nil, err
		}
		if v.Put <= oldest {
			return nil, nil
		}
		h, _, err := cutHour(key)
		if err != nil {
			return nil, err
		}
		return after(hourKey(laneTable, h)), visit(h)
	})
}

// sweepHourly deletes what has expired, until the store is closed.
func (s *Store) sweepHourly() {
	defer close(s.swept)
	ctx := s.db.Lifetime()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("delete expired lanes, will be tried again", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep deletes the lanes whose index row has expired.
func (s *Store) sweep(ctx context.Context) error {
	oldest := s.oldest(2 * s.ttl)
	return each(ctx, s, []byte{byte(laneTable)}, func(key []byte, v laneValue) error {
		if v.Put > oldest {
			return nil
		}
		return s.deleteLane(ctx, key)
	})
}

// deleteLane deletes an index row and its lane's rows in one batch, so that a
// crash leaves both or none. It looks again first: the lane may have been put
// anew, or have rows that came before it was.
func (s *Store) deleteLane(ctx context.Context, key []byte) error {
	s.lanes.Lock()
	defer s.lanes.Unlock()
	rows := append([]byte{byte(rowTable)}, key[1:]...) // the keys differ in nothing else
	live, err := s.live(ctx, key, rows)
	if err != nil || live {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	return errors.Join(b.DeleteRange(rows, after(rows), nil), b.Delete(key, nil), b.Commit(pebble.NoSync))
}

// live reports whether a lane's index row or any of its rows has not expired.
func (s *Store) live(ctx context.Context, key, rows []byte) (bool, error) {
	live, oldest := false, s.oldest(s.ttl)
	err := s.scan(ctx, rows, func(_, value []byte) ([]byte, error) {
		wrote, _, err := cutWritten(value)
		if live = wrote > oldest; live {
			return after(rows), err
		}
		return nil, err
	})
	if err != nil || live {
		return live, err
	}
	err = each(ctx, s, key, func(_ []byte, v laneValue) error {
		live = v.Put > oldest-s.ttl
		return nil
	})
	return live, err
}
