package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script returns a daemon that runs a shell script in a directory of its own, and
// says in the journal what happens.
func script(t *testing.T, text string) *daemon {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "daemon") // the keeper may remove it
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &daemon{
		name: "script", kind: "script", dir: dir, argv: []string{"/bin/sh", "-c", text},
		env:    func() []string { return []string{"NUMBER=7"} },
		says:   "life",
		events: func(msg string, args ...any) { t.Log(msg, args) },
		wrong:  func(f string, a ...any) { t.Errorf(f, a...) },
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for 30 s")
		}
	}
}

func (d *daemon) counts() (lives, ends int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lives, d.ends
}

// A daemon that is killed comes again, in the same directory; its ends are its own
// only if we did not kill it.
func TestDaemonRevives(t *testing.T) {
	d := script(t, `echo life $NUMBER; if [ -f end ]; then rm end; exit 3; fi; exec sleep 1000`)
	says := func(times int) func() bool {
		return func() bool { return d.inspect("life 7") == times }
	}
	d.start()
	waitFor(t, says(1))
	waitFor(t, func() bool { return d.kill() == nil })
	waitFor(t, says(2))
	if err := os.WriteFile(filepath.Join(d.dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return d.kill() == nil })
	waitFor(t, says(4))
	waitFor(t, func() bool { return d.works() == nil })
	if lives, ends := d.counts(); lives != 4 || ends != 1 {
		t.Errorf("%d lives, %d ends of its own, want 4 and 1", lives, ends)
	}
	if code, err := d.halt(10 * time.Second); code != 143 || err != nil {
		t.Errorf("code %d, %v, want SIGTERM's", code, err)
	}
	if d.kill() == nil || d.works() == nil {
		t.Error("a daemon that has ended was killed, or works")
	}
}

// A paused daemon does nothing until it may go on.
func TestDaemonPauses(t *testing.T) {
	d := script(t, `i=0; while :; do i=$((i+1)); echo tick; sleep 0.01; done`)
	d.start()
	defer d.halt(time.Second)
	ticks := func() int { return d.inspect("tick") }
	waitFor(t, func() bool { return ticks() > 2 })
	if err := d.signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var n int
	waitFor(t, func() bool { was := n; n = ticks(); time.Sleep(100 * time.Millisecond); return was == n })
	if err := d.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return ticks() > n })
}

// A daemon that does not end when it is asked to is an error, and is killed.
func TestDaemonDoesNotEnd(t *testing.T) {
	d := script(t, `trap '' TERM; echo ready; while :; do sleep 0.1; done`)
	d.start()
	waitFor(t, func() bool { return d.inspect("ready") == 1 })
	if code, err := d.halt(200 * time.Millisecond); code != 137 || err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("code %d, %v", code, err)
	}
}

// A crash is a violation, in whichever life it was.
func TestDaemonCrash(t *testing.T) {
	d := script(t, `echo "panic: oh dear"; exec sleep 1000`)
	var wrong []string
	d.wrong = func(f string, a ...any) { wrong = append(wrong, fmt.Sprintf(f, a...)) }
	d.start()
	defer d.halt(time.Second)
	waitFor(t, func() bool { d.inspect("x"); return len(wrong) > 0 })
	if !strings.Contains(wrong[0], "script crashed: panic: oh dear") {
		t.Errorf("wrong %q", wrong)
	}
}
