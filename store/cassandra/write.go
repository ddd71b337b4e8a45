package cassandra

import (
	"context"
	"encoding/binary"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// The TTL is part of the statements, since it is the same for every row.
const (
	insertRow  = "INSERT INTO events (event_type, hour, lane, segment, seq, event) VALUES (?, ?, ?, ?, ?, ?) USING TTL %d"
	insertLane = "INSERT INTO segments (event_type, hour, lane, closed, rows, bytes, row_ttl) VALUES (?, ?, ?, ?, ?, ?, %d) USING TTL %d"
	insertNote = "INSERT INTO noted (event_type, hour, lineage, lane, segment, lo, hi) VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL %d"
)

// write prepares a statement that changes something. It may be repeated, but by
// the caller: there is no retry policy.
func (s *Store) write(stmt string, args ...any) *gocql.Query {
	return s.session.Query(stmt, args...).Idempotent(true).RetryPolicy(nil).WithTimestamp(s.clock.next())
}

// Append implements [store.Store] by a batch that is one mutation of one
// Cassandra partition. A repetition writes the very same cells: timestamp and
// beginning of the TTL are wrote, not the time of the attempt.
func (s *Store) Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error {
	var err error
	timestamp, seconds := int64(wrote), int(wrote.Time().Unix())
	switch entries := s.entries(h, lane, rows); len(entries) {
	case 0:
		return nil
	case 1:
		err = s.write(entries[0].Stmt, entries[0].Args...).
			WithTimestamp(timestamp).WithNowInSeconds(seconds).ExecContext(ctx)
	default:
		b := s.session.Batch(gocql.UnloggedBatch).RetryPolicy(nil).
			WithTimestamp(timestamp).WithNowInSeconds(seconds)
		b.Entries = entries
		err = b.ExecContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("append %d rows to lane %s of %s: %w", len(rows), lane, h, classify(err))
	}
	return nil
}

// entries makes one insertion of each row.
func (s *Store) entries(h afterhours.Hour, lane string, rows []store.Row) []gocql.BatchEntry {
	// One buffer that is large enough never moves, so the rows can share it.
	size := 0
	for _, r := range rows {
		size += 1 + 3*binary.MaxVarintLen64 + len(r.Event.ID) + len(r.Event.Payload)
	}
	buf := make([]byte, 0, size)
	var eventType, hour, laneName any = h.Type, h.Span(), lane

	entries := make([]gocql.BatchEntry, len(rows))
	for i, r := range rows {
		begin := len(buf)
		buf = store.AppendEvent(buf, r.Event)
		entries[i] = gocql.BatchEntry{
			Stmt:       s.insertRow,
			Args:       []any{eventType, hour, laneName, r.ID.Segment[:], int64(r.ID.Seq), buf[begin:len(buf):len(buf)]},
			Idempotent: true,
		}
	}
	return entries
}
