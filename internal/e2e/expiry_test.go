package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv"
)

// TestExpiredRows: the raw rows of whole hours have expired and their tombstones
// are not purged. A late event is merged all the same, a rebuild becomes a merge,
// and verify and a sweep go through; no row is lost.
func TestExpiredRows(t *testing.T) {
	t.Parallel()
	const ttl = 20 * time.Second
	dir := t.TempDir()
	s := setup{
		flags: []string{"--store", testenv.Keyspace(t) + "?ttl=" + ttl.String(), "--data", dir},
		lake:  func(*testing.T) string { return filepath.Join(dir, "lake") },
	}
	s.compactor(t, "status") // makes the tables
	lines := commits(t)
	head, rest := lines[:1000], lines[1000]
	begun := time.Now()
	s.ingest(t, head.file(t))
	wrote := time.Now()
	t.Log(s.compactor(t, "once"))
	if took := time.Since(begun); took > ttl {
		t.Fatalf("rows expired while they were compacted (%s): the test tests nothing", took)
	}
	time.Sleep(time.Until(wrote.Add(ttl + 2*time.Second)))

	s.ingest(t, append(head[:10:10], rest).file(t))
	if out := s.compactor(t, "once"); !strings.Contains(out, " 1 rows added, 10 duplicates dropped") {
		t.Errorf("a late event and copies of expired ones: %s", out)
	}
	t.Log(s.compactor(t, "backfill", "--all-types", "--from", "1990-01-01", "--to", "2030-01-01", "--rebuild"))
	out := s.compactor(t, "verify")
	if t.Log(out); !strings.Contains(out, "1011 rows seen = 1001 rows published + 10 duplicates") || !strings.Contains(out, " 0 hours behind, 0 broken") {
		t.Errorf("the books: %s", out)
	}
	t.Log(s.compactor(t, "sweep", "--all"))
}
