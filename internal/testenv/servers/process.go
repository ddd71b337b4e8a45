package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// keeper runs a server ("$@") in directory $1 until its own input ends. The
// server inherits descriptor 3 and the keeper drops it, so that the other end
// of it tells when the server has ended by itself. Interrupts meant for the
// tests must not end the keeper before it has cleaned up.
const keeper = `
dir=$1; shift
"$@" >"$dir/server.log" 2>&1 </dev/null &
server=$!
exec 3>&-
trap '' HUP INT TERM
read -r _
kill -9 "$server" 2>/dev/null; wait "$server"
rm -rf "$dir"
`

// process is a server with its keeper.
type process struct {
	dir  string
	cmd  *exec.Cmd
	hold *os.File // the keeper's input: the server lives until it is closed
	life *os.File // at its end when the server has ended
}

// startProcess runs argv under a keeper, in a process group of its own, with
// dir as directory.
func startProcess(dir string, argv []string) (*process, error) {
	input, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	life, alive, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, hold.Close())
	}
	defer alive.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", keeper, "keeper", dir}, argv...)...)
	cmd.Dir = dir
	cmd.Stdin = input
	cmd.ExtraFiles = []*os.File{alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, hold.Close(), life.Close())
	}
	return &process{dir: dir, cmd: cmd, hold: hold, life: life}, nil
}

// await returns nil once answer does, and an error with the tail of the log
// when the server ends or ctx does. It starts no goroutine: tests that look for
// leaked ones would find it.
func (p *process) await(ctx context.Context, answer func() error) error {
	for {
		err := answer()
		if err == nil {
			return nil
		}
		if p.ended(50 * time.Millisecond) {
			return fmt.Errorf("the server ended by itself\n%s", p.tail())
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no answer (%w): %w\n%s", ctx.Err(), err, p.tail())
		}
	}
}

// ended waits at most d for the server's end.
func (p *process) ended(d time.Duration) bool {
	if err := p.life.SetReadDeadline(time.Now().Add(d)); err != nil {
		return true
	}
	_, err := p.life.Read(make([]byte, 1))
	return err == io.EOF
}

// tail returns the last 30 lines of the server's log.
func (p *process) tail() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	lines = lines[max(0, len(lines)-30):]
	return "last lines of its log:\n\t" + strings.Join(lines, "\n\t")
}

// stop ends the server and waits for the keeper to have cleaned up. More calls
// do nothing.
func (p *process) stop() {
	if p.hold.Close() == nil {
		p.cmd.Wait()
		p.life.Close()
	}
}

// portTaken recognises the words of the JVM and of Go for a port in use.
func portTaken(err error) bool {
	s := err.Error()
	return strings.Contains(s, "Address already in use") || strings.Contains(s, "address already in use") ||
		strings.Contains(s, "is in use by another process")
}

// freePorts returns n free ports below the range that systems give to outgoing
// connections, where a busy test run would soon take them again.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := 15000 + rand.IntN(17000)
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		defer l.Close() // after the loop, so that no port comes twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free port between 15000 and 32000 on 127.0.0.1")
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
