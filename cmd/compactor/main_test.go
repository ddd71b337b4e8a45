package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/ingest"
)

const (
	hourA = "a/2026-11-20T10"
	hourB = "b/2026-11-20T10"
)

// place is a directory with the embedded backends.
type place string

// ingest ingests events such as "ID TYPE", all of one hour.
func (p place) ingest(t *testing.T, events ...string) {
	t.Helper()
	var lines strings.Builder
	for _, e := range events {
		id, eventType, _ := strings.Cut(e, " ")
		lines.WriteString(`{"id":"` + id + `","type":"` + eventType + `","time":"2026-11-20T10:00:00Z"}` + "\n")
	}
	g := &app.Global{Data: string(p), Logger: slog.New(slog.DiscardHandler)}
	b, err := g.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := ingest.Mapping{IDField: "id", TypeField: "type", TimeField: "time", AcceptPast: 1 << 62, AcceptFuture: 1 << 62}
	src := ingest.Files{Inputs: []string{"-"}, Stdin: strings.NewReader(lines.String())}
	if _, err := g.Ingest(t.Context(), b, src, m, app.GuardFlags{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// run runs a command and returns its exit code and what it says.
func (p place) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append(args, "--data", string(p), "--log-format", "json"))
	code = app.Execute(context.Background(), root)
	return code, out.String(), errs.String()
}

// says runs a command that must succeed and say something.
func (p place) says(t *testing.T, want string, args ...string) string {
	t.Helper()
	code, out, errs := p.run(args...)
	if code != app.ExitDone || !strings.Contains(out, want) {
		t.Fatalf("compactor %s: exit code %d, want an answer with %q:\n%s%s", strings.Join(args, " "), code, want, out, errs)
	}
	return out
}

// object is the path of an hour's partition.
func (p place) object(eventType string) string {
	return filepath.Join(string(p), "lake", "event_type="+eventType, "dt=2026-11-20", "hour=10", "events.parquet")
}

// keep copies a partition and returns the copy's path.
func (p place) keep(t *testing.T, eventType string) string {
	t.Helper()
	text, err := os.ReadFile(p.object(eventType))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "older.parquet")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// damage makes a partition unreadable.
func (p place) damage(t *testing.T, eventType string) {
	t.Helper()
	if err := os.WriteFile(p.object(eventType), []byte("not Parquet"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLimits: a drain that a limit ends is a success, says which and what is left,
// and the next one does it.
func TestLimits(t *testing.T) {
	p := place(t.TempDir())
	p.ingest(t, "1 a", "2 b", "3 c")
	p.says(t, "stopped at --max-hours; at least 2 hours are left for the next run\n", "once", "--max-hours", "1", "--workers", "1")
	if out := p.says(t, "2 hours rewritten", "once"); strings.Contains(out, "stopped") {
		t.Errorf("without limits: %s", out)
	}
}

// TestLimitedLine: the limit that ended a drain is named, and no number of hours is
// claimed that nobody knows.
func TestLimitedLine(t *testing.T) {
	both := compact.Limits{Hours: 5, Runtime: time.Minute}
	for _, c := range []struct {
		left    int64
		limits  compact.Limits
		elapsed time.Duration
		want    string
	}{
		{12, compact.Limits{Hours: 5}, time.Hour, "stopped at --max-hours; at least 12 hours are left for the next run"},
		{12, both, time.Second, "stopped at --max-hours; at least 12 hours are left for the next run"},
		{12, both, time.Minute, "stopped at --max-runtime; at least 12 hours are left for the next run"},
		{0, both, time.Second, "stopped at --max-hours; no other dirty hour was seen by then"},
	} {
		if got := limitedLine(compact.Summary{Left: c.left}, c.limits, c.elapsed); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestStuckHour: an hour with a damaged object is shown with its remedy; discarding
// the base is a way out, and so is restoring an older version, after which what came
// since is merged again.
func TestStuckHour(t *testing.T) {
	p := place(t.TempDir())
	p.ingest(t, "1 a", "2 a")
	p.says(t, "1 hours rewritten", "once")
	older := p.keep(t, "a")
	p.damage(t, "a")
	p.ingest(t, "3 a")
	if code, _, errs := p.run("once"); code != app.ExitFailed || !strings.Contains(errs, "compactor restore "+hourA+" --from FILE") {
		t.Errorf("a damaged object: exit code %d: %s", code, errs)
	}
	p.says(t, "remedy: unless the reason names another", "status")
	p.says(t, `"remedy": "unless the reason names another`, "status", "--json")

	p.says(t, hourA+": 2 rows before, 3 rows now\n", "rebuild", hourA, "--discard-base")
	p.says(t, "1 hours wait, 0 stuck", "status") // its mark is still to be served
	p.damage(t, "a")
	p.says(t, hourA+": 3 rows before, 2 rows now\nmarked", "restore", hourA, "--from", older)
	p.says(t, "1 rows added", "once")
	p.says(t, "3 rows published", "verify")
	p.says(t, `"cause":"restore"`, "feed", "--json")
}

// TestRebuild: the given hours are written from all raw rows, each once.
func TestRebuild(t *testing.T) {
	p := place(t.TempDir())
	p.ingest(t, "1 a", "2 b")
	p.says(t, "2 hours rewritten", "once")
	p.says(t, "2 hours rewritten", "rebuild", hourA, hourB, hourA)
	out := p.says(t, `"cause":"rebuild"`, "feed", "--json", "--since", "1h")
	if n := strings.Count(out, "\n"); n != 4 {
		t.Errorf("%d publishes, want 4:\n%s", n, out)
	}
}

// TestSweep: rows whose marks are lost with the queue are found, and named.
func TestSweep(t *testing.T) {
	p := place(t.TempDir())
	p.ingest(t, "1 a")
	p.says(t, "1 hours rewritten", "once")
	p.ingest(t, "2 a", "3 b")
	if err := os.RemoveAll(filepath.Join(string(p), "dirty")); err != nil {
		t.Fatal(err)
	}
	p.says(t, "0 hours rewritten", "once")
	var s struct {
		Hours  int64    `json:"hours_marked"`
		Marked []string `json:"marked"`
	}
	out := p.says(t, "", "sweep", "--all", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Hours != 2 || strings.Join(s.Marked, " ") != hourA+" "+hourB {
		t.Errorf("%+v, %v: %s", s, err, out)
	}
	p.says(t, "2 hours rewritten", "once")
	p.says(t, "0 hours marked", "sweep", "--all")
}

// TestTimes reads instants, hours, days and durations before now.
func TestTimes(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"90m":                       now.Add(-90 * time.Minute),
		"0s":                        now,
		"2026-11-20T10":             time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC),
		"2026-11-20":                time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC),
		"2026-11-20T10:30:00Z":      time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC),
		"2026-11-20T10:30:00+01:00": time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC),
	} {
		if got, err := parseTime("--since", text, now); err != nil || got != afterhours.MicrosOf(want) {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, c := range []struct{ since, until, says string }{
		{"yesterday", "tomorrow", `--since "yesterday"`},
		{"24h", "tomorrow", `--until "tomorrow"`},
		{"-1h", "", `--since "-1h"`},
		{"1h", "2h", "--since 1h is not before --until 2h"},
	} {
		if _, _, err := parseTimes(c.since, c.until, now); !app.IsUsage(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s to %s: %v", c.since, c.until, err)
		}
	}
}

// TestMistakes: every mistake of a command line gets an answer that names it, and
// is one of usage.
func TestMistakes(t *testing.T) {
	p := place(t.TempDir())
	for line, says := range map[string]string{
		"once --max-hours=-1":               "--max-hours -1",
		"once --max-runtime=-1s":            "--max-runtime -1s",
		"rebuild":                           "at least 1 arg",
		"rebuild a b/2026-11-20T10":         `"a": want TYPE/2026-11-20T10`,
		"rebuild b/2026-11-20":              "is a day",
		"restore " + hourA:                  "--from is missing",
		"restore 2026-11-20T10 --from x":    `"2026-11-20T10"`,
		"restore " + hourA + " b --from x":  "accepts 1 arg",
		"feed --since soon":                 `--since "soon"`,
		"run --health-addr nowhere":         `--health-addr "nowhere": want HOST:PORT`,
		"run --type-policy a:calm=1m":       `unknown part "calm"`,
		"run --giants 9":                    "--giants 9 is more than --workers 4",
		"once --store pebble:///x?tll=720h": `unknown parameter "tll"`,
		"once --store pebble:///x?ttl=soon": `ttl "soon"`,
		"once --store pebble://?ttl=720h":   "names no directory",
		"once --dirty pebble:///x?ttl=720h": `unknown parameter "ttl"`,
	} {
		if code, _, errs := p.run(strings.Fields(line)...); code != app.ExitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, want an answer with %q: %s", line, code, says, errs)
		}
	}
}
