package pebble

import (
	"context"
	"encoding/json"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// board is the board of one lake.
type board struct {
	s    *Store
	lake string
}

// Board returns the board of one lake.
func (s *Store) Board(lake string) store.Board { return board{s, lake} }

func (b board) requestKey(r store.Request) []byte {
	return append(lakeKey(requestTable, b.lake, r.Hour), r.ID...)
}

// PutRequest implements [store.Board].
func (b board) PutRequest(ctx context.Context, r store.Request) error {
	return b.s.put(ctx, b.requestKey(r), r)
}

// Requests implements [store.Board].
func (b board) Requests(ctx context.Context, h afterhours.Hour) ([]store.Request, error) {
	return all[store.Request](ctx, b.s, lakeKey(requestTable, b.lake, h))
}

// DeleteRequest implements [store.Board].
func (b board) DeleteRequest(ctx context.Context, r store.Request) error {
	return b.s.remove(ctx, b.requestKey(r))
}

// PutPartition implements [store.Board].
func (b board) PutPartition(ctx context.Context, p store.Partition) error {
	return b.s.put(ctx, lakeKey(partitionTable, b.lake, p.Hour), p)
}

// Partition implements [store.Board].
func (b board) Partition(ctx context.Context, h afterhours.Hour) (store.Partition, bool, error) {
	return get[store.Partition](ctx, b.s, lakeKey(partitionTable, b.lake, h))
}

// Partitions implements [store.Board]. They are in order of hour.
func (b board) Partitions(ctx context.Context, visit func(store.Partition) error) error {
	type told struct {
		store.Partition
		Settled json.RawMessage // in place of the partition's own: it is long, and nobody looks at it
	}
	return each(ctx, b.s, nameKey(partitionTable, b.lake), func(t told) error { return visit(t.Partition) })
}

// Settled implements [store.Board]. They are in order of hour.
func (b board) Settled(ctx context.Context, visit func(store.Partition) error) error {
	return each(ctx, b.s, nameKey(partitionTable, b.lake), func(p store.Partition) error {
		return visit(store.Partition{Hour: p.Hour, Version: p.Version, Settled: p.Settled})
	})
}

// PutStuck implements [store.Board].
func (b board) PutStuck(ctx context.Context, x store.Stuck) error {
	return b.s.put(ctx, lakeKey(stuckTable, b.lake, x.Hour), x)
}

// ClearStuck implements [store.Board].
func (b board) ClearStuck(ctx context.Context, h afterhours.Hour) error {
	return b.s.remove(ctx, lakeKey(stuckTable, b.lake, h))
}

// StuckHours implements [store.Board].
func (b board) StuckHours(ctx context.Context) ([]store.Stuck, error) {
	return all[store.Stuck](ctx, b.s, nameKey(stuckTable, b.lake))
}

// PutSwept implements [store.Board].
func (b board) PutSwept(ctx context.Context, at afterhours.Micros) error {
	return b.s.put(ctx, nameKey(sweptTable, b.lake), at)
}

// Swept implements [store.Board].
func (b board) Swept(ctx context.Context) (afterhours.Micros, error) {
	at, _, err := get[afterhours.Micros](ctx, b.s, nameKey(sweptTable, b.lake))
	return at, err
}
