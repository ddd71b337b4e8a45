package pebble

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// DeclareColumns records the columns in one synced batch. If one of them
// conflicts, none is recorded.
func (s *Store) DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error {
	ctx, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.columns.Lock()
	defer s.columns.Unlock()

	declared, err := s.Columns(ctx, eventType)
	if err != nil {
		return err
	}
	known := map[string]afterhours.Column{}
	for _, c := range declared {
		known[c.Name] = c
	}
	b := s.db.NewBatch()
	defer b.Close()
	for _, c := range cols {
		switch old, ok := known[c.Name]; {
		case ok && old != c:
			return fmt.Errorf("declare column %s of event type %q: it is %s: %w", c, eventType, old, store.ErrColumnConflict)
		case ok:
			continue
		}
		known[c.Name] = c
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if err := b.Set(append(typeKey(columnTable, eventType), c.Name...), value, nil); err != nil {
			return err
		}
	}
	if b.Empty() {
		return nil
	}
	return b.Commit(pebble.Sync)
}

// Columns returns the declared columns of an event type.
func (s *Store) Columns(ctx context.Context, eventType string) ([]afterhours.Column, error) {
	var cols []afterhours.Column
	err := each(ctx, s, typeKey(columnTable, eventType), func(_ []byte, c afterhours.Column) error {
		cols = append(cols, c)
		return nil
	})
	return cols, err
}

func requestKey(r store.Request) []byte {
	return append(hourKey(requestTable, r.Hour), r.ID...)
}

// PutRequest records a request.
func (s *Store) PutRequest(ctx context.Context, r store.Request) error {
	return s.put(ctx, requestKey(r), r)
}

// Requests returns the requests of an hour.
func (s *Store) Requests(ctx context.Context, h afterhours.Hour) ([]store.Request, error) {
	var reqs []store.Request
	err := each(ctx, s, hourKey(requestTable, h), func(_ []byte, r store.Request) error {
		reqs = append(reqs, r)
		return nil
	})
	return reqs, err
}

// DeleteRequest removes a served request.
func (s *Store) DeleteRequest(ctx context.Context, r store.Request) error {
	return s.remove(ctx, requestKey(r))
}

// PutPartition records what was published of an hour.
func (s *Store) PutPartition(ctx context.Context, p store.Partition) error {
	return s.put(ctx, hourKey(partitionTable, p.Hour), p)
}

// Partitions visits what was published, in order of hour.
func (s *Store) Partitions(ctx context.Context, visit func(store.Partition) error) error {
	return each(ctx, s, []byte{byte(partitionTable)}, func(_ []byte, p store.Partition) error { return visit(p) })
}

// PutStuck records a stuck hour.
func (s *Store) PutStuck(ctx context.Context, x store.Stuck) error {
	return s.put(ctx, hourKey(stuckTable, x.Hour), x)
}

// ClearStuck removes a stuck hour.
func (s *Store) ClearStuck(ctx context.Context, h afterhours.Hour) error {
	return s.remove(ctx, hourKey(stuckTable, h))
}

// StuckHours returns the stuck hours, in order.
func (s *Store) StuckHours(ctx context.Context) ([]store.Stuck, error) {
	var stuck []store.Stuck
	err := each(ctx, s, []byte{byte(stuckTable)}, func(_ []byte, x store.Stuck) error {
		stuck = append(stuck, x)
		return nil
	})
	return stuck, err
}
