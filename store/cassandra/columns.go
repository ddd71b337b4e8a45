package cassandra

import (
	"context"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// DeclareType implements [store.Store].
func (s *Store) DeclareType(ctx context.Context, eventType string) error {
	if err := s.write("INSERT INTO types (event_type) VALUES (?)", eventType).ExecContext(ctx); err != nil {
		return fmt.Errorf("declare type %q: %w", eventType, classify(err))
	}
	return nil
}

// Types implements [store.Store].
func (s *Store) Types(ctx context.Context, visit func(string) error) error {
	return each(ctx, s.read("SELECT event_type FROM types"), "types",
		func(eventType *string) []any { return []any{eventType} }, visit)
}

// Columns implements [store.Store].
func (s *Store) Columns(ctx context.Context, eventType string) ([]afterhours.Column, error) {
	return s.columns(ctx, eventType, gocql.LocalQuorum)
}

func (s *Store) columns(ctx context.Context, eventType string, c gocql.Consistency) ([]afterhours.Column, error) {
	var cols []afterhours.Column
	q := s.read("SELECT name, field, type FROM columns WHERE event_type = ?", eventType).Consistency(c)
	err := each(ctx, q, fmt.Sprintf("columns of %q", eventType),
		func(c *afterhours.Column) []any { return []any{&c.Name, &c.Field, (*string)(&c.Type)} },
		func(c afterhours.Column) error { cols = append(cols, c); return nil })
	if err != nil {
		return nil, err
	}
	return cols, nil
}

// DeclareColumns implements [store.Store]. What is missing is declared by one
// transaction, which applies as a whole or not at all.
func (s *Store) DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error {
	if err := s.DeclareType(ctx, eventType); err != nil {
		return err
	}
	for {
		// A serial read sees every transaction that is decided.
		declared, err := s.columns(ctx, eventType, gocql.LocalSerial)
		if err != nil {
			return err
		}
		missing, err := undeclared(eventType, declared, cols)
		if err != nil || len(missing) == 0 {
			return err
		}
		// If another process declares one of them first, look again. This ends, as
		// each time something more is declared.
		applied, err := s.declare(ctx, eventType, missing)
		if err != nil || applied {
			return err
		}
	}
}

// undeclared returns which of cols are new.
func undeclared(eventType string, declared, cols []afterhours.Column) ([]afterhours.Column, error) {
	byName := make(map[string]afterhours.Column, len(declared)+len(cols))
	for _, c := range declared {
		byName[c.Name] = c
	}
	var missing []afterhours.Column
	for _, c := range cols {
		before, ok := byName[c.Name]
		if ok && before != c {
			return nil, fmt.Errorf("declare columns of %q: %w: %s, but now %s", eventType, store.ErrColumnConflict, before, c)
		}
		if !ok {
			byName[c.Name] = c
			missing = append(missing, c)
		}
	}
	return missing, nil
}

func (s *Store) declare(ctx context.Context, eventType string, cols []afterhours.Column) (applied bool, err error) {
	b := s.session.Batch(gocql.UnloggedBatch)
	for _, c := range cols {
		b.Query("INSERT INTO columns (event_type, name, field, type) VALUES (?, ?, ?, ?) IF NOT EXISTS",
			eventType, c.Name, c.Field, string(c.Type))
	}
	applied, _, err = b.MapExecCASContext(ctx, map[string]any{})
	if err != nil {
		return false, fmt.Errorf("declare columns of %q: %w", eventType, classify(err))
	}
	return applied, nil
}
