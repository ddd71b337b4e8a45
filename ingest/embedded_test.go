package ingest

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	pebblequeue "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/store"
	pebblestore "github.com/afterhours/afterhours/store/pebble"
)

const commits = "../testdata/commits.jsonl.gz"

var commitMapping = Mapping{
	IDField: "event_id", TypeField: "event_type", TimeField: "event_time", ReceivedField: "received_at",
	Columns:    []afterhours.Column{{Name: "user_id", Field: "user_id", Type: afterhours.String}},
	AcceptPast: 10 * DefaultAcceptPast, AcceptFuture: DefaultAcceptFuture,
}

// embedded opens the backends for one machine.
func embedded(t *testing.T) (*pebblestore.Store, *pebblequeue.Queue) {
	t.Helper()
	dir := t.TempDir()
	s, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	q, err := pebblequeue.Open(filepath.Join(dir, "queue"), pebblequeue.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), q.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, q
}

// stored returns how often the store holds each payload, how many own lanes are
// open, and how many hours with rows have no mark.
func stored(t *testing.T, s *pebblestore.Store, q *pebblequeue.Queue) (payloads map[string]int, open, unmarked int) {
	t.Helper()
	marked := map[afterhours.Hour]bool{}
	marks, err := q.Pending(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		marked[m.Hour] = true
	}
	payloads = map[string]int{}
	err = s.Hours(t.Context(), func(h afterhours.Hour) error {
		if !marked[h] {
			unmarked++
		}
		lanes, err := s.Lanes(t.Context(), h)
		if err != nil {
			return err
		}
		for _, l := range lanes {
			var n int64
			err := s.ReadRows(t.Context(), h, l, nil, func(r store.Row) error {
				payloads[string(r.Event.Payload)]++
				n++
				return nil
			})
			if err != nil {
				return err
			}
			if _, own := l.Own(); own && !l.Closed {
				open++
			} else if l.Closed && l.Rows != n {
				t.Errorf("lane %s of %s says %d rows and has %d", l.Name, h, l.Rows, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return payloads, open, unmarked
}

// commitLines reads the real events the simplest way.
func commitLines(t *testing.T) (lines []string, late int64) {
	t.Helper()
	f, err := os.Open(commits)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(z); in.Scan(); {
		var e struct {
			At       time.Time `json:"event_time"`
			Received time.Time `json:"received_at"`
		}
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if !e.Received.Before(e.At.Truncate(time.Hour).Add(time.Hour)) {
			late++
		}
		lines = append(lines, in.Text())
	}
	return lines, late
}

// Real events, on the embedded backends: each is stored once, under its hour,
// which is marked; the counts are those of the file; every own lane is closed.
func TestRunRealEvents(t *testing.T) {
	s, q := embedded(t)
	sum, err := Run(t.Context(), Files{Inputs: []string{commits}}, commitMapping, New(s, q, Options{Columns: commitMapping.Columns}))
	if err != nil {
		t.Fatal(err)
	}
	lines, late := commitLines(t)
	payloads, open, unmarked := stored(t, s, q)
	var bytes int64
	for _, l := range lines {
		bytes += int64(len(l))
		if payloads[l] != 1 {
			t.Fatalf("the store holds %d copies of %s", payloads[l], l)
		}
	}
	n := int64(len(lines))
	if want := (Summary{Read: n, Written: n, Late: late, Bytes: bytes, Hours: sum.Hours, Marks: sum.Marks}); sum != want || len(payloads) != len(lines) {
		t.Errorf("summary is %+v, want %+v; %d payloads", sum, want, len(payloads))
	}
	if open != 0 || unmarked != 0 {
		t.Errorf("%d lanes stay open, %d hours are not marked", open, unmarked)
	}
}

// However often ingest is stopped without grace, a rerun has every event kept.
func TestRerunAfterInterruptions(t *testing.T) {
	s, q := embedded(t)
	lines, _ := commitLines(t)
	for i := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		src := sourceFunc(func(ctx context.Context, put Put) error {
			for n, l := range lines {
				if n == 1000+3000*i {
					cancel()
				}
				if err := put(ctx, Record{Bytes: []byte(l)}, func() {}); err != nil {
					return err
				}
			}
			return nil
		})
		w := New(s, q, Options{Columns: commitMapping.Columns, ShutdownGrace: time.Nanosecond, Log: quiet})
		sum, err := Run(ctx, src, commitMapping, w)
		if err == nil {
			t.Fatal("the run was not interrupted")
		}
		payloads, _, _ := stored(t, s, q)
		if int64(len(payloads)) < sum.Written {
			t.Errorf("run %d acknowledged %d events, the store holds %d", i, sum.Written, len(payloads))
		}
	}
	src := Files{Inputs: []string{commits}}
	if _, err := Run(t.Context(), src, commitMapping, New(s, q, Options{Columns: commitMapping.Columns})); err != nil {
		t.Fatal(err)
	}
	payloads, _, unmarked := stored(t, s, q)
	for _, l := range lines {
		if payloads[l] == 0 {
			t.Fatalf("lost: %s", l)
		}
	}
	if len(payloads) != len(lines) || unmarked != 0 {
		t.Errorf("%d payloads of %d lines, %d hours are not marked", len(payloads), len(lines), unmarked)
	}
}
