package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// holdDir names the directory that a child process opens and holds.
const holdDir = "AFTERHOURS_TEST_HOLD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdDir); dir != "" {
		os.Exit(hold(dir))
	}
	os.Exit(m.Run())
}

// hold has the directory open until its standard input ends.
func hold(dir string) int {
	d, err := Open(dir, "store", 1, quiet())
	fmt.Println("opened:", err)
	if err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if d.Close() != nil {
		return 1
	}
	return 0
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, dir string) *DB {
	t.Helper()
	d, err := Open(dir, "store", 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// TestInUse shows what the second process is told, and that the directory is
// free once the first has ended.
func TestInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there yet")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), holdDir+"="+dir)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "opened: <nil>\n" {
		t.Fatalf("child said %q, error %v", line, err)
	}
	want := "embedded store " + dir + " is in use by another process (stop it, or use another --data directory)"
	if _, err := Open(dir, "store", 1, quiet()); err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if err := errors.Join(in.Close(), child.Wait()); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// TestOpenTwice shows that one process cannot open a directory twice, under
// whatever name, and that the first stays as it is.
func TestOpenTwice(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	for _, name := range []string{dir, dir + "/.", link} {
		if _, err := Open(name, "store", 1, quiet()); err == nil || !strings.Contains(err.Error(), "lock held by current process") {
			t.Errorf("open %s again: %v", name, err)
		}
	}
	if err := d.Set([]byte("k"), nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

// TestNotADirectory shows that the error names the path.
func TestNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(name, "store", 1, quiet()); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("open %s: %v", name, err)
		}
	}
}

// TestFormat shows that a database of another format is left alone.
func TestFormat(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "store", 2, quiet()); err == nil || !strings.Contains(err.Error(), "its format is 01, this build knows 2") {
		t.Fatalf("error %v", err)
	}
	open(t, dir) // it was released
}

// TestClose shows that Close ends the calls under way, waits until they have let
// go, and that no call begins after it.
func TestClose(t *testing.T) {
	d := open(t, t.TempDir())
	var wg sync.WaitGroup
	for range 8 {
		ctx, end, err := d.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), ErrClosed) {
				t.Errorf("call ended by %v, want %v", context.Cause(ctx), ErrClosed)
			}
			if err := d.Set([]byte("k"), nil, pebble.NoSync); err != nil {
				t.Error(err)
			}
			end()
		})
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, _, err := d.Begin(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("call after Close: %v, want %v", err, ErrClosed)
	}
	if d.Lifetime().Err() == nil {
		t.Error("the lifetime goes on after Close")
	}
}

// TestBegin shows that a call ends with the caller's context, and not with the
// end of another call.
func TestBegin(t *testing.T) {
	d := open(t, t.TempDir())
	parent, cancel := context.WithCancel(t.Context())
	a, endA, errA := d.Begin(parent)
	b, endB, errB := d.Begin(t.Context())
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-a.Done()
	if err := context.Cause(a); !errors.Is(err, context.Canceled) {
		t.Errorf("cause %v, want %v", err, context.Canceled)
	}
	endA()
	if b.Err() != nil {
		t.Error("another call ended as well")
	}
	endB()
	if _, _, err := d.Begin(parent); !errors.Is(err, context.Canceled) {
		t.Errorf("call with an ended context: %v", err)
	}
}

// TestQuiet shows that Pebble's housekeeping is told only to those who debug.
func TestQuiet(t *testing.T) {
	for level, want := range map[slog.Level]bool{slog.LevelDebug: true, slog.LevelInfo: false} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		d, err := Open(t.TempDir(), "store", 1, log)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Set([]byte("k"), nil, pebble.Sync), d.Flush(), d.Close()); err != nil {
			t.Fatal(err)
		}
		if got := out.Len() > 0; got != want {
			t.Errorf("at level %s pebble said: %q", level, out.String())
		}
	}
}
