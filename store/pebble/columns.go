package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// DeclareType records that an event type exists.
func (s *Store) DeclareType(ctx context.Context, eventType string) error {
	key := nameKey(typeTable, eventType)
	if _, known, err := get[string](ctx, s, key); err != nil || known {
		return err
	}
	return s.put(ctx, key, eventType)
}

// Types visits the declared types, in order.
func (s *Store) Types(ctx context.Context, visit func(string) error) error {
	return each(ctx, s, []byte{byte(typeTable)}, visit)
}

// DeclareColumns records the columns and their type in one synced batch. If one
// of them conflicts, nothing is recorded.
func (s *Store) DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error {
	_, end, err := s.db.Begin(ctx)
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
		if err := setJSON(b, append(nameKey(columnTable, eventType), c.Name...), c); err != nil {
			return err
		}
	}
	if b.Empty() {
		return s.DeclareType(ctx, eventType)
	}
	if err := setJSON(b, nameKey(typeTable, eventType), eventType); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// Columns returns the declared columns of an event type.
func (s *Store) Columns(ctx context.Context, eventType string) ([]afterhours.Column, error) {
	return all[afterhours.Column](ctx, s, nameKey(columnTable, eventType))
}
