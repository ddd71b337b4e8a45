package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/afterhours/afterhours/internal/testenv/keeper"
)

// daemon is a command of ours that is started again whenever it ends, as any
// supervisor does. Its methods may be called by several goroutines.
type daemon struct {
	name string // such as ingest-1
	kind string
	dir  string
	argv []string
	env  func() []string // of the next life
	says string          // what is in its log once it works

	events func(msg string, args ...any) // what happens is told here
	wrong  func(format string, args ...any)

	mu     sync.Mutex
	proc   *keeper.Process // nil: it is down
	killed bool            // by us; it has not ended yet
	born   int64           // length of its log when this life began
	lives  int
	ends   int // that were not our doing

	stop    context.CancelFunc
	stopped chan struct{}
}

// tempDir is where a compactor has its temporary files: a small file system of its
// own, which nobody else sees.
func (d *daemon) tempDir() string { return filepath.Join(d.dir, "tmp") }

// start begins to keep the daemon running, until halt.
func (d *daemon) start() {
	ctx, cancel := context.WithCancel(context.Background())
	d.stop, d.stopped = cancel, make(chan struct{})
	go func() {
		defer close(d.stopped)
		d.supervise(ctx)
	}()
}

// reviveAfter is what a supervisor waits before it starts a command again.
const reviveAfter = time.Second

func (d *daemon) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		written := d.written()
		p, err := keeper.Start(d.dir, d.argv, d.env()...)
		if err != nil {
			d.wrong("start %s: %v", d.name, err)
			return
		}
		d.mu.Lock()
		d.proc, d.killed, d.born = p, false, int64(len(written))
		d.lives++
		d.mu.Unlock()
		for !p.Ended(200*time.Millisecond) && ctx.Err() == nil {
		}
		d.bury(ctx, p)
		pause(ctx, reviveAfter)
	}
}

// written returns the daemon's log, of all its lives. Before the first there is none.
func (d *daemon) written() []byte {
	b, _ := os.ReadFile(filepath.Join(d.dir, keeper.LogFile))
	return b
}

// works returns nil if the daemon has begun to work in this life.
func (d *daemon) works() error {
	if _, err := d.pid(); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.written(); int64(len(b)) < d.born || !bytes.Contains(b[d.born:], []byte(d.says)) {
		return fmt.Errorf("%s has not said %q since it started", d.name, d.says)
	}
	return nil
}

// bury notes how a life ended, unless that is halt's to do.
func (d *daemon) bury(ctx context.Context, p *keeper.Process) {
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proc = nil
	code, err := p.Leave()
	if !d.killed {
		d.ends++
		d.events("ended by itself", "who", d.name, "code", code, "err", err, "log", p.Tail())
	}
}

// errDown is returned for what cannot be done to a daemon that is down.
var errDown = errors.New("it is down")

// kill kills the daemon as kill -9 does.
func (d *daemon) kill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc == nil || d.proc.Ended(time.Millisecond) {
		return errDown
	}
	d.killed = true
	return d.proc.Signal(syscall.SIGKILL)
}

// signal sends a signal to the daemon.
func (d *daemon) signal(s syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc == nil || d.proc.Ended(time.Millisecond) {
		return errDown
	}
	return d.proc.Signal(s)
}

// pid returns the process ID, which can be used as long as nothing is done to the
// daemon.
func (d *daemon) pid() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc == nil || d.proc.Ended(time.Millisecond) {
		return 0, errDown
	}
	return d.proc.PID(), nil
}

// halt asks the daemon to end, and returns its exit code. What does not end within
// the limit is killed.
func (d *daemon) halt(limit time.Duration) (code int, err error) {
	d.stop()
	<-d.stopped
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.proc
	d.proc = nil
	if p == nil {
		return 0, nil
	}
	if !p.Ended(time.Millisecond) {
		err = p.Signal(syscall.SIGTERM)
	}
	if err == nil && !p.Ended(limit) {
		err = fmt.Errorf("%s does not end %v after SIGTERM\n%s", d.name, limit, p.Tail())
	}
	code, leaving := p.Leave()
	return code, errors.Join(err, leaving)
}

var crashed = regexp.MustCompile(`(?m)^(panic: |fatal error: |unexpected fault address |SIGSEGV)`)

// inspect reads all that the daemon printed in its lives: it must never crash.
// Beside that it counts the lines that contain a text.
func (d *daemon) inspect(text string) (lines int) {
	b := d.written()
	if at := crashed.FindIndex(b); at != nil {
		d.wrong("%s crashed: %s", d.name, b[at[0]:min(len(b), at[0]+2000)])
	}
	return bytes.Count(b, []byte(text))
}

// command runs one of our commands to its end and returns what it printed. One
// that ctx ends is killed.
func command(ctx context.Context, dir string, argv []string, env ...string) (out string, code int, err error) {
	dir, err = os.MkdirTemp(dir, "command-")
	if err != nil {
		return "", 0, err
	}
	p, err := keeper.Start(dir, argv, env...)
	if err != nil {
		return "", 0, err
	}
	for !p.Ended(50*time.Millisecond) && ctx.Err() == nil {
	}
	b, err := os.ReadFile(filepath.Join(dir, keeper.LogFile))
	if crashed.Match(b) {
		err = errors.Join(err, fmt.Errorf("%s crashed: %s", argv[0], b))
	}
	return string(b), p.Stop(), err
}
