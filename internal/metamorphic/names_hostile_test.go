package metamorphic

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/lake"
)

// hostileTypes are names that mean something to file systems, URLs, Hive, SQL or
// people. Those of the second list are none.
var (
	hostileTypes = []string{
		".", "..", "...", "../..", "../../../../etc/passwd", "/", "//", "/etc/passwd", "a/../b", "a/./b", "./a", "a/", "\\..\\..", "C:\\a", "~", "~root",
		"%", "%2F", "%2f", "%2e%2e", "%00", "%252F", "%E2%80", "%zz", "+", "a+b", "a b", " ", " a", "a ", "a.", "a..", ".a", ".tmp", ".tmp/lock", ".hidden", "-", "--help",
		"=", "a=b", "event_type=x", "dt=2026-11-20", "hour=10", "events.parquet", "a/dt=2026-11-20/hour=10/events.parquet", "x/2026-11-20T10", "purchase/2026-11-20",
		"Purchase", "purchase", "PURCHASE", "é", "e\u0301", "ﬁ", "fi", "K", "k", "ı", "ß", "ss", "null", "NULL", "nan", "true", "0", "007", "1e3", "2026-11-20",
		"con", "nul", "aux.txt", "a:b", "a*b", "a?b", "a<b", "a|b", `a"b`, "a'b", "'; DROP TABLE events; --", "$(reboot)", "`reboot`", "{a,b}", "[a]", "^a", "a#b", "a?x=1#y",
		"\u202eabc", "\u200b", "\ufeff", "a\u2028b", "\U0001f600", strings.Repeat("é", 100), strings.Repeat("x", 200), strings.Repeat("/", 81), "s3://b/k", "a;b", "a,b", "a&b",
		"%EF%BC%8F", "__proto__x"[2:], "a__HIVE_DEFAULT_PARTITION__",
	}
	noTypes = []string{
		"", "_", "_a", "__HIVE_DEFAULT_PARTITION__", "_quarantine", "_proof", "_temporary", "a\x00", "a\nb", "\r", "\x1b[31m", "\x7f", "a\u0085", strings.Repeat("x", 201),
		strings.Repeat("/", 100), strings.Repeat("é", 101),
	}
)

// typed is an event of a type, as a line.
func typed(i int, eventType string) record {
	b := fmt.Appendf(nil, `{"id":"%d","type":%s,"at":"%s","received":1795168900}`, i, jsonText(eventType), start)
	rec := record{Record: ingest.Record{Bytes: b, Source: "in", Position: fmt.Sprint(i), Time: start.Time()}}
	return rec
}

// jsonText writes a string as JSON, control characters too.
func jsonText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x20 || r == '"' || r == '\\' || r == 0x7f {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// partitionPath is where a partition may lie below the lake's root, by the rules
// of Hive.
var partitionPath = regexp.MustCompile(`^event_type=[^/]{1,244}/dt=\d{4}-\d\d-\d\d/hour=\d\d/events\.parquet$`)

// Whatever an event type is called, its partition lies in a directory of its own
// below the lake's root, whose name says the type by Hive's rules; no two types
// share one; nothing is written anywhere else. What is no type is in quarantine.
func TestHostileTypesStayInTheLake(t *testing.T) {
	s := embeddedSite(t, start.Time().Add(100*time.Hour))
	root := strings.TrimPrefix(s.lake.URL(), "file://")
	var records []record
	for i, name := range append(append([]string{}, hostileTypes...), noTypes...) {
		records = append(records, typed(i, name))
	}
	sum, err := s.ingest(feed(records, -1, nil), ingest.Options{})
	if err != nil || int(sum.Written) != len(hostileTypes) || int(sum.Quarantined) != len(noTypes) {
		t.Fatalf("%+v, %v; want %d written and %d in quarantine", sum, err, len(hostileTypes), len(noTypes))
	}
	if _, err := s.drain(s.compactor(s.config()), group, compact.Limits{}); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{} // ID by type
	err = s.lake.Hours(context.Background(), func(o lake.Object) error {
		if o.Hour.Type == afterhours.QuarantineType {
			return nil
		}
		dir, _, _ := strings.Cut(o.Key, "/")
		if name, err := url.PathUnescape(strings.TrimPrefix(dir, "event_type=")); err != nil || name != o.Hour.Type {
			t.Errorf("the directory %q says %q, %v, of type %q", dir, name, err, o.Hour.Type)
		}
		b, err := s.lake.Base(context.Background(), o.Hour)
		if err != nil {
			return err
		}
		defer b.Close()
		return b.Rows(func(c afterhours.Copies) error { found[c.Type] += c.ID; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range hostileTypes {
		if found[name] != strconv.Itoa(i) {
			t.Errorf("type %q has the events %q, want %d", name, found[name], i)
		}
	}
	checkFiles(t, root, len(hostileTypes)+1)
	res := result{broken: map[string]kept{}}
	if err := res.addQuarantine(s.lake, afterhours.HourOf(afterhours.QuarantineType, start)); err != nil || len(res.broken) != len(noTypes) {
		t.Errorf("%d records are in quarantine, %v", len(res.broken), err)
	}
}

// checkFiles checks that below the root there are so many partitions, the lock, and
// nothing else, and beside it what the site has put there.
func checkFiles(t *testing.T, root string, partitions int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case partitionPath.MatchString(rel):
			partitions--
		case rel != ".tmp/lock":
			t.Errorf("%q lies in the lake", rel)
		}
		return err
	})
	if err != nil || partitions != 0 {
		t.Errorf("%d partitions more are wanted, %v", partitions, err)
	}
	beside, err := os.ReadDir(filepath.Dir(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range beside {
		if n := d.Name(); n != "lake" && n != "store" && n != "queue" {
			t.Errorf("%q lies beside the lake", n)
		}
	}
}

// An event of a clock that is decades ahead is in the lake within days, while its
// raw rows are there, and one of decades ago as well.
func TestOtherDecadesReachTheLake(t *testing.T) {
	s := embeddedSite(t, start.Time().Add(100*time.Hour))
	records := []record{typed(0, "now")}
	for i, years := range []int{-90, -20, 20, 90} {
		at := start.Time().AddDate(years, 0, 0).Format(time.RFC3339)
		r := typed(i+1, fmt.Sprint("years ", years))
		r.Bytes = []byte(strings.Replace(string(r.Bytes), start.String(), at, 1))
		records = append(records, r)
	}
	records = append(records, record{Record: ingest.Record{Bytes: []byte("broken"), Source: "in", Position: "x", Time: start.Time().AddDate(150, 0, 0)}})
	keep(t, s, records...)
	s.clock.pass(3 * 24 * time.Hour)

	// A daemon, unlike a drain, waits until hours are due.
	cfg := s.config()
	cfg.Policy, cfg.SweepEvery = compact.Defaults().Policy, 0
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan struct{}, len(records))
	cfg.Finished = func(o compact.Outcome) {
		if o.Err == nil {
			done <- struct{}{}
		}
		if len(done) == cap(done) {
			stop()
		}
	}
	if err := s.run(ctx, s.compactor(cfg)); err != nil {
		t.Error(err)
	}
	n := 0
	if err := s.lake.Hours(t.Context(), func(lake.Object) error { n++; return nil }); err != nil || n != len(records) {
		t.Errorf("%d hours of %d are in the lake, %v", n, len(records), err)
	}
}

// A mark whose time lies decades ahead, since a broker's clock did, is served like
// any other.
func TestMarksOfOtherDecadesAreServed(t *testing.T) {
	s := embeddedSite(t, start.Time().Add(100*time.Hour))
	r := purchase("a", 0)
	keep(t, s, r)
	if _, err := s.drain(s.compactor(s.config()), "others", compact.Limits{}); err != nil {
		t.Fatal(err)
	}
	b := purchase("b", 0)
	lost := marks(func(context.Context, ...afterhours.Hour) error { return nil })
	if _, err := ingest.Run(t.Context(), feed([]record{b}, -1, nil), mapping, ingest.New(s.store, lost, ingest.Options{Now: s.clock.Now, Log: quiet})); err != nil {
		t.Fatal(err)
	}
	now := s.clock.Now()
	s.clock.set(now.AddDate(80, 0, 0))
	if err := s.queue.Mark(t.Context(), b.event.Hour()); err != nil {
		t.Fatal(err)
	}
	s.clock.set(now.Add(24 * time.Hour))
	cfg := s.config()
	cfg.SweepEvery = 0
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cfg.Finished = func(compact.Outcome) { stop() }
	if err := s.run(ctx, s.compactor(cfg)); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, s, b.event.Hour(), "a b")
}
