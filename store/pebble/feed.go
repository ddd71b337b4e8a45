package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// publicationRecord is what is stored of a publication.
type publicationRecord struct {
	store.Publication
	Put afterhours.Micros
}

// feedKey is where a lake's publications of a time begin.
func feedKey(lake string, at afterhours.Micros) []byte {
	return appendInt(nameKey(publicationTable, lake), int64(at))
}

func publicationKey(lake string, p store.Publication) []byte {
	key := appendHour(feedKey(lake, p.At), p.Hour)
	return appendInt(appendString(key, p.Lineage), p.Generation)
}

// PutPublications implements [store.Board]. All are recorded in
// one batch, which the sync of the partition that follows brings to disk.
func (b board) PutPublications(ctx context.Context, ps []store.Publication) error {
	return b.s.putExpiring(ctx, pebble.NoSync, func(batch *pebble.Batch) error {
		for _, p := range ps {
			if err := setJSON(batch, publicationKey(b.lake, p), publicationRecord{p, b.s.micros()}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Feed implements [store.Board].
func (b board) Feed(ctx context.Context, from, to afterhours.Micros, visit func(store.Publication) error) error {
	if from >= to {
		return nil
	}
	expired := b.s.expired()
	return b.s.scan(ctx, feedKey(b.lake, from), feedKey(b.lake, to), func(key, value []byte) ([]byte, error) {
		r, err := decode[publicationRecord](key, value)
		if err != nil || r.Put <= expired {
			return nil, err
		}
		return nil, visit(r.Publication)
	})
}
