package cassandra

import (
	"context"
	"errors"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// settledPage bounds memory: a set of settled rows may have dozens of kilobytes.
const settledPage = 100

const (
	figures = "lineage, generation, rows, seen, duplicates, erased, conflicts, late, bytes, manifest, published, version"

	insertPartition = "INSERT INTO partitions (lake, event_type, hour, " + figures + ", settled) " +
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	insertPartitionType = "INSERT INTO partition_types (lake, event_type) VALUES (?, ?)"
)

// figureCells are where the figures of a partition are.
func figureCells(p *store.Partition) []any {
	return []any{&p.Lineage, &p.Generation, &p.Rows, &p.Seen, &p.Duplicates, &p.Erased, &p.Conflicts, &p.Late, &p.Bytes, &p.Manifest,
		(*int64)(&p.Published), &p.Version}
}

// PutPartition implements [store.Board]. A partition is found by its type, so both
// are written at once.
func (b board) PutPartition(ctx context.Context, p store.Partition) error {
	settled, err := p.Settled.MarshalText()
	if err != nil {
		return fmt.Errorf("put partition %s: %w", p.Hour, err)
	}
	values := append([]any{b.lake, p.Hour.Type, p.Hour.Span()}, figureCells(&p)...)
	batch := b.s.session.Batch(gocql.UnloggedBatch).RetryPolicy(nil).WithTimestamp(b.s.clock.next())
	batch.Query(insertPartition, append(values, string(settled))...)
	batch.Query(insertPartitionType, b.lake, p.Hour.Type)
	return describe(batch.ExecContext(ctx), "put partition", p.Hour)
}

// Partition implements [store.Board].
func (b board) Partition(ctx context.Context, h afterhours.Hour) (store.Partition, bool, error) {
	p, settled := store.Partition{Hour: h}, ""
	err := b.s.read("SELECT "+figures+", settled FROM partitions WHERE lake = ? AND event_type = ? AND hour = ?", b.lake, h.Type, h.Span()).
		ScanContext(ctx, append(figureCells(&p), &settled)...)
	if errors.Is(err, gocql.ErrNotFound) {
		return store.Partition{}, false, nil
	}
	if err == nil {
		err = p.Settled.UnmarshalText([]byte(settled))
	}
	return p, err == nil, reading("partition "+h.String(), err)
}

// Partitions implements [store.Board].
func (b board) Partitions(ctx context.Context, visit func(store.Partition) error) error {
	return b.eachPartition(ctx, "SELECT hour, "+figures, smallPage,
		func(r *partitionRow) []any { return append([]any{&r.span}, figureCells(&r.partition)...) }, visit)
}

// Settled implements [store.Board].
func (b board) Settled(ctx context.Context, visit func(store.Partition) error) error {
	return b.eachPartition(ctx, "SELECT hour, version, settled", settledPage,
		func(r *partitionRow) []any { return []any{&r.span, &r.partition.Version, &r.settled} }, visit)
}

// partitionRow is a row of one event type.
type partitionRow struct {
	span      string
	settled   []byte
	partition store.Partition
}

// eachPartition visits the partitions of one event type after the other.
func (b board) eachPartition(ctx context.Context, columns string, page int, cells func(*partitionRow) []any, visit func(store.Partition) error) error {
	return each(ctx, b.s.read("SELECT event_type FROM partition_types WHERE lake = ?", b.lake), "types of partitions",
		func(eventType *string) []any { return []any{eventType} },
		func(eventType string) error {
			q := b.s.read(columns+" FROM partitions WHERE lake = ? AND event_type = ?", b.lake, eventType).PageSize(page)
			return each(ctx, q, fmt.Sprintf("partitions of %q", eventType), cells, func(r partitionRow) error {
				p, err := r.of(eventType)
				if err != nil {
					return fmt.Errorf("read partition %s/%s: %w", eventType, r.span, err)
				}
				return visit(p)
			})
		})
}

func (r partitionRow) of(eventType string) (p store.Partition, err error) {
	p = r.partition
	if p.Hour, err = afterhours.ParseSpan(eventType, r.span); err != nil {
		return p, err
	}
	if len(r.settled) > 0 {
		err = p.Settled.UnmarshalText(r.settled)
	}
	return p, err
}
