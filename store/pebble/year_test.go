package pebble

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

const (
	yearTTL     = 30 * 24 * time.Hour
	yearPayload = 512

	// yearSweep is longer than in real life, where a sweep's flush and the
	// compactions after it have an hour.
	yearSweep = 48 * time.Hour
)

// year is a store in a simulated year, and what was written to it.
type year struct {
	*testing.T
	*clock
	s       *Store
	dir     string
	payload *rand.ChaCha8 // nothing that could be compressed
	wrote   []written
}

// written is one append.
type written struct {
	hour afterhours.Hour
	lane string
	seg  afterhours.Segment
	at   afterhours.Micros
	rows int
}

// TestYear writes for a simulated year, every hour to a new lane and to one that
// some old hour shares. Everything is read until it expires and nothing after,
// and what is on disk stays near what is alive.
func TestYear(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	y := &year{T: t, clock: c, s: open(t, dir, Options{TTL: yearTTL, Now: c.Now}), dir: dir, payload: rand.NewChaCha8([32]byte{})}
	for month := range yearMonths {
		for h := range 30 * 24 {
			y.passHour(h)
		}
		live := y.readAll()
		y.waitForSpace(live)
		t.Logf("month %d: %d bytes live, %d stored in %d files", month+1, live, y.usage().bytes, y.usage().files)
	}
	// Notes and feed were written once a sweep and live 60 days.
	if n, most := countKeys(t, y.s, noteTable), int(2*yearTTL/yearSweep)+1; n > most || countKeys(t, y.s, publicationTable) > most {
		t.Errorf("%d notes and %d publications are stored, want %d at most", n, countKeys(t, y.s, publicationTable), most)
	}
}

// passHour writes what comes in an hour, and lets it pass.
func (y *year) passHour(n int) {
	now, types := y.micros(), []string{"chat", "purchase"}
	seg, straggler := afterhours.NewSegment(), afterhours.NewSegment()
	old := afterhours.Micros(rand.IntN(90*24)) * 3600e6
	appends := []written{
		{afterhours.HourOf(types[n%2], now), seg.String(), seg, now, 20},
		{afterhours.HourOf(types[n%2], now-old), store.SharedLane(afterhours.DayOf(now)).Name, straggler, now, 1},
	}
	var wg sync.WaitGroup
	for _, w := range appends {
		rows := y.rows(w)
		wg.Go(func() {
			if err := errors.Join(y.s.PutLane(y.Context(), w.hour, store.Lane{Name: w.lane}), y.s.Append(y.Context(), w.hour, w.lane, w.at, rows)); err != nil {
				y.Error(err)
			}
		})
	}
	wg.Wait()
	y.wrote = append(y.wrote, appends...)
	if n%int(yearSweep/time.Hour) == 0 {
		y.sweep(appends[0])
	}
	y.pass(time.Hour)
}

func (y *year) rows(w written) []store.Row {
	rows := make([]store.Row, w.rows)
	for i := range rows {
		payload := make([]byte, yearPayload)
		_, _ = y.payload.Read(payload) // never fails
		rows[i].ID = afterhours.RowID{Segment: w.seg, Seq: uint32(i)}
		rows[i].Event = afterhours.Event{ID: "e", Type: w.hour.Type, Time: w.hour.Start, Payload: payload}
	}
	return rows
}

// sweep writes a note and a publication, and sweeps.
func (y *year) sweep(w written) {
	note := store.Note{Lane: w.lane, Segment: w.seg}
	publication := store.Publication{Hour: w.hour, Lineage: "lineage", At: w.at}
	if err := errors.Join(
		y.s.PutNotes(y.Context(), w.hour, "lineage", []store.Note{note}),
		y.s.Board("lake").PutPublications(y.Context(), []store.Publication{publication}),
		y.s.Sweep(y.Context()),
	); err != nil {
		y.Fatal(err)
	}
}

// readAll reads everything that was ever written: what is alive must be there,
// in lanes that the index lists, and nothing else. It returns the payload bytes.
func (y *year) readAll() (live int64) {
	y.Helper()
	listed := map[string]bool{}
	if err := y.s.Index(y.Context(), func(h afterhours.Hour, lanes []store.Lane) error {
		for _, l := range lanes {
			listed[h.String()+l.Name] = true
		}
		return nil
	}); err != nil {
		y.Fatal(err)
	}
	for _, w := range y.wrote {
		got, want := 0, 0
		if alive := y.micros() < w.at+y.s.lifetime(); alive && listed[w.hour.String()+w.lane] {
			want = w.rows
		} else if alive {
			y.Fatalf("lane %s of hour %s is not listed", w.lane, w.hour)
		}
		if err := y.s.ReadRows(y.Context(), w.hour, store.Lane{Name: w.lane}, nil, func(r store.Row) error {
			if r.ID.Segment == w.seg {
				got++
			}
			return nil
		}); err != nil || got != want {
			y.Fatalf("%d rows of %s, want %d, error %v", got, w.at, want, err)
		}
		live += int64(got * yearPayload)
	}
	return live
}

// waitForSpace waits until compactions, which work in the background, have freed
// what is not needed.
func (y *year) waitForSpace(live int64) {
	y.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		u, metrics := y.usage(), int64(y.s.db.Metrics().DiskSpaceUsage())
		if u.bytes <= 2*live && metrics <= 2*live && u.files <= 50 {
			return
		}
		if time.Since(start) > 30*time.Second {
			y.Fatalf("%d bytes in %d files are stored, %d by Pebble's count; %d are alive", u.bytes, u.files, metrics, live)
		}
	}
}

type usage struct {
	files int
	bytes int64
}

// usage measures the directory. A file that is deleted meanwhile is not counted.
func (y *year) usage() (u usage) {
	y.Helper()
	err := filepath.WalkDir(y.dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		switch info, err := e.Info(); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		default:
			u.files++
			u.bytes += info.Size()
			return nil
		}
	})
	if err != nil {
		y.Fatal(err)
	}
	return u
}
