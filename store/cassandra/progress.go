package cassandra

import (
	"context"
	"errors"
	"fmt"
	"slices"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// PutRequest implements [store.Store].
func (s *Store) PutRequest(ctx context.Context, r store.Request) error {
	err := s.write("INSERT INTO requests (event_type, hour, id, rebuild, made) VALUES (?, ?, ?, ?, ?)",
		r.Hour.Type, r.Hour.Span(), r.ID, r.Rebuild, int64(r.Made)).ExecContext(ctx)
	return describe(err, "put request", r.Hour)
}

// DeleteRequest implements [store.Store].
func (s *Store) DeleteRequest(ctx context.Context, r store.Request) error {
	err := s.remove(ctx, "requests WHERE event_type = ? AND hour = ? AND id = ?", "made", r.Hour.Type, r.Hour.Span(), r.ID)
	return describe(err, "delete request", r.Hour)
}

// remove deletes the row that is stored now, with its own write timestamp: one
// that was written by a process whose clock is ahead could not be deleted with
// ours, and the next one that is written must not fall under the deletion.
func (s *Store) remove(ctx context.Context, where, column string, key ...any) error {
	var wrote int64
	err := s.read("SELECT WRITETIME("+column+") FROM "+where, key...).ScanContext(ctx, &wrote)
	if errors.Is(err, gocql.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.write("DELETE FROM "+where, key...).WithTimestamp(wrote).ExecContext(ctx)
}

// Requests implements [store.Store].
func (s *Store) Requests(ctx context.Context, h afterhours.Hour) ([]store.Request, error) {
	var rs []store.Request
	q := s.read("SELECT id, rebuild, made FROM requests WHERE event_type = ? AND hour = ?", h.Type, h.Span())
	err := each(ctx, q, "read requests of "+h.String(),
		func(r *store.Request) []any { return []any{&r.ID, &r.Rebuild, (*int64)(&r.Made)} },
		func(r store.Request) error { r.Hour = h; rs = append(rs, r); return nil })
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// PutPartition implements [store.Store].
func (s *Store) PutPartition(ctx context.Context, p store.Partition) error {
	err := s.write("INSERT INTO partitions (event_type, hour, lineage, generation, rows, seen, duplicates, conflicts, late, bytes, published) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		p.Hour.Type, p.Hour.Span(), p.Lineage, p.Generation, p.Rows, p.Seen, p.Duplicates, p.Conflicts, p.Late, p.Bytes, int64(p.Published)).
		ExecContext(ctx)
	return describe(err, "put partition", p.Hour)
}

// keyed is a row of a table that has one row per hour.
type keyed[T any] struct {
	eventType, span string
	row             T
}

func (k keyed[T]) hour() (afterhours.Hour, error) { return afterhours.ParseSpan(k.eventType, k.span) }

// Partitions implements [store.Store].
func (s *Store) Partitions(ctx context.Context, visit func(store.Partition) error) error {
	q := s.read("SELECT event_type, hour, lineage, generation, rows, seen, duplicates, conflicts, late, bytes, published FROM partitions")
	return each(ctx, q, "read partitions",
		func(k *keyed[store.Partition]) []any {
			p := &k.row
			return []any{&k.eventType, &k.span, &p.Lineage, &p.Generation, &p.Rows, &p.Seen, &p.Duplicates, &p.Conflicts, &p.Late, &p.Bytes, (*int64)(&p.Published)}
		},
		func(k keyed[store.Partition]) error {
			var err error
			if k.row.Hour, err = k.hour(); err != nil {
				return fmt.Errorf("read partitions: %w", err)
			}
			return visit(k.row)
		})
}

// PutStuck implements [store.Store].
func (s *Store) PutStuck(ctx context.Context, x store.Stuck) error {
	err := s.write("INSERT INTO stuck (event_type, hour, since, reason) VALUES (?, ?, ?, ?)",
		x.Hour.Type, x.Hour.Span(), int64(x.Since), x.Reason).ExecContext(ctx)
	return describe(err, "put stuck hour", x.Hour)
}

// ClearStuck implements [store.Store].
func (s *Store) ClearStuck(ctx context.Context, h afterhours.Hour) error {
	err := s.remove(ctx, "stuck WHERE event_type = ? AND hour = ?", "since", h.Type, h.Span())
	return describe(err, "clear stuck hour", h)
}

// StuckHours implements [store.Store].
func (s *Store) StuckHours(ctx context.Context) ([]store.Stuck, error) {
	var all []store.Stuck
	err := each(ctx, s.read("SELECT event_type, hour, since, reason FROM stuck"), "read stuck hours",
		func(k *keyed[store.Stuck]) []any {
			return []any{&k.eventType, &k.span, (*int64)(&k.row.Since), &k.row.Reason}
		},
		func(k keyed[store.Stuck]) error {
			var err error
			if k.row.Hour, err = k.hour(); err != nil {
				return fmt.Errorf("read stuck hours: %w", err)
			}
			all = append(all, k.row)
			return nil
		})
	if err != nil {
		return nil, err
	}
	// Event types come in the order of their tokens.
	slices.SortFunc(all, func(a, b store.Stuck) int { return a.Hour.Compare(b.Hour) })
	return all, nil
}

func describe(err error, what string, h afterhours.Hour) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, h, classify(err))
}
