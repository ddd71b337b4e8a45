package pebble

import (
	"context"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// noteRecord is what is stored of a note.
type noteRecord struct {
	store.Note
	Put afterhours.Micros
}

// lineageKey is what the keys of an hour's notes under a lineage begin with.
func lineageKey(h afterhours.Hour, lineage string) []byte {
	return appendString(hourKey(noteTable, h), lineage)
}

// appendNote names a note by all that it says: notes that overlap are kept both.
func appendNote(key []byte, n store.Note) []byte {
	key = appendString(key, n.Lane)
	key = append(key, n.Segment[:]...)
	key = binary.BigEndian.AppendUint32(key, n.Rows.First)
	return binary.BigEndian.AppendUint32(key, n.Rows.Last)
}

// PutNotes records the notes in one synced batch, and starts their time.
func (s *Store) PutNotes(ctx context.Context, h afterhours.Hour, lineage string, notes []store.Note) error {
	return s.putExpiring(ctx, pebble.Sync, func(b *pebble.Batch) error {
		for _, n := range notes {
			if err := setJSON(b, appendNote(lineageKey(h, lineage), n), noteRecord{n, s.micros()}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Notes returns the notes of a lineage that have not expired.
func (s *Store) Notes(ctx context.Context, h afterhours.Hour, lineage string) (notes []store.Note, err error) {
	expired := s.expired()
	err = each(ctx, s, lineageKey(h, lineage), func(r noteRecord) error {
		if r.Put > expired {
			notes = append(notes, r.Note)
		}
		return nil
	})
	return notes, err
}
