package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/store"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func hourAt(n int) afterhours.Hour {
	return afterhours.HourOf("a", afterhours.MicrosOf(noon.Add(time.Duration(n)*time.Hour)))
}

// TestTimes reads instants, hours, days and durations before now.
func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Time{
		"90m":                       noon.Add(-90 * time.Minute),
		"0s":                        noon,
		"2026-11-19":                time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC),
		"2026-11-19T07":             time.Date(2026, 11, 19, 7, 0, 0, 0, time.UTC),
		"2026-11-19T07:30:00Z":      time.Date(2026, 11, 19, 7, 30, 0, 0, time.UTC),
		"2026-11-19T07:30:00+02:00": time.Date(2026, 11, 19, 5, 30, 0, 0, time.UTC),
	} {
		if got, err := parseTime("--since", text, noon); err != nil || !got.Time().Equal(want) {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	if from, to, err := parseTimes("24h", "", noon); err != nil || from.Time() != noon.Add(-24*time.Hour) || to != newest {
		t.Errorf("%d to %d, %v", from, to, err)
	}
	for _, c := range []struct{ since, until, says string }{
		{"", "", `--since ""`},
		{"-1h", "", `--since "-1h"`},
		{"12", "", `--since "12"`},
		{"24h", "2026-11-19T07:30", `--until "2026-11-19T07:30"`},
		{"1h", "2h", "--since 1h is not before --until 2h"},
	} {
		if _, _, err := parseTimes(c.since, c.until, noon); !app.IsUsage(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q to %q: %v", c.since, c.until, err)
		}
	}
}

// TestLimitedLine: the limit that ended a drain is named, and no number of hours is
// claimed that nobody knows.
func TestLimitedLine(t *testing.T) {
	both := compact.Limits{Hours: 3, Runtime: time.Hour}
	for _, c := range []struct {
		left    int64
		limits  compact.Limits
		elapsed time.Duration
		want    string
	}{
		{12, compact.Limits{Hours: 3}, 2 * time.Hour, "stopped at --max-hours; at least 12 hours are left for the next run"},
		{12, both, time.Minute, "stopped at --max-hours; at least 12 hours are left for the next run"},
		{12, both, time.Hour, "stopped at --max-runtime; at least 12 hours are left for the next run"},
		{0, both, time.Minute, "stopped at --max-hours; no other dirty hour was seen by then"},
	} {
		if got := limitedLine(compact.Summary{Limited: true, Left: c.left}, c.limits, c.elapsed); got != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
}

// TestStatusForPeople: lists are cut where nobody reads on; what matters most comes
// last.
func TestStatusForPeople(t *testing.T) {
	var s compact.Status
	for n := range 13 {
		since := afterhours.MicrosOf(noon.Add(-time.Hour))
		s.Waiting = append(s.Waiting, compact.Waiting{Hour: hourAt(n), Since: since})
		s.Oversized = append(s.Oversized, store.Partition{Hour: hourAt(n), Manifest: 80 << 10})
	}
	s.Stuck = []store.Stuck{{Hour: hourAt(0), Since: afterhours.MicrosOf(noon), Reason: "torn"}}
	var out strings.Builder
	if err := writeStatus(&out, s, noon); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"oversized manifest: a/2026-11-20T12: 80.0 KiB, expected are at most 64.0 KiB",
		"and 3 more oversized manifests",
		"stuck since 2026-11-20T12:00:00Z: a/2026-11-20T12: torn\n  remedy: ",
		"waiting: a/2026-11-20T21, marked 1h0m0s ago\nand 3 more hours wait",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("status does not say %q:\n%s", want, out.String())
		}
	}
	if !strings.HasSuffix(out.String(), "\n13 hours wait, 1 stuck\n") {
		t.Errorf("status ends with %q", out.String())
	}
}

// TestStatusInJSON has all hours, times in UTC, and lists that are never null.
func TestStatusInJSON(t *testing.T) {
	s := compact.Status{Oversized: []store.Partition{{Hour: hourAt(0), Manifest: 70_000}}}
	out := newStatusJSON("group", "file:///lake", s)
	if out.Waiting == nil || out.Stuck == nil || out.Types == nil {
		t.Errorf("%+v has a list that is null", out)
	}
	if len(out.Oversized) != 1 || out.Oversized[0] != (oversizedJSON{"a/2026-11-20T12", 70_000}) {
		t.Errorf("oversized %+v", out.Oversized)
	}
	for n := range 13 {
		s.Waiting = append(s.Waiting, compact.Waiting{Hour: hourAt(n), Due: noon.In(time.FixedZone("", 3600))})
	}
	if out = newStatusJSON("group", "file:///lake", s); len(out.Waiting) != 13 || out.Waiting[0].Due != noon {
		t.Errorf("waiting %+v", out.Waiting)
	}
}

// TestSweptForPeople names what was marked, up to ten hours.
func TestSweptForPeople(t *testing.T) {
	var names []string
	for n := range 12 {
		names = append(names, fmt.Sprintf("a/%d", n))
	}
	var out strings.Builder
	err := writeSwept(&out, compact.Swept{Hours: 20, Partitions: 15, Complete: 8, Looked: 12, Rows: 7, Lanes: 6, Marked: 12}, names, 1234*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "marked: a/9\nand 2 more; all of them: compactor status --json\n"+
		"20 hours, 15 partitions: 8 complete, 12 looked into (7 rows of 6 lanes read); 12 hours marked in 1.23s\n") {
		t.Errorf("%s", out.String())
	}
}
