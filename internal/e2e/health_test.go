package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/internal/testenv"
	testservers "github.com/afterhours/afterhours/internal/testenv/servers"
)

// ownCassandra starts a server that only this test uses, and returns it with the
// URL of a keyspace on it.
func ownCassandra(t *testing.T) (*testservers.Server, string) {
	t.Helper()
	s, err := testservers.Start(t.Context(), testservers.Cassandra)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	waitFor(t, func() bool {
		c := gocql.NewCluster(s.Addr)
		c.Timeout, c.ConnectTimeout, c.DisableInitialHostLookup = 30*time.Second, 10*time.Second, true
		session, err := c.CreateSession()
		if err != nil {
			return false
		}
		defer session.Close()
		return session.Query("CREATE KEYSPACE IF NOT EXISTS k WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}").Exec() == nil
	})
	return s, "cassandra://" + s.Addr + "/k"
}

// watched is a daemon that tells its health.
type watched struct {
	*daemon
	addr string
}

func startWatched(t *testing.T, name string, args ...string) watched {
	t.Helper()
	addr := unused(t)
	return watched{start(t, name, append(args, "--health-addr", addr)...), addr}
}

// health is what a daemon tells.
type health struct {
	status   int
	Problems []struct{ Check, Reason, Remedy string }
	InHand   int `json:"in_hand"`
}

// ask returns the answer on a path; its status is 0 if there is none.
func (w watched) ask(t *testing.T, path string) (h health) {
	t.Helper()
	answer, err := http.Get("http://" + w.addr + path)
	if err != nil {
		return h
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&h); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	h.status = answer.StatusCode
	return h
}

// TestStoreThatHangs: when the only replica hangs, both daemons are not ready within
// seconds, say that it is the store and what to do, and are alive: they do not end,
// and a restart would not help. An event that came meanwhile is in the lake soon
// after the replica goes on, without anybody's help.
func TestStoreThatHangs(t *testing.T) {
	t.Parallel()
	server, keyspace := ownCassandra(t)
	dir, topic := t.TempDir(), testenv.Topic(t, "hanging")
	produce(t, topic, sample{`{"event_id":"a","event_type":"t","event_time":"2026-01-01T00:00:00Z"}`})
	flags := []string{"--store", keyspace, "--data", dir, "--dirty", "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, "hanging")}
	run(t, "compactor", append([]string{"status"}, flags...)...) // makes the tables
	in := startWatched(t, "ingest", append([]string{"kafka", "--brokers", testenv.Kafka(t), "--topics", topic, "--group", topic}, flags...)...)
	waitFor(t, func() bool { return lag(t, topic) == 0 })
	out := startWatched(t, "compactor", append([]string{"run", "--quiet", "50ms", "--age-share", "0", "--grace", "0s"}, flags...)...)
	waitFor(t, func() bool { return exists(dir, "2026-01-01", "00") })

	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	produceMore(t, topic, sample{`{"event_id":"b","event_type":"t","event_time":"2026-01-02T00:00:00Z"}`})
	for _, d := range []watched{in, out} {
		waitFor(t, func() bool { return d.ask(t, "/readyz").status == http.StatusServiceUnavailable })
		h := d.ask(t, "/readyz")
		if len(h.Problems) != 1 || h.Problems[0].Check != "store" || !strings.Contains(h.Problems[0].Remedy, "nodetool") {
			t.Errorf("%s: %+v, want the store alone, and a remedy", d.Path, h)
		}
		if h := d.ask(t, "/livez"); h.status != http.StatusOK {
			t.Errorf("%s: alive: %+v", d.Path, h)
		}
	}
	t.Logf("both are red after %s", time.Since(began).Round(time.Second))
	waitFor(t, func() bool { return in.ask(t, "/healthz").InHand == 1 })

	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	for _, d := range []watched{in, out} {
		waitFor(t, func() bool { return d.ask(t, "/readyz").status == http.StatusOK })
	}
	t.Logf("both are green after %s", time.Since(began).Round(time.Second))
	waitFor(t, func() bool { return exists(dir, "2026-01-02", "00") && lag(t, topic) == 0 })

	secondSignal(t, server, in, topic)
	out.stop(t)
	again := start(t, "ingest", append([]string{"kafka", "--brokers", testenv.Kafka(t), "--topics", topic, "--group", topic}, flags...)...)
	waitFor(t, func() bool { return lag(t, topic) == 0 })
	again.stop(t)
}

// secondSignal shows that the first SIGTERM waits for what is in hand, here for a
// store that hangs, and the second does not. What was in hand is delivered again.
func secondSignal(t *testing.T, server *testservers.Server, in watched, topic string) {
	t.Helper()
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	produceMore(t, topic, sample{`{"event_id":"c","event_type":"t","event_time":"2026-01-03T00:00:00Z"}`})
	waitFor(t, func() bool { return in.ask(t, "/healthz").InHand == 1 })
	ended := make(chan error, 1)
	go func() { ended <- in.Wait() }()
	if err := in.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended at the first signal: %v", err)
	case <-time.After(2 * time.Second):
	}
	if err := in.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("still there 5 seconds after the second signal")
	}
	if s, ok := in.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v, want SIGTERM", in.ProcessState)
	}
	if lag(t, topic) != 1 {
		t.Errorf("%d records are not acknowledged, want the one in hand", lag(t, topic))
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
}

// exists reports whether an hour's object is there.
func exists(dir, day, hour string) bool {
	_, err := os.Stat(filepath.Join(dir, "lake", "event_type=t", "dt="+day, "hour="+hour, "events.parquet"))
	return err == nil
}

// TestStopRedoesNothing: SIGTERM in the middle of the work ends ingest and the
// compactor with exit code 0, and what they had finished by then is not done again:
// no record is delivered twice, and no hour is published twice.
func TestStopRedoesNothing(t *testing.T) {
	t.Parallel()
	const hours, each = 200, 60
	var all sample
	for n := range hours * each {
		at := time.Date(2026, 1, 1, n%hours, 0, 0, 0, time.UTC)
		all = append(all, fmt.Sprintf(`{"event_id":"e%d","event_type":"t","event_time":%q}`, n, at.Format(time.RFC3339)))
	}
	topic := testenv.Topic(t, "stopped")
	produce(t, topic, all)
	s := setup{flags: []string{"--data", t.TempDir(), "--dirty", "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, "stopped") + "?partitions=2"}}
	s.stopIngest(t, topic, len(all))
	s.stopCompactor(t, hours)
	if out := s.compactor(t, "verify"); !strings.Contains(out, fmt.Sprintf("%d rows seen = %[1]d rows published", len(all))) {
		t.Errorf("the books: %s", out)
	}
}

// stopIngest ingests a topic with stops in the middle.
func (s setup) stopIngest(t *testing.T, topic string, records int) {
	t.Helper()
	args := append([]string{"kafka", "--brokers", testenv.Kafka(t), "--topics", topic, "--group", topic}, s.flags...)
	read, runs := 0, 0
	for ; lag(t, topic) > 0; runs++ {
		d := startWatched(t, "ingest", args...)
		waitFor(t, func() bool { return runs < 3 && d.ask(t, "/healthz").InHand > 0 || lag(t, topic) == 0 })
		out := d.stop(t)
		read += number(t, out, "%d events read")
		t.Logf("stop %d: %s", runs, out)
	}
	if read != records || runs < 2 {
		t.Errorf("%d records were delivered in %d runs, want %d, each once, and several runs", read, runs, records)
	}
}

// stopCompactor rewrites the hours with stops in the middle. Hours that are done
// before others whose marks lie below theirs are looked at again, and found
// unchanged: the committed offset cannot tell.
func (s setup) stopCompactor(t *testing.T, hours int) {
	t.Helper()
	rewritten := 0
	for stops := range 3 {
		d := &daemon{Cmd: command(t, "compactor", append([]string{"run", "--quiet", "0s", "--age-share", "0", "--grace", "0s"}, s.flags...)...)}
		d.Stdout = &d.stdout
		stderr, err := d.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		working := make(chan struct{})
		go waitForLine(stderr, "msg=rewritten", working)
		<-working
		out := d.stop(t)
		rewritten += number(t, out, "%d hours rewritten")
		t.Logf("stop %d: %s", stops, out)
	}
	if rewritten >= hours {
		t.Errorf("all %d hours were rewritten before the last stop: the test tests nothing", rewritten)
	}
	out := s.compactor(t, "once")
	if rewritten += number(t, out, "%d hours rewritten"); rewritten != hours {
		t.Errorf("%d hours rewritten, want %d, each once; at last: %s", rewritten, hours, out)
	}
}

// number reads a number that a text begins with.
func number(t *testing.T, text, format string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(text, format, &n); err != nil {
		t.Fatalf("no %q in %q: %v", format, text, err)
	}
	return n
}
