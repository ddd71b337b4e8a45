package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain is main as well, for the processes that works start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

func testSuite(t *testing.T) *suite {
	return &suite{sizes: sizes{Events: 2000, Big: 3000, Hours: 40, S3Hours: 5, Workers: 4}, runs: 2, dir: t.TempDir(), figures: map[string][]figure{}}
}

// TestCommand runs merges from end to end.
func TestCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	args := []string{"compact", "-only", "merge", "-peers=false", "-events", "2000", "-big", "3000", "-runs", "2", "-dir", ".", "-json", "figures.json", "-profile", "profiles"}
	if err := run(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("figures.json")
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Works) != 6 || len(r.Unusual) != 3 {
		t.Errorf("%d works, unusual are %q: want 6, and -events, -big, -runs", len(r.Works), r.Unusual)
	}
	for _, w := range r.Works {
		if len(w.Runs) != 2 || w.Median <= 0 || w.Met != nil {
			t.Errorf("figures of %s: %+v", w.ID, w)
		}
	}
	if w := r.work("merge_10_big"); w == nil || w.Ratio == 0 || w.RSS == 0 {
		t.Errorf("10 late into the large partition: %+v", w)
	}
	if _, err := os.Stat("profiles/merge_1-2.cpu.pprof"); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob("*"); err != nil || !slices.Equal(left, []string{"figures.json", "profiles"}) {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestSmallHours does what needs no server.
func TestSmallHours(t *testing.T) {
	s := testSuite(t)
	g := s.smallHours()
	g.works = slices.DeleteFunc(g.works, func(w work) bool { return strings.HasPrefix(w.id, "s3") })
	g.prepare = func(ctx context.Context) error {
		_, err := s.hoursTask("strays", "directory", s.Hours).start(ctx)
		return err
	}
	if err := s.run(t.Context(), []group{g}); err != nil {
		t.Fatal(err)
	}
	for _, w := range g.works {
		for _, f := range s.figures[w.id] {
			if f.Units != int64(s.Hours) || f.Seconds <= 0 {
				t.Errorf("%s: %+v", w.id, f)
			}
		}
	}
}

// TestFewer has a work do something else than it was asked for.
func TestFewer(t *testing.T) {
	s := testSuite(t)
	_, err := s.measure(t.Context(), "encode", task{Do: "encode", Lake: fileURL(t.TempDir()), Events: 10}, 11)
	if err == nil || !strings.Contains(err.Error(), "10 rows, hours or files, want 11") {
		t.Errorf("got error %v", err)
	}
}

func TestGoals(t *testing.T) {
	of := func(seconds float64, rss int64) []figure {
		return []figure{{took{seconds * 3, 1000}, rss}, {took{seconds, 1000}, 0}, {took{seconds / 2, 1000}, 0}}
	}
	for _, c := range []struct {
		goal    goal
		rate    bool
		seconds float64 // its floor takes one
		rss     int64
		met     string
	}{
		{goal: goal{}, seconds: 1},
		{goal: goal{against: "floor", times: 1.5}, seconds: 1.4, met: "yes"},
		{goal: goal{against: "floor", times: 1.5}, seconds: 1.6, met: "NO"},
		{goal: goal{against: "floor", times: 1.5, rss: 100}, seconds: 1.4, rss: 100, met: "yes"},
		{goal: goal{against: "floor", times: 1.5, rss: 100}, seconds: 1.4, rss: 101, met: "NO"},
		{goal: goal{against: "floor", times: 0.5}, rate: true, seconds: 1.9, met: "yes"},
		{goal: goal{against: "floor", times: 0.5}, rate: true, seconds: 2.1, met: "NO"},
		{goal: goal{perSecond: 500}, rate: true, seconds: 1.9, met: "yes"},
		{goal: goal{perSecond: 500}, rate: true, seconds: 2.1, met: "NO"},
		{goal: goal{against: "not run", times: 1.5}, seconds: 1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w, floor := work{id: "work", rate: c.rate, goal: c.goal}, work{id: "floor", rate: c.rate}
			r := report{Works: []result{w.result(of(c.seconds, c.rss)), floor.result(of(1, 0))}}
			r.compare()
			if got := r.Works[0].verdict(); got != c.met {
				t.Errorf("met: %q, want %q", got, c.met)
			}
			r.Unusual = []string{"-events 1 instead of 2"}
			r.Works[0].Met = nil
			r.compare()
			if got := r.Works[0].verdict(); got != "" {
				t.Errorf("met: %q for an unusual size", got)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{5, 1, 3}); got != 3 {
		t.Errorf("median of three: %v", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
}
