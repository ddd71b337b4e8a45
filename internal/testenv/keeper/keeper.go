// Package keeper runs programs that end with the process that started them,
// however that one ends, and that faults can be done to meanwhile: killed, paused
// and started again in the same directory.
//
// A program runs under a keeper, a shell of a few lines that waits for the end of
// a pipe held by this process. However this process ends, also by kill -9, the
// kernel closes the pipe; the keeper then kills the program and removes its
// directory. Nothing has to be called for it.
package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// LogFile is the file of a program's directory that has what it printed, in all
// its lives.
const LogFile = "server.log"

// script runs a program ("$@") in directory $1 until its own input ends. The
// program, with its children if it has any, inherits descriptor 3 and the keeper
// drops it, having told the program's process ID there, so that the other end of it
// tells when the program has ended by itself. Until the keeper waits for it, the ID
// is nobody else's. Interrupts meant for the tests must not end the keeper before
// it has cleaned up. The word "keep" on its input saves the directory. It ends as
// the program did.
const script = `
dir=$1; shift
"$@" >>"$dir/server.log" 2>&1 </dev/null &
server=$!
echo "$server" >&3
exec 3>&-
trap '' HUP INT TERM
read -r word
kill -9 "$server" 2>/dev/null; wait "$server"; code=$?
test "$word" = keep || rm -rf "$dir"
exit "$code"
`

// Process is a program with its keeper. Its methods may be called by several
// goroutines, but for Restart, which is called while no other is.
type Process struct {
	dir  string
	argv []string
	env  []string

	cmd  *exec.Cmd
	pid  int
	hold *os.File // the keeper's input: the program lives until it is closed
	life *os.File // at its end when the program has ended
	stop func() int

	reading sync.Mutex // of life: file locks are not fair, and who asks often would keep others waiting
}

// Start runs argv under a keeper, in a process group of its own, with dir as
// directory and env added to the environment. From now on dir is the keeper's to
// remove.
func Start(dir string, argv []string, env ...string) (*Process, error) {
	p := &Process{dir: dir, argv: argv, env: env}
	return p, p.start()
}

func (p *Process) start() error {
	input, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer input.Close()
	life, alive, err := os.Pipe()
	if err != nil {
		return errors.Join(err, hold.Close())
	}
	defer alive.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "keeper", p.dir}, p.argv...)...)
	cmd.Dir, cmd.Stdin, cmd.ExtraFiles = p.dir, input, []*os.File{alive}
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, hold.Close(), life.Close())
	}
	p.cmd, p.hold, p.life = cmd, hold, life
	p.stop = sync.OnceValue(p.finish)
	if p.pid, err = readPID(life); err != nil {
		p.stop()
		return fmt.Errorf("start %s: %w", p.argv[0], err)
	}
	return nil
}

// readPID reads the first line, which the keeper writes.
func readPID(life *os.File) (int, error) {
	line, err := bufio.NewReaderSize(life, 16).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the keeper tells no process: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// finish ends the program and waits for the keeper. It returns the exit code.
func (p *Process) finish() int {
	p.hold.Close()
	_ = p.cmd.Wait() // an exit code that is not 0
	p.life.Close()
	return p.cmd.ProcessState.ExitCode()
}

// PID returns the program's process ID. It is nobody else's until Stop.
func (p *Process) PID() int { return p.pid }

// Signal sends the program a signal: SIGTERM to ask for its end, SIGSTOP to pause
// it, SIGCONT to have it go on. One that has ended by itself takes none.
func (p *Process) Signal(s syscall.Signal) error {
	if err := syscall.Kill(p.pid, s); err != nil {
		return fmt.Errorf("signal %v to %s: %w", s, p.argv[0], err)
	}
	return nil
}

// Kill kills the program, also a paused one. It can be started again.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !p.Ended(10 * time.Second) {
		return fmt.Errorf("%s survives SIGKILL", p.argv[0])
	}
	return nil
}

// Restart kills the program if it runs, and starts it anew as it was, in its
// directory as it is.
func (p *Process) Restart() error {
	if _, err := p.Leave(); err != nil {
		return err
	}
	return p.start()
}

// Leave is Stop, but for the directory, which stays and is the caller's to remove.
func (p *Process) Leave() (code int, err error) {
	if _, err := p.hold.WriteString("keep\n"); err != nil {
		return 0, fmt.Errorf("leave %s: %w", p.argv[0], err)
	}
	return p.stop(), nil
}

// Stop ends the program and waits for the keeper to have cleaned up. It returns
// the program's exit code, 128 and the signal for one that was killed. More calls
// return the same.
func (p *Process) Stop() int { return p.stop() }

// Await returns nil once answer does, and an error with the tail of the log
// when the program ends or ctx does. It starts no goroutine: tests that look for
// leaked ones would find it.
func (p *Process) Await(ctx context.Context, answer func() error) error {
	for {
		err := answer()
		if err == nil {
			return nil
		}
		if p.Ended(50 * time.Millisecond) {
			return fmt.Errorf("the server ended by itself\n%s", p.Tail())
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no answer (%w): %w\n%s", ctx.Err(), err, p.Tail())
		}
	}
}

// Ended waits at most d for the program's end.
func (p *Process) Ended(d time.Duration) bool {
	p.reading.Lock()
	defer p.reading.Unlock()
	if err := p.life.SetReadDeadline(time.Now().Add(d)); err != nil {
		return true
	}
	_, err := p.life.Read(make([]byte, 1))
	return err == io.EOF
}

// Tail returns the last 30 lines of the program's log.
func (p *Process) Tail() string {
	b, err := os.ReadFile(filepath.Join(p.dir, LogFile))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	lines = lines[max(0, len(lines)-30):]
	return "last lines of its log:\n\t" + strings.Join(lines, "\n\t")
}
