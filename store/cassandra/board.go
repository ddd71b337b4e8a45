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

// board is the board of one lake.
type board struct {
	s    *Store
	lake string
}

// Board implements [store.Store].
func (s *Store) Board(lake string) store.Board { return board{s, lake} }

// PutRequest implements [store.Board].
func (b board) PutRequest(ctx context.Context, r store.Request) error {
	err := b.s.write("INSERT INTO requests (lake, event_type, hour, id, rebuild, made) VALUES (?, ?, ?, ?, ?, ?)",
		b.lake, r.Hour.Type, r.Hour.Span(), r.ID, r.Rebuild, int64(r.Made)).ExecContext(ctx)
	return describe(err, "put request", r.Hour)
}

// DeleteRequest implements [store.Board].
func (b board) DeleteRequest(ctx context.Context, r store.Request) error {
	err := b.s.remove(ctx, "requests WHERE lake = ? AND event_type = ? AND hour = ? AND id = ?", "made",
		b.lake, r.Hour.Type, r.Hour.Span(), r.ID)
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

// Requests implements [store.Board].
func (b board) Requests(ctx context.Context, h afterhours.Hour) ([]store.Request, error) {
	var rs []store.Request
	q := b.s.read("SELECT id, rebuild, made FROM requests WHERE lake = ? AND event_type = ? AND hour = ?", b.lake, h.Type, h.Span())
	err := each(ctx, q, "requests of "+h.String(),
		func(r *store.Request) []any { return []any{&r.ID, &r.Rebuild, (*int64)(&r.Made)} },
		func(r store.Request) error { r.Hour = h; rs = append(rs, r); return nil })
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// PutStuck implements [store.Board].
func (b board) PutStuck(ctx context.Context, x store.Stuck) error {
	err := b.s.write("INSERT INTO stuck (lake, event_type, hour, since, reason) VALUES (?, ?, ?, ?, ?)",
		b.lake, x.Hour.Type, x.Hour.Span(), int64(x.Since), x.Reason).ExecContext(ctx)
	return describe(err, "put stuck hour", x.Hour)
}

// ClearStuck implements [store.Board].
func (b board) ClearStuck(ctx context.Context, h afterhours.Hour) error {
	err := b.s.remove(ctx, "stuck WHERE lake = ? AND event_type = ? AND hour = ?", "since", b.lake, h.Type, h.Span())
	return describe(err, "clear stuck hour", h)
}

// keyed is a row of a table that has one row for each hour.
type keyed[T any] struct {
	eventType, span string
	row             T
}

func (k keyed[T]) hour(what string) (afterhours.Hour, error) {
	h, err := afterhours.ParseSpan(k.eventType, k.span)
	if err != nil {
		return h, fmt.Errorf("read %s: %q: %w", what, k.eventType, err)
	}
	return h, nil
}

// StuckHours implements [store.Board].
func (b board) StuckHours(ctx context.Context) ([]store.Stuck, error) {
	var all []store.Stuck
	err := each(ctx, b.s.read("SELECT event_type, hour, since, reason FROM stuck WHERE lake = ?", b.lake), "stuck hours",
		func(k *keyed[store.Stuck]) []any {
			return []any{&k.eventType, &k.span, (*int64)(&k.row.Since), &k.row.Reason}
		},
		func(k keyed[store.Stuck]) (err error) {
			k.row.Hour, err = k.hour("stuck hours")
			all = append(all, k.row)
			return err
		})
	if err != nil {
		return nil, err
	}
	// By its text an hour comes after the day that begins with it.
	slices.SortFunc(all, func(a, b store.Stuck) int { return a.Hour.Compare(b.Hour) })
	return all, nil
}

// PutSwept implements [store.Board].
func (b board) PutSwept(ctx context.Context, at afterhours.Micros) error {
	if err := b.s.write("INSERT INTO swept (lake, at) VALUES (?, ?)", b.lake, int64(at)).ExecContext(ctx); err != nil {
		return fmt.Errorf("put sweep of %s: %w", b.lake, classify(err))
	}
	return nil
}

// Swept implements [store.Board].
func (b board) Swept(ctx context.Context) (afterhours.Micros, error) {
	var at int64
	err := b.s.read("SELECT at FROM swept WHERE lake = ?", b.lake).ScanContext(ctx, &at)
	if errors.Is(err, gocql.ErrNotFound) {
		return 0, nil
	}
	return afterhours.Micros(at), reading("sweep of "+b.lake, err)
}

func describe(err error, what string, h afterhours.Hour) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, h, classify(err))
}
