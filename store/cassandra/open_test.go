package cassandra

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
)

// wantOpenError opens a URL that must be refused with a message that has every
// one of the words.
func wantOpenError(t *testing.T, url string, words ...string) {
	t.Helper()
	s, err := Open(t.Context(), url, quiet)
	if err == nil {
		s.Close()
		t.Errorf("%s was opened", url)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("open %s: %v\nwant a word on %q", url, err, w)
		}
	}
}

// A server that is not there is named by its address.
func TestOpenNamesDeadServers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	wantOpenError(t, "cassandra://"+dead+",127.0.0.1:1/k", dead, "127.0.0.1:1", "keyspace k", "connection refused")
}

// A keyspace that does not exist is not created: the operator is told how.
func TestOpenMissingKeyspace(t *testing.T) {
	addr := testenv.Cassandra(t)
	wantOpenError(t, "cassandra://"+addr+"/Nowhere", "does not exist",
		`CREATE KEYSPACE "Nowhere" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}`)
}

// A data centre that cannot keep anything is refused before it is recorded.
func TestOpenWrongDataCentre(t *testing.T) {
	url := testenv.Keyspace(t)
	wantOpenError(t, url+"?dc=dc9", `"dc9" holds no replicas`, "can be: dc1")
	open(t, url+"?dc=dc1")
}

// What the first process says holds for all: one that says otherwise is told
// both values and the way out, one that says nothing follows.
func TestSettingsHoldForAll(t *testing.T) {
	url := testenv.Keyspace(t)
	keyspace := keyspaceOf(url)
	first := open(t, url+"?ttl=48h")

	wantOpenError(t, url+"?ttl=24h", "ttl=24h0m0s", "use ttl=48h0m0s",
		"UPDATE "+keyspace+".settings SET value = '24h0m0s' WHERE name = 'raw_ttl' IF EXISTS")
	for _, same := range []string{"?ttl=2880m", ""} {
		if s := open(t, url+same); s.insertRow != first.insertRow || !strings.HasSuffix(s.insertRow, " 172800") {
			t.Errorf("%q writes by %s", same, s.insertRow)
		}
	}
	for _, stmt := range []string{first.insertLane, first.insertNote, first.insertPublication} {
		if !strings.HasSuffix(stmt, " 345600") {
			t.Errorf("does not live twice as long: %s", stmt)
		}
	}
	if ttl := first.TTL(); ttl != 48*time.Hour {
		t.Errorf("rows are said to live %s", ttl)
	}

	// The way out works, as it is printed.
	exec(t, first, "UPDATE "+keyspace+".settings SET value = '24h0m0s' WHERE name = 'raw_ttl' IF EXISTS")
	open(t, url+"?ttl=24h")
	wantOpenError(t, url+"?ttl=48h", "ttl=24h0m0s")

	exec(t, first, "UPDATE settings SET value = 'elsewhere' WHERE name = 'data_centre' IF EXISTS")
	wantOpenError(t, url+"?dc=dc1", "dc=dc1", "in use is elsewhere", "use dc=elsewhere", "repair", "SET value = 'dc1' WHERE name = 'data_centre'")
	exec(t, first, "UPDATE settings SET value = 'dc1' WHERE name = 'data_centre' IF EXISTS")

	exec(t, first, "UPDATE settings SET value = '2' WHERE name = 'format' IF EXISTS")
	wantOpenError(t, url, "format 2", "knows only 1")
}

// A lane tells how long its rows last, as they were written, also when the TTL of
// new rows has been changed since.
func TestLaneRemembersTTL(t *testing.T) {
	ctx, url := t.Context(), testenv.Keyspace(t)
	first, old, young := open(t, url+"?ttl=48h"), store.SharedLane(0), store.SharedLane(1)
	if err := first.PutLane(ctx, tenOClock, old); err != nil {
		t.Fatal(err)
	}
	exec(t, first, "UPDATE settings SET value = '24h' WHERE name = 'raw_ttl' IF EXISTS")
	second := open(t, url)
	if err := second.PutLane(ctx, tenOClock, young); err != nil {
		t.Fatal(err)
	}
	lanes, err := second.Lanes(ctx, tenOClock)
	if err != nil || len(lanes) != 2 {
		t.Fatalf("lanes: %v, %v", lanes, err)
	}
	for i, hours := range []int64{49, 25} {
		left := time.Duration(lanes[i].Until-now()) * time.Microsecond
		if want := time.Duration(hours) * time.Hour; left > want || left < want-time.Minute {
			t.Errorf("lane %s has rows for %s, want %s", lanes[i].Name, left, want)
		}
	}
}

// Without a word from anybody the default is recorded.
func TestSettingsDefaults(t *testing.T) {
	s := open(t, testenv.Keyspace(t))
	want := map[string]string{settingTTL: "720h0m0s", settingDC: "dc1", settingFormat: "1"}
	for name, value := range want {
		var got string
		if err := s.session.Query("SELECT value FROM settings WHERE name = ?", name).ScanContext(t.Context(), &got); err != nil || got != value {
			t.Errorf("setting %s: %q, %v; want %q", name, got, err, value)
		}
	}
}

// Which of several data centres keeps the events is not guessed, but adopted
// once somebody said.
func TestDataCentreIsNotGuessed(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	exec(t, s, "DELETE FROM settings WHERE name = 'data_centre' IF EXISTS")
	two := node{dc: "dc1", replication: map[string]string{"class": "NetworkTopologyStrategy", "dc1": "3", "dc2": "3"}}
	if _, err := settleDC(ctx, s.session, target{keyspace: "k"}, two); err == nil || !strings.Contains(err.Error(), "replicas in dc1, dc2") {
		t.Errorf("guessed: %v", err)
	}
	for _, said := range []string{"dc2", ""} {
		if dc, err := settleDC(ctx, s.session, target{keyspace: "k", dc: said}, two); err != nil || dc != "dc2" {
			t.Errorf("said %q: %q, %v", said, dc, err)
		}
	}
}

// A process whose URL names another data centre than the one that keeps the events
// does not start, although that one has replicas, too: a quorum there may miss what
// was acknowledged here. It is told which is in use, and how to move.
func TestSecondDataCentreIsRefused(t *testing.T) {
	ctx, url := t.Context(), testenv.Keyspace(t)
	s, k := open(t, url+"?dc=dc1"), keyspaceOf(url)
	two := node{dc: "dc2", protocol: 5, replication: map[string]string{"class": "NetworkTopologyStrategy", "dc1": "3", "dc2": "3"}}
	_, err := settle(ctx, s.session, target{keyspace: k, dc: "dc2"}, two)
	remedy := "UPDATE " + k + ".settings SET value = 'dc2' WHERE name = 'data_centre' IF EXISTS"
	for _, want := range []string{"dc=dc2", "in use is dc1", "use dc=dc1", "stop every process", "repair", remedy} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a second data centre: %v\nwant a word on %q", err, want)
		}
	}
	if a, err := settle(ctx, s.session, target{keyspace: k}, two); err != nil || a.dc != "dc1" {
		t.Errorf("a process beside the second data centre that names none works with %q, %v; want dc1", a.dc, err)
	}
	exec(t, s, remedy)
	if a, err := settle(ctx, s.session, target{keyspace: k, dc: "dc2"}, two); err != nil || a.dc != "dc2" {
		t.Errorf("after the move: %q, %v", a.dc, err)
	}
	if _, err := settle(ctx, s.session, target{keyspace: k, dc: "dc1"}, two); err == nil {
		t.Error("after the move the first data centre is still taken")
	}
}

// A server that goes away later makes calls fail in bounded time, with an error
// that a repetition may cure.
func TestClosedSessionIsNotRefused(t *testing.T) {
	s := open(t, testenv.Keyspace(t))
	s.Close()
	_, err := s.Lanes(t.Context(), tenOClock)
	if !errors.Is(err, gocql.ErrSessionClosed) || permanent(err) {
		t.Errorf("after closing: %v", err)
	}
}

// Write timestamps grow although the clock stands still or is set back.
func TestClockGrows(t *testing.T) {
	var c clock
	before := c.next()
	if now := time.Now().UnixMicro(); before > now || before < now-int64(time.Second/time.Microsecond) {
		t.Errorf("%d is not about now, %d", before, now)
	}
	ahead := time.Now().Add(time.Hour).UnixMicro()
	c.last.Store(ahead)
	for i := range int64(1000) {
		if got := c.next(); got != ahead+1+i {
			t.Fatalf("timestamp %d is %d, want %d", i, got, ahead+1+i)
		}
	}
}
