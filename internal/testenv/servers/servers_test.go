package servers

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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sleeper stands for a server: it leaves its process ID in its directory.
const sleeper = `echo $$ >pid; exec sleep 1000`

func startSleeper(t testing.TB, dir string) *process {
	t.Helper()
	p, err := startProcess(dir, []string{"/bin/sh", "-c", sleeper})
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), func() error {
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
	p.stop()
	p.stop()
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
	_, err := startProcess(dir, []string{"/bin/sh", "-c", sleeper})
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
	p, err := startProcess(dir, []string{"/bin/sh", "-c", "seq 1 100; echo no such port; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	begin := time.Now()
	err = p.await(t.Context(), func() error { return errors.New("refused") })
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
	defer p.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	refused := errors.New("refused")
	err := p.await(ctx, func() error { return refused })
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, refused) {
		t.Errorf("err = %v", err)
	}
}

// Processes that want the same thing fetch it once, and what failed half-way
// leaves nothing that could be taken for the whole.
func TestCached(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	half := errors.New("half-way")
	_, err := cached("jars-1", func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "a.jar"), nil, 0o644), half)
	})
	if !errors.Is(err, half) {
		t.Errorf("err = %v, want half-way", err)
	}
	var fills atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := cached("jars-1", func(dir string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(dir, "b.jar"), nil, 0o644)
			})
			if err != nil {
				t.Error(err)
			}
			if jars, _ := filepath.Glob(filepath.Join(dir, "*.jar")); len(jars) != 1 || filepath.Base(jars[0]) != "b.jar" {
				t.Errorf("jars = %v, want b.jar alone", jars)
			}
		})
	}
	wg.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestJavaVersions(t *testing.T) {
	for _, tt := range []struct{ version, want string }{
		{`openjdk version "17.0.15" 2025-04-15`, ""},
		{`openjdk version "21" 2023-09-19`, ""},
		{`openjdk version "11.0.20" 2023-07-18`, "is 11"},
		{`java version "1.8.0_392"`, "is 1;"},
		{`something else`, "no version"},
	} {
		home := t.TempDir()
		script := "#!/bin/sh\ncat >&2 <<'E'\n" + tt.version + "\nE\n"
		if err := errors.Join(os.Mkdir(filepath.Join(home, "bin"), 0o755),
			os.WriteFile(filepath.Join(home, "bin", "java"), []byte(script), 0o755)); err != nil {
			t.Fatal(err)
		}
		t.Setenv("JAVA_HOME", home)
		_, err := java(t.Context())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.version, err, tt.want)
		}
	}
	t.Setenv("JAVA_HOME", t.TempDir())
	if _, err := java(t.Context()); err == nil || !strings.Contains(err.Error(), "java 17 or newer is needed") {
		t.Errorf("no java: %v", err)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] || p < 15000 || p >= 32000 {
			t.Errorf("ports %v", ports)
		}
		seen[p] = true
	}
}

func TestStartUnknownServer(t *testing.T) {
	if _, err := Start(t.Context(), "oracle"); err == nil || !strings.Contains(err.Error(), "no such server") {
		t.Errorf("err = %v", err)
	}
}
