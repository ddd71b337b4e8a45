package pebble

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// crashDir names the directory in which a child process writes until killed.
const crashDir = "AFTERHOURS_TEST_CRASH_DIR"

// writeUntilKilled appends rows to several lanes, and says so after each call
// that returned nil: a segment and how many rows it has.
func writeUntilKilled(dir string) int {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			seg := afterhours.NewSegment()
			lane := store.OwnLane(seg)
			err := s.PutLane(context.Background(), testHour, lane)
			for n := 0; err == nil; {
				wrote := afterhours.MicrosOf(s.now())
				err = s.Append(context.Background(), testHour, lane.Name, wrote, numbered(seg, n+7)[n:])
				n += 7
				out.Lock()
				fmt.Println(seg, n, err)
				out.Unlock()
			}
		})
	}
	wg.Wait()
	return 1
}

// TestKilled kills a writing process, again and again, in one directory: all
// that it said was written must be there.
func TestKilled(t *testing.T) {
	dir, acked := t.TempDir(), map[string]int{}
	for range 6 {
		writeAndKill(t, dir, acked)
		s := open(t, dir, Options{})
		listed := map[string]bool{}
		for _, l := range lanes(t, s) {
			listed[l.Name] = true
		}
		for name, want := range acked {
			if got := countRows(t, s, store.Lane{Name: name}); got < want || !listed[name] {
				t.Errorf("lane %s, listed %v, has %d rows, but %d were acknowledged", name, listed[name], got, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d segments", len(acked))
}

// writeAndKill runs the child until it has said a random number of lines, kills
// it, and enters all that it said.
func writeAndKill(t *testing.T, dir string, acked map[string]int) {
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
	kill := 20 + rand.IntN(200)
	lines := bufio.NewScanner(out)
	for said := 1; lines.Scan(); said++ {
		var name, failed string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &name, &n, &failed); err != nil || failed != "<nil>" {
			t.Fatalf("child said %q: %v", lines.Text(), err)
		}
		acked[name] = n
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
