package e2e

import (
	"encoding/json"
	"hash/fnv"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	dirtykafka "github.com/afterhours/afterhours/dirty/kafka"
	dirtypebble "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/internal/testenv"
)

// lossy is a set of backends with a queue that has lost marks: whole is the queue
// that ingest marks, flags lead to another one.
type lossy struct {
	whole, flags []string
	open         func(t *testing.T, flags []string) dirty.Queue
}

func lossyEmbedded(t *testing.T) lossy {
	dir := t.TempDir()
	queue := func(name string) []string {
		return []string{"--data", dir, "--dirty", "pebble://" + filepath.Join(dir, name)}
	}
	return lossy{queue("whole"), queue("lossy"), func(t *testing.T, flags []string) dirty.Queue {
		q, err := dirtypebble.Open(strings.TrimPrefix(flags[3], "pebble://"), dirtypebble.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}}
}

func lossyServers(t *testing.T) lossy {
	keyspace, bucket := testenv.Keyspace(t), testenv.S3(t)
	queue := func(name string) []string {
		return []string{"--store", keyspace, "--lake", bucket, "--dirty", "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, name)}
	}
	return lossy{queue("whole"), queue("lossy"), func(t *testing.T, flags []string) dirty.Queue {
		q, err := dirtykafka.Open(t.Context(), flags[5], slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return q
	}}
}

// copyMarks gives the other queue about two thirds of the marks.
func (l lossy) copyMarks(t *testing.T) (kept, lost int) {
	t.Helper()
	from, to := l.open(t, l.whole), l.open(t, l.flags)
	defer from.Close()
	defer to.Close()
	marks, err := from.Pending(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	seen, hours := map[afterhours.Hour]bool{}, []afterhours.Hour(nil)
	for _, m := range marks {
		if seen[m.Hour] {
			continue
		}
		seen[m.Hour] = true
		hash := fnv.New32()
		hash.Write([]byte(m.Hour.String()))
		if hash.Sum32()%3 == 0 {
			lost++
			continue
		}
		hours = append(hours, m.Hour)
	}
	if err := to.Mark(t.Context(), hours...); err != nil {
		t.Fatal(err)
	}
	return len(hours), lost
}

// TestLostMarks: a third of the marks is lost. One sweep later the lake is right,
// and a second sweep finds nothing and needs no footer.
func TestLostMarks(t *testing.T) {
	for name, open := range map[string]func(*testing.T) lossy{"embedded": lossyEmbedded, "cassandra-kafka-s3": lossyServers} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			ingest, lossy := setup{flags: l.whole}, setup{flags: l.flags}
			path := commits(t, small...).file(t)
			t.Log(ingest.ingest(t, path))
			kept, lost := l.copyMarks(t)
			t.Logf("%d marks, %d lost", kept, lost)
			t.Log(lossy.compactor(t, "once"))
			if sum := lossy.sweep(t); lost == 0 || sum.Marked != int64(lost) {
				t.Errorf("swept %+v, want %d hours marked, all whose mark was lost", sum, lost)
			}
			t.Log(lossy.compactor(t, "once"))
			if sum := lossy.sweep(t); sum.Marked != 0 || sum.Footers != 0 || sum.Hours != int64(kept+lost) {
				t.Errorf("swept again %+v, want %d hours and nothing to do", sum, kept+lost)
			}
			out := lossy.compactor(t, "verify")
			if t.Log(out); !strings.Contains(out, " 0 not merged yet; 0 hours behind, 0 broken") {
				t.Errorf("after the sweep: %s", out)
			}
		})
	}
}

// sweep sweeps all lanes.
func (s setup) sweep(t *testing.T) (sum compact.Swept) {
	t.Helper()
	out := s.compactor(t, "sweep", "--all", "--json")
	t.Log(out)
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	return sum
}
