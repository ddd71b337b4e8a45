package lake

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// hour is what most tests publish.
var hour, _ = afterhours.ParseHour("purchase/2026-11-20T10")

func openTest(tb testing.TB, url string) *Lake {
	tb.Helper()
	l, err := Open(context.Background(), url, Options{TempDir: tb.TempDir(), BlockRows: 100, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func openDirTest(tb testing.TB) *Lake {
	tb.Helper()
	return openTest(tb, "file://"+tb.TempDir())
}

// row is a stored copy of an event.
type row struct {
	id afterhours.RowID
	e  afterhours.Event
}

// addTo adds the row as one of a lane of its segment's own.
func (x row) addTo(r *Rewrite) error {
	return r.Add(x.id, afterhours.Origin{Day: afterhours.DayOf(x.e.Received)}, x.e)
}

// rewrite publishes rows once. The error is not a failure.
func rewrite(l *Lake, h afterhours.Hour, o RewriteOptions, rows ...row) (res Result, err error) {
	ctx := context.Background()
	b, err := l.Base(ctx, h)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r, err := l.Rewrite(b, o)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, x := range rows {
		if err := x.addTo(r); err != nil {
			return res, err
		}
	}
	return r.Publish(ctx)
}

// read returns a partition's rows and manifest.
func read(tb rapid.TB, l *Lake, h afterhours.Hour) ([]afterhours.Copies, *Manifest) {
	tb.Helper()
	b, err := l.Base(context.Background(), h)
	if err != nil {
		tb.Fatal(err)
	}
	defer b.Close()
	if err := b.Verify(); err != nil {
		tb.Fatal(err)
	}
	var rows []afterhours.Copies
	if err := b.Rows(func(c afterhours.Copies) error { rows = append(rows, c); return nil }); err != nil {
		tb.Fatal(err)
	}
	return rows, b.Manifest
}
