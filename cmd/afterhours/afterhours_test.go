package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours/cmd/internal/app"
)

// run runs a command line and returns its exit code and what it says.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(""))
	root.SetArgs(args)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute) // a service that should not have begun
	defer stop()
	code = app.Execute(ctx, root)
	return code, out.String(), errs.String()
}

// TestDemo: what is sent again changes no object, and the log is as it was asked
// for, with nothing in it that the demo says itself.
func TestDemo(t *testing.T) {
	code, out, errs := run(t, "demo", "--events", "500", "--data", t.TempDir(), "--log-format", "json")
	if code != app.ExitDone || errs != "" || !strings.Contains(out, " copies are counted, 0 objects change\n") {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	if _, ok := slog.Default().Handler().(*slog.JSONHandler); !ok {
		t.Errorf("the log is a %T, want JSON", slog.Default().Handler())
	}
}

// TestServeMistakes: every mistake gets an answer that names it, before anything is
// opened.
func TestServeMistakes(t *testing.T) {
	embedded := "pebble://" + t.TempDir()
	for line, says := range map[string]string{
		"serve":                                "nothing to ingest",
		"serve - --topics t":                   "not both",
		"serve - --new-types-per-day=-1":       "--new-types-per-day -1",
		"serve - --allow-type _own":            "--allow-type",
		"serve - --type-policy t:calm=1m":      `unknown part "calm"`,
		"serve - --health-addr 8080":           `--health-addr "8080"`,
		"serve - --workers 2 --giants 3":       "--giants 3 is more than --workers 2",
		"serve - --store " + embedded + "?x=1": `unknown parameter "x"`,
		"demo --store cassandra://host/ks":     "embedded backends only",
	} {
		args := append(strings.Fields(line), "--data", t.TempDir())
		if code, _, errs := run(t, args...); code != app.ExitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, want an answer with %q: %s", line, code, says, errs)
		}
	}
}
