package pebble

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// crashDir names the directory in which a child process marks until killed.
const crashDir = "AFTERHOURS_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(markUntilKilled(dir))
	}
	os.Exit(m.Run())
}

// markUntilKilled marks hours again and again, and says before and after each
// call which hour. Every other child serves what it marks, and says so before it
// calls Done.
func markUntilKilled(dir string) int {
	q, err := Open(dir, Options{})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	var out sync.Mutex
	say := func(what ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(what...)
	}
	if rand.IntN(2) == 0 {
		go serveUntilKilled(q, say)
	}
	var wg sync.WaitGroup
	for i := range int64(4) {
		wg.Go(func() {
			for {
				// No hour is marked by two at once: what is said of it is in order.
				h := afterhours.HourOf("purchase", afterhours.Micros(i+4*rand.Int64N(10))*3_600e6)
				say("marks", h)
				if err := q.Mark(context.Background(), h); err != nil {
					say("error", err)
					return
				}
				say("marked", h)
			}
		})
	}
	wg.Wait()
	return 1
}

// serveUntilKilled says of each mark its offset, when it is handed out. Every
// third mark it defers, and says nothing: the hour is owed as before.
func serveUntilKilled(q *Queue, say func(...any)) {
	c, err := q.Consume(context.Background(), "g", dirty.Options{})
	for err == nil {
		var p dirty.Polled
		p, err = c.Poll(context.Background())
		for _, m := range p.Marks {
			if rand.IntN(3) == 0 {
				err = errors.Join(err, c.Defer(context.Background(), m))
				continue
			}
			say("served", m.Hour, m.Offset)
			c.Done(m)
		}
		if rand.IntN(10) == 0 { // or no floor would ever be written within the life of a child
			err = errors.Join(err, c.(*Consumer).commit(context.Background()))
		}
	}
	say("error", err)
}

// debts is what the parent of the killed processes knows.
type debts struct {
	owed map[afterhours.Hour]bool // marked, and since then not handed out
	last int64                    // the highest offset that was handed out
}

// TestKilled kills a marking process, again and again, in one directory: every
// hour that it said was marked, and not that it was served after, must be handed
// to the next consumer, and no offset is used twice.
func TestKilled(t *testing.T) {
	dir, d := t.TempDir(), debts{map[afterhours.Hour]bool{}, -1}
	for range 8 {
		d.markAndKill(t, dir)
		d.collect(t, dir)
	}
	t.Logf("%d marks", d.last+1)
}

// markAndKill runs the child until it has said a random number of lines, kills
// it, and enters all that it said.
func (d *debts) markAndKill(t *testing.T, dir string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	kill, begun := 100+rand.IntN(1_000), map[afterhours.Hour]bool{}
	lines := bufio.NewScanner(out)
	for said := 1; lines.Scan(); said++ {
		d.enter(t, lines.Text(), begun)
		if said == kill {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var killed *exec.ExitError
	if err := child.Wait(); !errors.As(err, &killed) || killed.Exited() {
		t.Fatalf("child ended with %v, want it killed", err)
	}
}

// enter reads one line. A mark that was under way when its hour was served may
// be the one that was served, so only what began later is owed; begun has the
// hours with such a mark under way.
func (d *debts) enter(t *testing.T, line string, begun map[afterhours.Hour]bool) {
	t.Helper()
	var what, text string
	var offset int64
	_, err := fmt.Sscan(line+" -1", &what, &text, &offset) // only what was served has an offset
	h, errHour := afterhours.ParseHour(text)
	if err := errors.Join(err, errHour); err != nil {
		t.Fatalf("child said %q: %v", line, err)
	}
	switch what {
	case "marks":
		begun[h] = true
	case "marked":
		if begun[h] {
			d.owed[h] = true
		}
	case "served":
		begun[h] = false
		delete(d.owed, h)
		d.last = max(d.last, offset)
	default:
		t.Fatalf("child said %q", line)
	}
}

// collect drains as the next process would, and serves all.
func (d *debts) collect(t *testing.T, dir string) {
	t.Helper()
	q := open(t, dir)
	if q.next <= d.last {
		t.Errorf("the next offset is %d, but %d was handed out", q.next, d.last)
	}
	c, err := q.Consume(t.Context(), "g", dirty.Options{Drain: true})
	if err != nil {
		t.Fatal(err)
	}
	got := map[afterhours.Hour]bool{}
	for {
		p, err := c.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.Marks {
			got[m.Hour] = true
			d.last = max(d.last, m.Offset)
			c.Done(m)
		}
	}
	for h := range d.owed {
		if !got[h] {
			t.Errorf("hour %s was marked and is owed, but not handed out", h)
		}
	}
	clear(d.owed)
	if err := errors.Join(c.Close(), q.Close()); err != nil {
		t.Fatal(err)
	}
}
