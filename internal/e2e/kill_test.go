package e2e

import (
	"bufio"
	"flag"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// serverKills is how often each command is killed on real servers as well, where
// a dead member keeps its Kafka partitions for ten seconds: `make kill`.
var serverKills = flag.Int("kills", 0, "kills of ingest and of the compactor each, on servers")

// TestKill9 kills ingest and the compactor at random moments, ten times each on
// the embedded backends, and then lets them run: the rows are those of a run that
// nobody disturbed.
func TestKill9(t *testing.T) {
	sets := allBackends()[:1]
	if *serverKills > 0 {
		sets = allBackends()[:2]
	}
	for _, b := range sets {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			kills := 10
			if b.name != "embedded" {
				kills = *serverKills
			}
			s, events := b.open(t), commits(t, small...)
			path := events.file(t)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			k := killer{rng: rand.New(rand.NewPCG(seed, 0)), usual: map[string]time.Duration{}}
			ingest := append(append(append([]string{"file"}, mapping...), s.flags...), path)
			once := append([]string{"once"}, s.flags...)
			again := append([]string{"backfill", "--all-types", "--from", "1990-01-01", "--to", "2030-01-01", "--rebuild"}, s.flags...)
			for in, out := 0, 0; in < kills || out < kills; {
				if k.tries++; k.tries > 5*kills {
					t.Fatalf("only %d and %d of %d kills in %d tries", in, out, kills, k.tries)
				}
				if k.kill(t, "", "ingest", ingest...) {
					in++
				}
				// Killed while it works, not while it waits for its partitions. When
				// nothing is new any more, it is made to work.
				if k.kill(t, "msg=rewritten", "compactor", once...) || k.kill(t, "msg=rewritten", "compactor", again...) {
					out++
				}
			}
			s.ingest(t, path)
			t.Log(s.compactor(t, "once"))
			sameRows(t, s.lake(t), events)
			t.Log(s.compactor(t, "verify"))
		})
	}
}

// killer kills commands at random moments.
type killer struct {
	rng   *rand.Rand
	usual map[string]time.Duration // longer than this, a program with its subcommand is done
	tries int
}

// kill starts a command, waits until it logs a line with the given text, then for
// a random time, and kills it. It reports false if the command came to its end
// before.
func (k *killer) kill(t *testing.T, begun, name string, args ...string) bool {
	t.Helper()
	cmd := command(t, name, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	working, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		waitForLine(stderr, begun, working)
		ended <- cmd.Wait()
	}()
	what := name + " " + args[0]
	if k.usual[what] == 0 {
		k.usual[what] = 2 * time.Second
	}
	after := time.Duration(k.rng.Int64N(int64(k.usual[what])))
	select {
	case <-working:
	case err := <-ended:
		return mustBeGood(t, name, err)
	}
	select {
	case err := <-ended:
		k.usual[what] = max(after, time.Millisecond) // it was done before: kill earlier
		return mustBeGood(t, name, err)
	case <-time.After(after):
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	return true
}

// mustBeGood fails the test if a command that nobody killed failed.
func mustBeGood(t *testing.T, name string, err error) (killed bool) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s, before it was killed: %v", name, err)
	}
	return false
}

// waitForLine reads r to its end, and closes found at the first line that
// contains the text.
func waitForLine(r io.Reader, text string, found chan<- struct{}) {
	if text == "" {
		close(found)
		found = nil
	}
	for s := bufio.NewScanner(r); s.Scan(); {
		if found != nil && strings.Contains(s.Text(), text) {
			close(found)
			found = nil
		}
	}
}
