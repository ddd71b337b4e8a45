package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper stands for a server: it leaves its process ID in its directory.
const sleeper = `echo $$ >pid; exec sleep 1000`

func startSleeper(t testing.TB, dir string) *Process {
	t.Helper()
	p, err := Start(dir, []string{"/bin/sh", "-c", sleeper})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(t.Context(), func() error {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil && len(b) == 0 {
			err = errors.New("no pid yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pidIn(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// wantGone waits for the server and its directory to be gone.
func wantGone(t *testing.T, pid int, dir string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		_, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d or its directory %s is still there", pid, dir)
}

func TestStopEndsServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startSleeper(t, dir)
	pid := pidIn(t, dir)
	p.Stop()
	p.Stop()
	wantGone(t, pid, dir)
}

// TestMain lets the test binary stand for a test process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TESTENV_SLEEPER_DIR"); dir != "" {
		startAndHang(dir)
	}
	os.Exit(m.Run())
}

func startAndHang(dir string) {
	_, err := Start(dir, []string{"/bin/sh", "-c", sleeper})
	fmt.Println("started", err)
	time.Sleep(time.Hour)
}

// A server ends with the process that started it, also when that one is killed.
func TestServerEndsWithKilledProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TESTENV_SLEEPER_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "started <nil>\n" {
		t.Fatalf("helper: %q", line)
	}
	for {
		if b, _ := os.ReadFile(filepath.Join(dir, "pid")); len(b) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	pid := pidIn(t, dir)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the server does not run: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	wantGone(t, pid, dir)
}

// A server that ends by itself is noticed at once, and its last words are told.
func TestAwaitTellsLastWords(t *testing.T) {
	dir := t.TempDir()
	p, err := Start(dir, []string{"/bin/sh", "-c", "seq 1 100; echo no such port; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	begin := time.Now()
	err = p.Await(t.Context(), func() error { return errors.New("refused") })
	if err == nil || !strings.Contains(err.Error(), "ended by itself") || !strings.Contains(err.Error(), "no such port") {
		t.Errorf("err = %v", err)
	}
	if lines := strings.Count(fmt.Sprint(err), "\n\t"); lines != 30 {
		t.Errorf("%d lines of log, want 30", lines)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestAwaitGivesUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startSleeper(t, dir)
	defer p.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	refused := errors.New("refused")
	err := p.Await(ctx, func() error { return refused })
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, refused) {
		t.Errorf("err = %v", err)
	}
}

// A program that was killed starts again in its directory as it is: with its
// files, its log, and the environment it was given.
func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := Start(dir, []string{"/bin/sh", "-c", `echo "$WORD" | tee -a lives; exec sleep 1000`}, "WORD=life")
	if err != nil {
		t.Fatal(err)
	}
	lives := func(want string) func() error {
		return func() error {
			if b, err := os.ReadFile(filepath.Join(dir, "lives")); err != nil || string(b) != want {
				return fmt.Errorf("%q, %v", b, err)
			}
			return nil
		}
	}
	if err := p.Await(t.Context(), lives("life\n")); err != nil {
		t.Fatal(err)
	}
	first := p.PID()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for n := range 2 { // it is down, and then it runs
		if err := p.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := p.Await(t.Context(), lives(strings.Repeat("life\n", n+2))); err != nil {
			t.Fatal(err)
		}
	}
	if p.PID() == first || !strings.Contains(p.Tail(), "life\n\tlife\n\tlife") {
		t.Errorf("process %d as before, or the log is %s", p.PID(), p.Tail())
	}
	if code := p.Stop(); code != 137 {
		t.Errorf("code %d, want that of SIGKILL", code)
	}
	wantGone(t, p.PID(), dir)
}

// A program that ends by itself is seen to, its exit code is told, and whoever
// leaves it keeps its directory.
func TestLeave(t *testing.T) {
	dir := t.TempDir()
	p, err := Start(dir, []string{"/bin/sh", "-c", "echo said; exit 5"})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Ended(10 * time.Second) {
		t.Fatal("it does not end")
	}
	if code, err := p.Leave(); code != 5 || err != nil {
		t.Errorf("code %d, %v, want 5", code, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, LogFile)); string(b) != "said\n" || err != nil {
		t.Errorf("log %q, %v", b, err)
	}
	if _, err := p.Leave(); err == nil {
		t.Error("left twice")
	}
}

// Somebody who asks all the time whether a program has ended keeps nobody else
// from asking.
func TestEndedIsFair(t *testing.T) {
	p := startSleeper(t, t.TempDir())
	defer p.Stop()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.Ended(20 * time.Millisecond)
			}
		}
	}()
	begin := time.Now()
	for range 20 {
		if p.Ended(time.Millisecond) {
			t.Fatal("it has ended")
		}
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("20 questions took %v", d)
	}
}
