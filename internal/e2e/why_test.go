package e2e

import (
	"strings"
	"testing"
)

// TestLightRowsWait: on real servers, a late row that does not outweigh its partition
// waits for the longest delay, why-not-yet says so beforehand, and then it is
// published.
func TestLightRowsWait(t *testing.T) {
	t.Parallel()
	const hour = "t/2026-01-01T00"
	s := servers(t)
	event := func(id string) {
		s.ingest(t, sample{`{"event_id":"` + id + `","event_type":"t","event_time":"2026-01-01T00:30:00Z"}`}.file(t))
	}
	policy := []string{"--quiet", "200ms", "--age-share", "0", "--row-worth", "1B", "--max-delay", "20s"}
	why := func() string { return s.compactor(t, append([]string{"why-not-yet", hour}, policy...)...) }
	event("early")
	s.compactor(t, "once")
	event("late")
	d := start(t, "compactor", append(append([]string{"run", "--log-level", "debug"}, policy...), s.flags...)...)
	if out := why(); !strings.Contains(out, "the longest delay): 1 late row, ") {
		t.Errorf("of a late row: %s", out)
	}
	waitFor(t, func() bool { return strings.Contains(why(), "as generation 2 with 2 rows") })
	if out := d.stop(t); !strings.Contains(out, "1 hours rewritten, 0 unchanged; 1 rows added") {
		t.Errorf("the daemon says %s", out)
	}
	if log := d.stderr.String(); strings.Count(log, "not worth a rewrite yet") != 1 {
		t.Errorf("the hour was to be weighed once: %s", log)
	}
}
