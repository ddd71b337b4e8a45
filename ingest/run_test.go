package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// sourceFunc is a source made of a function.
type sourceFunc func(ctx context.Context, put Put) error

func (f sourceFunc) Run(ctx context.Context, put Put) error { return f(ctx, put) }

// endless puts events until it is stopped, and counts what it put and what was
// acknowledged.
type endless struct{ put, acked atomic.Int64 }

func (s *endless) Run(ctx context.Context, put Put) error {
	for i := 0; ; i++ {
		r := Record{Bytes: fmt.Appendf(nil, `{"t":"2026-11-20T10:00:00Z","n":%d}`, i), Source: "endless", Position: fmt.Sprint(i)}
		if err := put(ctx, r, func() { s.acked.Add(1) }); err != nil {
			return err
		}
		s.put.Add(1)
		time.Sleep(time.Millisecond)
	}
}

var plainMapping = Mapping{Type: "purchase", TimeField: "t", AcceptPast: 100 * 365 * 24 * time.Hour, AcceptFuture: 100 * 365 * 24 * time.Hour}

// A file of real events with broken lines among them is counted to the last.
func TestRunFile(t *testing.T) {
	f := newFake(t)
	text := `{"event_id":"1","event_type":"a","event_time":"2026-11-20T10:00:00Z","received_at":"2026-11-20T10:30:00Z"}
{"event_id":"2","event_type":"a","event_time":"2026-11-20T10:00:00Z","received_at":"2026-11-20T11:00:00Z"}
broken
{"event_id":"3","event_type":"b","event_time":"2026-11-20T10:00:00Z","received_at":"2026-11-21T00:00:00Z"}
{"event_id":"4","event_type":"b","event_time":"1026-11-20T10:00:00Z"}
`
	m := Mapping{IDField: "event_id", TypeField: "event_type", TimeField: "event_time", ReceivedField: "received_at", AcceptPast: DefaultAcceptPast, AcceptFuture: DefaultAcceptFuture}
	s, err := Run(t.Context(), Files{Inputs: []string{put(t, "x", []byte(text))}}, m, New(f, f, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	// Three hours: a and b at ten, and quarantine.
	if s.Read != 5 || s.Written != 3 || s.Quarantined != 2 || s.Late != 2 || s.Hours != 3 {
		t.Errorf("summary is %+v", s)
	}
}

// The same broken line of the same file, read again, is the same quarantine
// event; that of a changed line is another.
func TestRunAgainLandsOnItself(t *testing.T) {
	f := newFake(t)
	path := put(t, "x", []byte("broken\n"))
	ids := func() int {
		w := New(f, f, Options{})
		if _, err := Run(t.Context(), Files{Inputs: []string{path}}, plainMapping, w); err != nil {
			t.Fatal(err)
		}
		return len(f.copies)
	}
	if n := ids(); n != 1 {
		t.Errorf("%d quarantine events of one line", n)
	}
	if n := ids(); n != 1 {
		t.Errorf("%d quarantine events after a redelivery", n)
	}
	if err := os.WriteFile(path, []byte("broker\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := ids(); n != 2 {
		t.Errorf("%d quarantine events after the file changed", n)
	}
}

// An input that breaks off is an error, and what was read before it is kept.
func TestRunKeepsWhatWasRead(t *testing.T) {
	f := newFake(t)
	src := sourceFunc(func(ctx context.Context, put Put) error {
		for i := range 1000 {
			r := Record{Bytes: fmt.Appendf(nil, `{"t":"2026-11-20T10:00:00Z","n":%d}`, i)}
			if err := put(ctx, r, func() {}); err != nil {
				return err
			}
		}
		return errFault
	})
	s, err := Run(t.Context(), src, plainMapping, New(f, f, Options{}))
	if !errors.Is(err, errFault) || s.Written != 1000 || f.openLanes() != 0 {
		t.Errorf("summary is %+v, %d open lanes, error %v", s, f.openLanes(), err)
	}
}

// When it is told to stop, Run reads no more, keeps and acknowledges everything
// it has read, and closes the lanes.
func TestRunStopsGracefully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		var src endless
		s, err := Run(ctx, &src, plainMapping, New(f, f, Options{}))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		if n := src.put.Load(); n < 1000 || s.Read != n || s.Written != n || src.acked.Load() != n {
			t.Errorf("%d records were put, %d acknowledged, summary %+v", n, src.acked.Load(), s)
		}
		if n := f.openLanes(); n != 0 {
			t.Errorf("%d lanes stay open", n)
		}
	})
}

// What a source has put when it is told to stop is kept, wherever it is by then.
func TestRunFinishesWhatWasPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		var acked atomic.Int64
		src := sourceFunc(func(ctx context.Context, put Put) error {
			for i := range 150 {
				r := Record{Bytes: fmt.Appendf(nil, `{"t":"2026-11-20T10:00:00Z","n":%d}`, i)}
				if err := put(ctx, r, func() { acked.Add(1) }); err != nil {
					return err
				}
			}
			cancel()
			return ctx.Err()
		})
		if _, err := Run(ctx, src, plainMapping, New(f, f, Options{})); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		if n := acked.Load(); n != 150 {
			t.Errorf("%d of 150 records are acknowledged", n)
		}
	})
}

// What cannot be kept within the grace is given up, unacknowledged.
func TestRunGivesUpAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(op string, _ afterhours.Hour) (bool, error) { return false, errFault }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		began := time.Now()
		var src endless
		_, err := Run(ctx, &src, plainMapping, New(f, f, Options{Log: quiet, ShutdownGrace: time.Minute}))
		if !errors.Is(err, errGrace) || src.acked.Load() != 0 {
			t.Errorf("%d records are acknowledged, error %v", src.acked.Load(), err)
		}
		if d := time.Since(began).Round(time.Second); d != 70*time.Second {
			t.Errorf("it took %v, want 10 s and a minute", d)
		}
	})
}

// Records that wait to be mapped are bounded by their bytes, not only by their
// number: large ones would take hundreds of megabytes.
func TestRunBoundsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		g := newGate("append")
		f.fault = g.fault
		var taken atomic.Int64
		src := sourceFunc(func(ctx context.Context, put Put) error {
			for i := range 100 {
				r := Record{Bytes: fmt.Appendf(nil, `{"t":"2026-11-20T10:00:00Z","n":%d,"pad":"%s"}`, i, strings.Repeat("x", 1<<19))}
				if err := put(ctx, r, func() {}); err != nil {
					return err
				}
				taken.Add(1)
			}
			return nil
		})
		time.AfterFunc(time.Minute, func() {
			if n := taken.Load(); n > (pumpBytes+1<<20)>>19 {
				t.Errorf("%d records of half a MiB are taken while the store hangs", n)
			}
			close(g.open)
		})
		s, err := Run(context.Background(), src, plainMapping, New(f, f, Options{InHand: 1 << 20}))
		if err != nil || s.Written != 100 {
			t.Errorf("summary is %+v, error %v", s, err)
		}
	})
}

// What is received is stamped, and accepted or not, by the clock of the options.
func TestRunGoesByTheClockOfTheOptions(t *testing.T) {
	f := newFake(t)
	f.now = func() time.Time { return noon.AddDate(1, 0, 0) }
	m := plainMapping
	m.AcceptPast, m.AcceptFuture = time.Hour, time.Hour
	src := sourceFunc(func(ctx context.Context, put Put) error {
		for _, at := range []time.Time{f.now(), noon} {
			r := Record{Bytes: fmt.Appendf(nil, `{"t":%q}`, at.Format(time.RFC3339)), Position: at.String()}
			if err := put(ctx, r, func() {}); err != nil {
				return err
			}
		}
		return nil
	})
	s, err := Run(t.Context(), src, m, New(f, f, Options{Now: f.now}))
	if err != nil || s.Written != 1 || s.Quarantined != 1 {
		t.Errorf("summary is %+v, error %v", s, err)
	}
	for id, rows := range f.copies {
		if r := rows[0]; r.event.Received != afterhours.MicrosOf(f.now()) || r.wrote != r.event.Received {
			t.Errorf("%s is received at %s and written at %s", id, r.event.Received, r.wrote)
		}
	}
}

// When the writer fails, the source is told to stop, and its error is the cause.
func TestRunFailsWithTheWriter(t *testing.T) {
	for op, refusal := range map[string]error{"index": store.ErrRefused, "columns": store.ErrColumnConflict} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.fault = func(at string, _ afterhours.Hour) (bool, error) {
					if at == op {
						return false, refusal
					}
					return true, nil
				}
				var src endless
				cols := []afterhours.Column{{Name: "n", Field: "n", Type: afterhours.Int64}}
				_, err := Run(t.Context(), &src, plainMapping, New(f, f, Options{Columns: cols}))
				if !errors.Is(err, refusal) {
					t.Errorf("error is %v", err)
				}
			})
		})
	}
}

// An hour in traffic costs some hundred bytes, and no goroutine of its own.
func TestOpenHoursCostLittle(t *testing.T) {
	const hours = 20_000
	w := New(nothing{}, nothing{}, Options{})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	before := heap()
	goroutines := runtime.NumGoroutine()
	var acked sync.WaitGroup
	acked.Add(hours)
	for i := range hours {
		e := testEvent(i, 0)
		if err := w.Write(t.Context(), e, testRecord(e), acked.Done); err != nil {
			t.Fatal(err)
		}
	}
	acked.Wait()
	per := (heap() - before) / hours
	t.Logf("%d bytes an hour", per)
	if per > 1000 {
		t.Errorf("an open hour costs %d bytes", per)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 10 {
		t.Errorf("%d more goroutines", n)
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// heap returns the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// When the writer fails, Run also ends what still waits for the store: here, for
// the columns of another type.
func TestRunFailsWhileColumnsAreDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(op string, h afterhours.Hour) (bool, error) {
			switch {
			case op == "columns" && h.Type == "b":
				return false, errFault
			case op == "index":
				time.Sleep(time.Second) // the other type is waiting by then
				return false, store.ErrRefused
			}
			return true, nil
		}
		src := sourceFunc(func(ctx context.Context, put Put) error {
			for i := range 2 {
				r := Record{Bytes: fmt.Appendf(nil, `{"t":"2026-11-20T10:00:00Z","k":%q}`, string(rune('a'+i)))}
				if err := put(ctx, r, func() { t.Error("acknowledged") }); err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond) // the first is written by then
			}
			return nil
		})
		m := plainMapping
		m.Type, m.TypeField = "", "k"
		cols := []afterhours.Column{{Name: "n", Field: "n", Type: afterhours.Int64}}
		if _, err := Run(t.Context(), src, m, New(f, f, Options{Columns: cols, Log: quiet})); !errors.Is(err, store.ErrRefused) {
			t.Errorf("error is %v", err)
		}
	})
}

// Thousands of hours with a row each are in hand at once.
func TestManyHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var events []afterhours.Event
		for i := range 6000 {
			id := fmt.Sprint(i)
			events = append(events, afterhours.NewEvent(id, "purchase", at.Add(time.Duration(i)*time.Hour), at, []byte(id)))
			f.write(w, events[i])
		}
		time.Sleep(time.Second)
		f.allAcked(events...)
		if s := w.Stats(); s.Hours != 6000 {
			t.Errorf("%d hours are marked", s.Hours)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if n := f.openLanes(); n != 0 {
			t.Errorf("%d lanes stay open", n)
		}
	})
}

// nothing is a Store and Marks that take everything at once.
type nothing struct{}

func (nothing) TTL() time.Duration                                         { return 30 * 24 * time.Hour }
func (nothing) PutLane(context.Context, afterhours.Hour, store.Lane) error { return nil }
func (nothing) Append(context.Context, afterhours.Hour, string, afterhours.Micros, []store.Row) error {
	return nil
}
func (nothing) DeclareColumns(context.Context, string, []afterhours.Column) error { return nil }
func (nothing) DeclareType(context.Context, string) error                         { return nil }
func (nothing) Types(context.Context, func(string) error) error                   { return nil }
func (nothing) Mark(context.Context, ...afterhours.Hour) error                    { return nil }

// What Run itself costs an event: reading a line, mapping it, and the way through
// the Writer, with a store and marks that cost nothing.
func BenchmarkRun(b *testing.B) {
	var text bytes.Buffer
	for i := range b.N {
		fmt.Fprintf(&text, `{"event_id":"%032d","event_type":"purchase","event_time":"2026-11-20T%02d:00:00Z","user":"u%d","pad":%q}`+"\n", i, i/10_000%24, i, strings.Repeat("x", 180))
	}
	b.SetBytes(int64(text.Len() / b.N))
	b.ReportAllocs()
	m := Mapping{IDField: "event_id", TypeField: "event_type", TimeField: "event_time", AcceptPast: DefaultAcceptPast, AcceptFuture: DefaultAcceptPast}
	b.ResetTimer()
	s, err := Run(b.Context(), Files{Inputs: []string{"-"}, Stdin: &text}, m, New(nothing{}, nothing{}, Options{}))
	if err != nil || s.Written != int64(b.N) {
		b.Fatalf("%+v, %v", s, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
