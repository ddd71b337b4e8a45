package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/afterhours/afterhours/internal/testenv"
)

// daemon is a command that runs until it is stopped.
type daemon struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

func start(t *testing.T, name string, args ...string) *daemon {
	t.Helper()
	d := &daemon{Cmd: command(t, name, args...)}
	d.Stdout, d.Stderr = &d.stdout, &d.stderr
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// stop asks the command to end, which must end well, and returns what it said.
func (d *daemon) stop(t *testing.T) string {
	t.Helper()
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", d.Path, err, tail(d.stderr.String(), 20))
	}
	return d.stdout.String()
}

// TestDemo: the README's first command works, twice in the same place, and what
// it leaves is right.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 {
		out := run(t, "afterhours", "demo", "--data", dir, "--events", "2000")
		for _, want := range []string{"12 quarantined", "rows, second wave", "read_parquet('" + dir + "/lake"} {
			if !strings.Contains(out, want) {
				t.Errorf("the demo does not say %q:\n%s", want, out)
			}
		}
	}
	if out := run(t, "compactor", "verify", "--data", dir); !strings.Contains(out, "0 not merged yet; 0 hours behind, 0 broken") {
		t.Errorf("after the demo: %s", out)
	}
}

// TestDemoQueries: what the demo tells its user to paste into DuckDB works.
func TestDemoQueries(t *testing.T) {
	out := run(t, "afterhours", "demo", "--data", t.TempDir(), "--events", "2000")
	queries := regexp.MustCompile(`(?s)SELECT .*?;`).FindAllString(out, -1)
	if len(queries) != 2 {
		t.Fatalf("%d queries in:\n%s", len(queries), out)
	}
	for query, rows := range map[string]int{queries[0]: 18, queries[1]: 12} {
		cmd := exec.Command(testenv.Python(t), "-c", "import duckdb, sys; print(len(duckdb.sql(sys.argv[1]).fetchall()))", query)
		got, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(got)) != strconv.Itoa(rows) {
			t.Errorf("%s\n%v: %s rows, want %d", query, err, got, rows)
		}
	}
}

// TestServe: lines on standard input are in the lake while the service runs, and
// SIGTERM ends it well.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	d := &daemon{Cmd: command(t, "afterhours", "serve", "--data", dir, "--quiet", "50ms", "--age-share", "0", "--grace", "0s", "-")}
	d.Stdout, d.Stderr = &d.stdout, &d.stderr
	stdin, err := d.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	const line = `{"event_id":"a","event_type":"t","event_time":"2026-11-20T10:00:00Z"}` + "\n"
	if _, err := stdin.Write([]byte(line + line + "no event\n")); err != nil {
		t.Fatal(err)
	}
	object := filepath.Join(dir, "lake", "event_type=t", "dt=2026-11-20", "hour=10", "events.parquet")
	waitFor(t, func() bool { _, err := os.Stat(object); return err == nil })
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if out := d.stop(t); !strings.Contains(out, "3 events read: 2 written (2 late), 1 quarantined") {
		t.Errorf("the service says %s", out)
	}
	run(t, "compactor", "once", "--data", dir)
	if out := run(t, "compactor", "verify", "--data", dir); !strings.Contains(out, "3 rows seen = 2 rows published + 1 duplicates") {
		t.Errorf("the books: %s", out)
	}
}

// TestStream is the daemons on real servers: commits come from a topic in no
// particular order, the compactor rewrites as they come, both are stopped and
// started again in the middle, and the rows are the expected ones.
func TestStream(t *testing.T) {
	t.Parallel()
	s := servers(t)
	topic := testenv.Topic(t, "commit-events")
	events := commits(t, append(small, "tigerbeetle")...)
	produce(t, topic, events)
	ingest := append(append([]string{"kafka", "--brokers", testenv.Kafka(t), "--topics", topic, "--group", topic}, mapping...), s.flags...)
	compactor := append([]string{"run", "--quiet", "200ms", "--age-share", "0", "--max-delay", "2s", "--grace", "0s"}, s.flags...)

	for _, pause := range []time.Duration{4 * time.Second, 6 * time.Second} {
		in, out := start(t, "ingest", ingest...), start(t, "compactor", compactor...)
		time.Sleep(pause) // whatever was done by then: the rest is done after
		t.Log(in.stop(t))
		t.Log(out.stop(t))
	}
	if lag(t, topic) > 0 {
		in := start(t, "ingest", ingest...)
		waitFor(t, func() bool { return lag(t, topic) == 0 })
		in.stop(t)
	}
	t.Log(s.compactor(t, "once"))
	sameRows(t, s.lake(t), events)
	if out := s.compactor(t, "verify"); !strings.Contains(out, fmt.Sprint(len(events), " rows published")) || !strings.Contains(out, "0 not merged yet; 0 hours behind, 0 broken") {
		t.Errorf("the books: %s", out)
	}
}

// produce writes events to a fresh topic of four partitions.
func produce(t *testing.T, topic string, events sample) {
	t.Helper()
	ctx := context.Background()
	client := &kafka.Client{Addr: kafka.TCP(testenv.Kafka(t))}
	if _, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 4, ReplicationFactor: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	produceMore(t, topic, events)
}

// produceMore writes events to a topic, once it has leaders.
func produceMore(t *testing.T, topic string, events sample) {
	t.Helper()
	var messages []kafka.Message
	for _, line := range events {
		messages = append(messages, kafka.Message{Value: []byte(line)})
	}
	w := &kafka.Writer{Addr: kafka.TCP(testenv.Kafka(t)), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 10 * time.Millisecond}
	defer w.Close()
	waitFor(t, func() bool { return w.WriteMessages(t.Context(), messages[:1]...) == nil })
	if err := w.WriteMessages(t.Context(), messages[1:]...); err != nil {
		t.Fatal(err)
	}
}

// lag returns how many messages of the topic its group has not committed.
func lag(t *testing.T, topic string) (n int64) {
	t.Helper()
	ctx := context.Background()
	client := &kafka.Client{Addr: kafka.TCP(testenv.Kafka(t))}
	var ends []kafka.OffsetRequest
	for p := range 4 {
		ends = append(ends, kafka.LastOffsetOf(p))
	}
	end, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ends}})
	if err != nil {
		t.Fatal(err)
	}
	committed, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: topic, Topics: map[string][]int{topic: {0, 1, 2, 3}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range end.Topics[topic] {
		n += p.LastOffset
	}
	for _, p := range committed.Topics[topic] {
		n -= max(p.CommittedOffset, 0)
	}
	return n
}
