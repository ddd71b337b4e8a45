package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv"
)

// repairs are three hours whose raw rows expire, on a real server: of one the object
// vanishes, and a copy was kept; of one it vanishes for good; for one somebody puts
// an older object back.
type repairs struct {
	setup
	dir string
}

const (
	restored  = "t/2026-01-01T00"
	discarded = "t/2026-01-01T01"
	wentBack  = "t/2026-01-01T02"
)

// event sends the n-th event of each hour.
func (r repairs) events(t *testing.T, n int) {
	t.Helper()
	var lines sample
	for _, h := range []string{restored, discarded, wentBack} {
		lines = append(lines, fmt.Sprintf(`{"event_id":"e%d","event_type":"t","event_time":"%s:30:00Z"}`, n, h[2:]))
	}
	r.ingest(t, lines.file(t))
}

func (r repairs) object(hour string) string {
	return filepath.Join(r.dir, "lake", "event_type=t", "dt="+hour[2:12], "hour="+hour[13:], "events.parquet")
}

// save copies an hour's object.
func (r repairs) save(t *testing.T, hour string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.parquet")
	replace(t, path, r.object(hour))
	return path
}

// replace makes a file a copy of another, as one step.
func replace(t *testing.T, path, by string) {
	t.Helper()
	b, err := os.ReadFile(by)
	if err == nil {
		err = errors.Join(os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRepairsAfterExpiry: what the way out is when raw rows cannot help any more. An
// hour whose object vanished stops, and an event that comes late does not become all
// of it. Restored from a copy it has all events again, the late one too; without a
// copy, only when told to, it has what is left. An older object that somebody put
// back is kept and added to, and that is said.
func TestRepairsAfterExpiry(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	dir := t.TempDir()
	r := repairs{setup{flags: []string{"--store", testenv.Keyspace(t) + "?ttl=" + ttl.String(), "--data", dir}}, dir}
	r.compactor(t, "status") // makes the tables
	begun := time.Now()
	r.events(t, 0)
	r.compactor(t, "once")
	older := r.save(t, wentBack)
	r.events(t, 1)
	written := time.Now()
	r.compactor(t, "once")
	newest := r.save(t, restored)
	if took := time.Since(begun); took > ttl {
		t.Fatalf("rows expired while they were compacted (%s): the test tests nothing", took)
	}
	time.Sleep(time.Until(written.Add(ttl + 2*time.Second)))

	if err := errors.Join(os.Remove(r.object(restored)), os.Remove(r.object(discarded))); err != nil {
		t.Fatal(err)
	}
	replace(t, r.object(wentBack), older)
	r.events(t, 2)
	code, said := exit(t, "compactor", append([]string{"once"}, r.flags...)...)
	if code != 1 || strings.Count(said, "hour is stuck until somebody acts") != 2 || !strings.Contains(said, "somebody has put an older partition back") {
		t.Errorf("exit code %d: %s", code, said)
	}
	status := r.compactor(t, "status")
	for _, h := range []string{restored, discarded} {
		if _, err := os.Stat(r.object(h)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", h, err)
		}
		if !strings.Contains(status, "compactor restore "+h) {
			t.Errorf("the status has no way out for %s: %s", h, status)
		}
	}
	r.compactor(t, "restore", restored, "--from", newest)
	r.compactor(t, "rebuild", discarded, "--discard-base")
	r.compactor(t, "once")
	if took := time.Since(written); took > 2*ttl {
		t.Fatalf("the late events expired before they were compacted (%s): the test tests nothing", took)
	}
	out := r.compactor(t, "verify")
	// Three, one and two rows. The event that only the newer object had is gone.
	if !strings.Contains(out, " 6 rows published") || !strings.Contains(out, "0 not merged yet; 0 hours behind, 0 broken") {
		t.Errorf("the books: %s", out)
	}
	if status := r.compactor(t, "status"); strings.Contains(status, "compactor restore") {
		t.Errorf("something is stuck: %s", status)
	}
}
