package cassandra

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/migrations"
)

// exec runs a statement that a test needs, at the consistency of transactions.
func exec(tb testing.TB, s *Store, stmt string, args ...any) {
	tb.Helper()
	if err := s.session.Query(stmt, args...).SerialConsistency(gocql.Serial).ExecContext(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// keyspaceOf returns the keyspace of a URL of testenv.
func keyspaceOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// recorded returns the recorded migrations as text.
func recorded(tb testing.TB, s *Store) string {
	tb.Helper()
	names := map[int]string{}
	type record struct {
		version int
		name    string
		at      time.Time
	}
	err := each(tb.Context(), s.session.Query("SELECT version, name, applied_at FROM migrations"), "test",
		func(r *record) []any { return []any{&r.version, &r.name, &r.at} },
		func(r record) error {
			if time.Since(r.at).Abs() > time.Hour {
				tb.Errorf("migration %d was applied at %s", r.version, r.at)
			}
			names[r.version] = r.name
			return nil
		})
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprint(names)
}

func allMigrations(tb testing.TB) (all []migrations.Migration, text string) {
	tb.Helper()
	all, err := migrations.All()
	if err != nil {
		tb.Fatal(err)
	}
	names := map[int]string{}
	for _, m := range all {
		names[m.Version] = m.Name
	}
	return all, fmt.Sprint(names)
}

// Processes that start at once on an empty keyspace all work in the end, and one
// of them applies each migration.
func TestProcessesMigrateAtOnce(t *testing.T) {
	url := testenv.Keyspace(t)
	all, want := allMigrations(t)
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	stores := make([]*Store, 4)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			s, err := Open(t.Context(), url, log)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { s.Close() })
			stores[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if got := recorded(t, stores[0]); got != want {
		t.Errorf("recorded: %s, want %s", got, want)
	}
	if n := strings.Count(out.String(), "applied migration"); n != len(all) {
		t.Errorf("%d migrations were applied, want %d:\n%s", n, len(all), &out)
	}
	for i, s := range stores {
		rows := testRows(uint32(i*10), 10)
		if err := s.Append(t.Context(), tenOClock, "lane", now(), rows); err != nil {
			t.Error(err)
		}
	}
	if n := len(readAll(t, stores[0], "lane")); n != 40 {
		t.Errorf("%d rows from four processes, want 40", n)
	}
}

// syncBuffer is a buffer that goroutines can share.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A migration that was applied and not recorded, because of a crash between the
// two, is applied once more and harms nothing.
func TestMigrationIsRepeatedAfterCrash(t *testing.T) {
	url := testenv.Keyspace(t)
	s := open(t, url)
	_, want := allMigrations(t)
	if err := s.Append(t.Context(), tenOClock, "lane", now(), testRows(0, 3)); err != nil {
		t.Fatal(err)
	}
	exec(t, s, "DELETE FROM migrations WHERE version = 2 IF EXISTS")
	exec(t, s, "DELETE FROM migrations WHERE version = 3 IF EXISTS")
	again := open(t, url)
	if got := recorded(t, again); got != want {
		t.Errorf("recorded: %s, want %s", got, want)
	}
	if n := len(readAll(t, again, "lane")); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}
}

// A build that is older than the keyspace refuses to start.
func TestNewerMigrationIsRefused(t *testing.T) {
	url := testenv.Keyspace(t)
	exec(t, open(t, url), "INSERT INTO migrations (version, name) VALUES (99, '0099_future.cql') IF NOT EXISTS")
	wantOpenError(t, url, "migration 99 (0099_future.cql)", "does not know")
}

// A process that died while it migrated locks nobody out for longer than its
// lease, and until then nobody else migrates.
func TestLeaseOfDeadProcessEnds(t *testing.T) {
	url := testenv.Keyspace(t)
	s := open(t, url)
	exec(t, s, "DELETE FROM migrations WHERE version = 3 IF EXISTS")
	exec(t, s, "INSERT INTO settings (name, value) VALUES ('migrating', 'the dead') IF NOT EXISTS USING TTL 2")

	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Open(short, url, quiet); err == nil || !strings.Contains(err.Error(), "the dead") {
		t.Errorf("while the lease lasts: %v", err)
	}
	open(t, url)
	_, want := allMigrations(t)
	if got := recorded(t, s); got != want {
		t.Errorf("recorded: %s, want %s", got, want)
	}
	var holder string
	if err := s.session.Query("SELECT value FROM settings WHERE name = 'migrating'").ScanContext(t.Context(), &holder); err != gocql.ErrNotFound {
		t.Errorf("the lease was not given back: %q, %v", holder, err)
	}
}

// A process that lost its lease applies nothing more.
func TestLostLeaseStopsMigration(t *testing.T) {
	url := testenv.Keyspace(t)
	s := open(t, url)
	m := &migrator{session: s.session, keyspace: keyspaceOf(url), owner: "me", log: quiet}
	m.all, _ = allMigrations(t)
	if err := m.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.lock(t.Context()); err != nil {
		t.Errorf("taking it again, as after a time-out: %v", err)
	}
	wantLeaseTTL(t, s)
	if err := m.renew(t.Context()); err != nil {
		t.Error(err)
	}
	wantLeaseTTL(t, s)
	exec(t, s, "UPDATE settings SET value = 'another' WHERE name = 'migrating' IF EXISTS")
	exec(t, s, "DELETE FROM migrations WHERE version = 3 IF EXISTS")
	if err := m.applyPending(t.Context()); err == nil || !strings.Contains(err.Error(), "another process took it") {
		t.Errorf("without the lease: %v", err)
	}
	if err := m.unlock(t.Context()); err != nil {
		t.Error(err)
	}
	var holder string
	if err := s.session.Query("SELECT value FROM settings WHERE name = 'migrating'").ScanContext(t.Context(), &holder); err != nil || holder != "another" {
		t.Errorf("the other's lease: %q, %v", holder, err)
	}
}

// wantLeaseTTL checks that the lease ends by itself, but not before a statement
// and the servers' agreement on it have timed out.
func wantLeaseTTL(t *testing.T, s *Store) {
	t.Helper()
	var ttl int
	err := s.session.Query("SELECT TTL(value) FROM settings WHERE name = 'migrating'").ScanContext(t.Context(), &ttl)
	left := time.Duration(ttl) * time.Second
	if err != nil || left <= adminTimeout+agreementTimeout || left > leaseTTL {
		t.Errorf("the lease lasts %s, %v", left, err)
	}
}

// Table identifiers follow from keyspace and table: all servers make up the same,
// and no two keyspaces of a cluster share one.
func TestTableIDs(t *testing.T) {
	url := testenv.Keyspace(t)
	s := open(t, url)
	all, _ := allMigrations(t)
	seen := map[string]string{}
	for _, m := range all {
		for _, stmt := range m.Statements {
			name := createTable.FindStringSubmatch(stmt)[1]
			var id string
			err := s.session.Query("SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?", keyspaceOf(url), name).
				ScanContext(t.Context(), &id)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(withTableID(keyspaceOf(url), stmt), "id = "+id) {
				t.Errorf("table %s has the identifier %s", name, id)
			}
			for _, keyspace := range []string{"a", "b"} {
				text := withTableID(keyspace, stmt)
				if other := seen[text]; other != "" {
					t.Errorf("%s.%s and %s share an identifier", keyspace, name, other)
				}
				seen[text] = keyspace + "." + name
			}
		}
	}
}

// Tables have the options that expiry and size depend on.
func TestTableOptions(t *testing.T) {
	url := testenv.Keyspace(t)
	s := open(t, url)
	for table, want := range map[string]string{
		"events":     "TimeWindowCompactionStrategy DAYS 1 LZ4Compressor 64 86400 0 NONE BLOCKING",
		"segments":   "TimeWindowCompactionStrategy DAYS 1 LZ4Compressor 16 86400 0 ALL BLOCKING",
		"noted":      "TimeWindowCompactionStrategy DAYS 1 LZ4Compressor 16 86400 0 ALL BLOCKING",
		"feed":       "TimeWindowCompactionStrategy DAYS 1 LZ4Compressor 16 86400 0 ALL BLOCKING",
		"requests":   "SizeTieredCompactionStrategy   LZ4Compressor 16 86400 0 ALL BLOCKING",
		"stuck":      "SizeTieredCompactionStrategy   LZ4Compressor 16 86400 0 ALL BLOCKING",
		"partitions": "LeveledCompactionStrategy   LZ4Compressor 16 864000 0 ALL BLOCKING",
	} {
		var compaction, compression, caching map[string]string
		var grace, ttl int
		var comment, repair string
		err := s.session.Query("SELECT compaction, compression, gc_grace_seconds, default_time_to_live, caching, read_repair, comment "+
			"FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?", keyspaceOf(url), table).
			ScanContext(t.Context(), &compaction, &compression, &grace, &ttl, &caching, &repair, &comment)
		if err != nil {
			t.Fatal(err)
		}
		last := func(class string) string { return class[strings.LastIndexByte(class, '.')+1:] }
		got := fmt.Sprint(last(compaction["class"]), " ", compaction["compaction_window_unit"], " ", compaction["compaction_window_size"], " ",
			last(compression["class"]), " ", compression["chunk_length_in_kb"], " ", grace, " ", ttl, " ", caching["keys"], " ", repair)
		if got != want || comment == "" {
			t.Errorf("%s: %s, want %s; comment %q", table, got, want, comment)
		}
	}
}
