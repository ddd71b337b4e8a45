package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/store"
)

// TestRestore: an older version is put back, and what came since is merged again by
// the next run.
func TestRestore(t *testing.T) {
	s := newSite(t)
	s.ingest(t, theTime, 3)
	s.run(t, "once")
	old := write(t, filepath.Join(t.TempDir(), "old.parquet"), read(t, s.object()))
	s.ingest(t, theTime, 2)
	s.run(t, "once", "2 rows added")
	s.run(t, "restore "+theHour+" --from "+old, theHour+": 5 rows before, 3 rows now\nmarked: ")
	s.run(t, "once", "1 hours rewritten", "2 rows added")
	s.run(t, "feed", "\t3\trestore\t", "\t4\tmerge\t2\t0\n")
	s.run(t, "verify", "5 rows published", "0 broken")
}

// TestRestoreRefusesOtherFiles: one that is broken, of another hour or not there
// changes nothing, and the answer names it.
func TestRestoreRefusesOtherFiles(t *testing.T) {
	s := newSite(t)
	s.ingest(t, theTime, 3)
	s.run(t, "once")
	before := read(t, s.object())
	old := write(t, filepath.Join(t.TempDir(), "old.parquet"), before)
	broken := write(t, filepath.Join(t.TempDir(), "broken.parquet"), before[:100])
	s.fail(t, "restore "+theHour+" --from "+broken, app.ExitFailed, broken, "must not be rewritten")
	s.fail(t, "restore refund/2026-11-20T10 --from "+old, app.ExitFailed, old, "says that it is of hour "+theHour)
	s.fail(t, "restore "+theHour+" --from "+filepath.Join(s.dir, "absent"), app.ExitFailed, "absent", "no such file")
	if !bytes.Equal(read(t, s.object()), before) {
		t.Error("a restoration that failed changed the partition")
	}
}

// TestStuckHour: an hour whose partition is damaged is logged and shown with its
// remedy, and the remedy works.
func TestStuckHour(t *testing.T) {
	s := newSite(t)
	s.damage(t)
	remedy := "'compactor rebuild " + theHour + " --discard-base'"
	s.fail(t, "once", app.ExitFailed, "hour is stuck", remedy, "1 hours could not be rewritten")
	s.run(t, "status", "stuck since", theHour, "remedy: ", remedy, "1 hours wait, 1 stuck")
	var status statusJSON
	if err := json.Unmarshal([]byte(s.run(t, "status --json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Stuck) != 1 || status.Stuck[0].Hour != theHour || !strings.Contains(status.Stuck[0].Remedy, remedy) {
		t.Errorf("status %+v", status)
	}
	s.fail(t, "rebuild "+theHour, app.ExitFailed, "must not be rewritten")
	s.run(t, "rebuild "+theHour+" --discard-base", theHour+": 3 rows before, 4 rows now\n")
	s.run(t, "status", "1 hours wait, 0 stuck")        // its mark is still to be served
	s.run(t, "once", "0 hours rewritten, 1 unchanged") // nor is the rebuild owed that failed
	s.run(t, "verify", "1 hours: 4 rows seen = 4 rows published", "0 broken")
}

// TestVanishedPartition: an hour whose object is gone is stuck, and discarding makes
// a new one.
func TestVanishedPartition(t *testing.T) {
	s := newSite(t)
	s.ingest(t, theTime, 3)
	s.run(t, "once")
	if err := os.Remove(s.object()); err != nil {
		t.Fatal(err)
	}
	s.fail(t, "rebuild "+theHour, app.ExitFailed, "vanished")
	s.run(t, "rebuild "+theHour+" --discard-base", theHour+": 3 rows before, 3 rows now\n")
	s.run(t, "verify", "0 broken")
}

// TestDiscardOfNothing: of a partition that is gone, and whose raw rows are too, an
// empty one is made: the hour is no misspelled one, since the board knows it.
func TestDiscardOfNothing(t *testing.T) {
	s := newSite(t)
	h, err := afterhours.ParseHour(theHour)
	if err != nil {
		t.Fatal(err)
	}
	s.onBoard(t, func(b store.Board) error {
		return b.PutPartition(t.Context(), store.Partition{Hour: h, Lineage: "gone", Generation: 7, Rows: 3})
	})
	s.fail(t, "rebuild "+theHour, app.ExitFailed, "vanished")
	s.run(t, "rebuild "+theHour+" --discard-base", theHour+": 3 rows before, 0 rows now\n")
	s.run(t, "verify", "1 hours: 0 rows seen", "0 broken")
}

// TestRebuild writes the given hours anew, each once, and takes no name for which
// there is nothing: a misspelled one must not become an empty partition.
func TestRebuild(t *testing.T) {
	s := newSite(t)
	s.ingest(t, theTime, 3)
	s.ingest(t, "2026-11-20T11", 1)
	s.run(t, "once")
	s.run(t, "rebuild purchase/2026-11-20T11 "+theHour+" "+theHour, "2 hours rewritten, 0 unchanged; 0 rows added")
	for _, flag := range []string{"", " --discard-base"} {
		s.fail(t, "rebuild "+theHour+" purchases/2026-11-20T10"+flag, app.ExitFailed, "hour purchases/2026-11-20T10 has neither raw rows nor a partition")
	}
	if out := s.run(t, "feed --json"); strings.Count(out, "\n") != 4 {
		t.Errorf("published:\n%s", out)
	}
}

// TestFeed shows publishes in order, for people and line by line, and no others
// than were asked for.
func TestFeed(t *testing.T) {
	s := newSite(t)
	s.run(t, "feed", "PUBLISHED\tHOUR\tGENERATION\tCAUSE\tMERGED\tDUPLICATES\n")
	s.ingest(t, theTime, 3)
	s.run(t, "once")
	s.run(t, "rebuild "+theHour)
	s.run(t, "feed", "\t"+theHour+"\t1\tmerge\t3\t0\n")
	lines := strings.Split(strings.TrimSpace(s.run(t, "feed --since 1h --json")), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, want := range []publicationJSON{{Cause: "merge", Generation: 1}, {Cause: "rebuild", Generation: 2}} {
		var got publicationJSON
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		if got.Hour != theHour || got.Cause != want.Cause || got.Generation != want.Generation || got.Merged != 3 || time.Since(got.Published) > time.Hour {
			t.Errorf("line %d: %+v, want %+v", i, got, want)
		}
	}
	if out := s.run(t, "feed --since 2h --until 1h --json"); out != "" {
		t.Errorf("published more than an hour ago: %q", out)
	}
}

// TestSweep marks hours whose marks were lost with the queue, and names them.
func TestSweep(t *testing.T) {
	s := newSite(t)
	s.ingest(t, theTime, 3)
	s.run(t, "once")
	s.ingest(t, theTime, 3)
	s.ingest(t, "2026-11-20T11", 1)
	s.loseQueue(t)
	s.run(t, "once", "0 hours rewritten")
	s.run(t, "sweep", "marked: "+theHour+"\nmarked: purchase/2026-11-20T11\n2 hours, 1 partitions: 0 complete, 2 looked into", "; 2 hours marked in ")
	s.loseQueue(t)
	var swept sweptJSON
	if err := json.Unmarshal([]byte(s.run(t, "sweep --all --json")), &swept); err != nil {
		t.Fatal(err)
	}
	if swept.Hours != 2 || swept.Marked != 2 || len(swept.Names) != 2 || swept.Names[0] != theHour {
		t.Errorf("swept %+v, want 2 hours marked", swept)
	}
	s.run(t, "once", "2 hours rewritten")
	s.run(t, "sweep --all --json", `"marked": []`)
}

// TestSweepAll: what a sweep takes for swept before, all is read once more.
func TestSweepAll(t *testing.T) {
	s := newSite(t)
	s.ingest(t, theTime, 1)
	s.loseQueue(t)
	for flag, marked := range map[string]string{"": "0 hours marked", " --all": "1 hours marked"} {
		s.onBoard(t, func(b store.Board) error {
			return b.PutSwept(t.Context(), afterhours.MicrosOf(time.Now().Add(240*time.Hour)))
		})
		s.run(t, "sweep"+flag, marked)
	}
}

// TestOnceLimits: a limit is no failure, and what is left is told and served next.
func TestOnceLimits(t *testing.T) {
	s := newSite(t)
	for _, hour := range []string{theTime, "2026-11-20T11", "2026-11-20T12"} {
		s.ingest(t, hour, 1)
	}
	s.run(t, "once --max-hours 1", "1 hours rewritten", "stopped at --max-hours; at least 2 hours are left for the next run\n")
	if out := s.run(t, "once --max-hours 9 --max-runtime 1h", "2 hours rewritten"); strings.Contains(out, "stopped") {
		t.Errorf("with limits that were not reached: %s", out)
	}
}

// TestTTLOfTheStore: the URL of an embedded store says how long rows live, once and
// for all.
func TestTTLOfTheStore(t *testing.T) {
	s := newSite(t)
	s.run(t, "status --store pebble://"+s.dir+"/store?ttl=48h")
	s.run(t, "status --store pebble://"+s.dir+"/store")
	s.fail(t, "status --store pebble://"+s.dir+"/store?ttl=24h", app.ExitFailed, "--store", "24h", "48h")
}

// TestExamples: every command has some, and they have no flag that there is not.
func TestExamples(t *testing.T) {
	flags := regexp.MustCompile(`--([a-z-]+)`)
	for _, cmd := range newRoot().Commands() {
		lines := regexp.MustCompile(`compactor `+cmd.Name()+`\b[^|&#\n]*`).FindAllString(cmd.Example, -1)
		if len(lines) == 0 {
			t.Errorf("%s has no example", cmd.Name())
		}
		for _, line := range lines {
			for _, f := range flags.FindAllStringSubmatch(line, -1) {
				if cmd.Flag(f[1]) == nil {
					t.Errorf("%q: there is no --%s", line, f[1])
				}
			}
		}
	}
}
