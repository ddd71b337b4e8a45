package cassandra

import (
	"context"
	"fmt"
	"slices"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// noteBatch is how many notes are one write.
const noteBatch = 200

// PutNotes implements [store.Store].
func (s *Store) PutNotes(ctx context.Context, h afterhours.Hour, lineage string, notes []store.Note) error {
	for part := range slices.Chunk(notes, noteBatch) {
		b := s.session.Batch(gocql.UnloggedBatch).RetryPolicy(nil).WithTimestamp(s.clock.next())
		for _, n := range part {
			b.Query(s.insertNote, h.Type, h.Span(), lineage, n.Lane, n.Segment[:], int64(n.Rows.First), int64(n.Rows.Last))
		}
		if err := b.ExecContext(ctx); err != nil {
			return fmt.Errorf("put %d notes of %s: %w", len(notes), h, classify(err))
		}
	}
	return nil
}

// storedNote is a note as it is stored.
type storedNote struct {
	lane    string
	segment []byte
	lo, hi  int64
}

// Notes implements [store.Store].
func (s *Store) Notes(ctx context.Context, h afterhours.Hour, lineage string) ([]store.Note, error) {
	var notes []store.Note
	q := s.read("SELECT lane, segment, lo, hi FROM noted WHERE event_type = ? AND hour = ? AND lineage = ?", h.Type, h.Span(), lineage)
	err := each(ctx, q, "notes of "+h.String(),
		func(n *storedNote) []any { return []any{&n.lane, &n.segment, &n.lo, &n.hi} },
		func(stored storedNote) error {
			n, err := stored.note()
			if err != nil {
				return fmt.Errorf("read notes of %s: %w", h, err)
			}
			notes = append(notes, n)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return notes, nil
}

func (n storedNote) note() (store.Note, error) {
	first, err1 := storedRow{segment: n.segment, seq: n.lo}.id()
	last, err2 := storedRow{segment: n.segment, seq: n.hi}.id()
	if err1 != nil || err2 != nil || last.Seq < first.Seq {
		return store.Note{}, fmt.Errorf("rows %d to %d of lane %s, segment %x: no valid row numbers", n.lo, n.hi, n.lane, n.segment)
	}
	return store.Note{Lane: n.lane, Segment: first.Segment, Rows: afterhours.Range{First: first.Seq, Last: last.Seq}}, nil
}
