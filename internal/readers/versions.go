package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
)

// hourName is the hour that is read, and partitionPath where the lake puts it.
const (
	hourName      = "purchase/2026-11-20T10"
	partitionPath = "event_type=purchase/dt=2026-11-20/hour=10/events.parquet"
)

// version is one version of the hour's partition. Whatever a reader shows of it
// tells it from the others: its number is in every row, in column v and in the
// payload, and in the count of the rows unless its layout is that of another.
type version struct {
	number int
	rows   int
	path   string // of the partition
	layout []chunk
}

// chunk is where a column of a row group lies.
type chunk struct{ start, length int64 }

// payload is what every row of the version has.
func (v version) payload() string { return fmt.Sprintf(`{"v":%d}`, v.number) }

// answer is what a reader shows of a whole version.
func (v version) answer() answer {
	n := int64(v.rows)
	return answer{Rows: n, IDs: n, Min: int64(v.number), Max: int64(v.number), Sum: n * int64(v.number), Bytes: n * int64(len(v.payload())),
		First: v.payload(), Last: v.payload(), Type: "purchase", Date: "2026-11-20", Hour: "10"}
}

// makeVersions makes four versions below dir. The second has the very layout of
// the first: every column of every row group at the same place with the same
// length. That is what a reader that takes the footer of one and the rows of the
// other has no chance to notice. The third is smaller, the fourth larger.
func makeVersions(ctx context.Context, dir string, rows int) ([]version, error) {
	twins, err := makeTwins(ctx, dir, rows)
	if err != nil {
		return nil, err
	}
	smaller, err := makeVersion(ctx, dir, 100, rows*4/5, 2)
	if err != nil {
		return nil, err
	}
	larger, err := makeVersion(ctx, dir, 101, rows*6/5, 3)
	return append(twins, smaller, larger), err
}

// makeTwins makes versions until two have the same layout. They differ in the
// digits of their number alone; but a page's header has a checksum, whose
// encoding is four bytes now and then in place of five.
func makeTwins(ctx context.Context, dir string, rows int) ([]version, error) {
	var made []version
	for number := 10; number < 100; number++ {
		v, err := makeVersion(ctx, dir, number, rows, 1)
		if err != nil {
			return nil, err
		}
		for _, other := range made {
			if slices.Equal(v.layout, other.layout) {
				return []version{other, v}, nil
			}
		}
		made = append(made, v)
	}
	return nil, fmt.Errorf("no two of %d versions with %d rows have the same layout: take fewer rows", len(made), rows)
}

// makeVersion publishes an hour of its own lake, the IDs and times of its events
// drawn from the seed.
func makeVersion(ctx context.Context, dir string, number, rows int, seed uint64) (v version, err error) {
	v = version{number: number, rows: rows}
	root := filepath.Join(dir, fmt.Sprint(number))
	v.path = filepath.Join(root, filepath.FromSlash(partitionPath))
	l, err := lake.Open(ctx, "file://"+root, lake.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := publish(ctx, l, v, rand.NewChaCha8([32]byte{byte(seed)})); err != nil {
		return v, fmt.Errorf("publish version %d: %w", number, err)
	}
	v.layout, err = layoutOf(v.path)
	return v, err
}

func publish(ctx context.Context, l *lake.Lake, v version, random *rand.ChaCha8) error {
	hour, err := afterhours.ParseHour(hourName)
	if err != nil {
		return err
	}
	base, err := l.Base(ctx, hour)
	if err != nil {
		return err
	}
	defer base.Close()
	column := afterhours.Column{Name: "v", Field: "v", Type: afterhours.Int64}
	r, err := l.Rewrite(base, lake.RewriteOptions{Columns: []afterhours.Column{column}})
	if err != nil {
		return err
	}
	defer r.Close()
	e := afterhours.Event{Type: hour.Type, Payload: []byte(v.payload())}
	id := afterhours.RowID{Segment: afterhours.Segment{1}}
	for ; int(id.Seq) < v.rows; id.Seq++ {
		// The bytes of the partition are in its IDs, so that the pages that tell
		// twins apart are few.
		var noise [32]byte
		_, _ = random.Read(noise[:]) // never fails
		e.ID = hex.EncodeToString(noise[:])
		e.Time = hour.Start + afterhours.Micros(random.Uint64()%3600e6)
		e.Received = e.Time
		if err := r.Add(id, afterhours.Origin{}, e); err != nil {
			return err
		}
	}
	_, err = r.Publish(ctx)
	return err
}

// layoutOf reads where the columns lie from a partition's footer.
func layoutOf(path string) ([]chunk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := parquet.OpenFile(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("read footer of %s: %w", path, err)
	}
	layout := []chunk{{0, st.Size()}}
	for _, g := range p.Metadata().RowGroups {
		for _, c := range g.Columns {
			m := c.MetaData
			start := m.DataPageOffset
			if m.DictionaryPageOffset > 0 {
				start = min(start, m.DictionaryPageOffset)
			}
			layout = append(layout, chunk{start, m.TotalCompressedSize})
		}
	}
	return layout, nil
}
