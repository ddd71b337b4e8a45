package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/store"
)

// theHour is where the events of these tests belong, unless said otherwise, and
// theTime its time part.
const (
	theTime = "2026-11-20T10"
	theHour = "purchase/" + theTime
)

// site is a directory with embedded backends and a lake, and commands on it.
type site struct {
	dir    string
	events int // ingested so far
}

func newSite(t *testing.T) *site { return &site{dir: t.TempDir()} }

// ingest keeps n new events of an hour and marks it.
func (s *site) ingest(t *testing.T, hour string, n int) {
	t.Helper()
	var lines strings.Builder
	for range n {
		s.events++
		fmt.Fprintf(&lines, `{"id":"e%d","at":"%s:%02d:00Z"}`+"\n", s.events, hour, s.events)
	}
	g := &app.Global{Data: s.dir, Logger: slog.New(slog.DiscardHandler)}
	b, err := g.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := ingest.Mapping{Type: "purchase", IDField: "id", TimeField: "at", AcceptPast: 1 << 62, AcceptFuture: 1 << 62}
	src := ingest.Files{Inputs: []string{"-"}, Stdin: strings.NewReader(lines.String())}
	if sum, err := g.Ingest(t.Context(), b, src, m, app.GuardFlags{}); err != nil || sum.Written != int64(n) {
		t.Fatalf("%+v, %v", sum, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// object is the path of the partition of theHour.
func (s *site) object() string {
	return filepath.Join(s.dir, "lake", "event_type=purchase", "dt=2026-11-20", "hour=10", "events.parquet")
}

// onBoard does something on the lake's board.
func (s *site) onBoard(t *testing.T, do func(store.Board) error) {
	t.Helper()
	g := &app.Global{Data: s.dir, Logger: slog.New(slog.DiscardHandler)}
	c, err := g.Compactor(t.Context(), app.NewCompactFlags(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(c.Board()), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// loseQueue loses all marks.
func (s *site) loseQueue(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, "dirty")); err != nil {
		t.Fatal(err)
	}
}

// try runs a command line to its end.
func (s *site) try(t *testing.T, line string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append(strings.Fields(line), "--data", s.dir))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute) // a daemon that should not have begun
	defer stop()
	code = app.Execute(ctx, root)
	return code, out.String(), errs.String()
}

// run runs a command line that must end well and say all this.
func (s *site) run(t *testing.T, line string, says ...string) string {
	t.Helper()
	code, stdout, stderr := s.try(t, line)
	if code != app.ExitDone {
		t.Fatalf("%s: exit code %d: %s", line, code, stderr)
	}
	wantText(t, line, stdout, says...)
	return stdout
}

// fail runs a command line that must end with a code, and an error that says all
// this.
func (s *site) fail(t *testing.T, line string, want int, says ...string) {
	t.Helper()
	code, _, stderr := s.try(t, line)
	if code != want {
		t.Errorf("%s: exit code %d, want %d", line, code, want)
	}
	wantText(t, line, stderr, says...)
}

func wantText(t *testing.T, what, text string, says ...string) {
	t.Helper()
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("%s does not say %q:\n%s", what, s, text)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write writes a file and returns its path.
func write(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// damage publishes the hour, cuts its object off, and brings another event.
func (s *site) damage(t *testing.T) {
	t.Helper()
	s.ingest(t, theTime, 3)
	s.run(t, "once")
	write(t, s.object(), read(t, s.object())[:100])
	s.ingest(t, theTime, 1)
}
