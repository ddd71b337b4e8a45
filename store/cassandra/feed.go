package cassandra

import (
	"context"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

const (
	insertPublication = "INSERT INTO feed (lake, published, at, event_type, hour, lineage, generation, cause, added, duplicates) " +
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL %d"
	selectFeed = "SELECT at, event_type, hour, lineage, generation, cause, added, duplicates FROM feed " +
		"WHERE lake = ? AND published = ? AND at >= ? AND at < ?"
)

// feedAhead is how far the clock of a publisher may be ahead of a reader's: the
// feed is read hour by hour, and must end somewhere.
const feedAhead = afterhours.Micros(24 * time.Hour / time.Microsecond)

// publishedHour returns the hour that a publish is filed under.
func publishedHour(at afterhours.Micros) afterhours.Hour { return afterhours.HourOf("", at) }

// PutPublications implements [store.Board]. Write timestamp and beginning of the
// TTL are the publish's, so that a record which is written again is the same.
func (b board) PutPublications(ctx context.Context, ps []store.Publication) error {
	for _, p := range ps {
		err := b.s.write(b.s.insertPublication, b.lake, publishedHour(p.At).Span(), int64(p.At), p.Hour.Type, p.Hour.Span(), p.Lineage, p.Generation,
			p.Cause, p.Added, p.Duplicates).
			WithTimestamp(int64(p.At)).WithNowInSeconds(int(p.At.Time().Unix())).ExecContext(ctx)
		if err != nil {
			return describe(err, "put publication of", p.Hour)
		}
	}
	return nil
}

// Feed implements [store.Board]. It does not look where everything has expired.
func (b board) Feed(ctx context.Context, from, to afterhours.Micros, visit func(store.Publication) error) error {
	now := afterhours.MicrosOf(time.Now())
	from = max(from, now-afterhours.Micros(2*b.s.ttl.Microseconds()))
	to = min(to, now+feedAhead)
	for h := publishedHour(from); h.Start < to; h = publishedHour(h.End()) {
		err := each(ctx, b.s.read(selectFeed, b.lake, h.Span(), int64(from), int64(to)), "feed of "+h.Span(),
			func(k *keyed[store.Publication]) []any {
				p := &k.row
				return []any{(*int64)(&p.At), &k.eventType, &k.span, &p.Lineage, &p.Generation, &p.Cause, &p.Added, &p.Duplicates}
			},
			func(k keyed[store.Publication]) (err error) {
				if k.row.Hour, err = k.hour("feed"); err != nil {
					return err
				}
				return visit(k.row)
			})
		if err != nil {
			return err
		}
	}
	return nil
}
