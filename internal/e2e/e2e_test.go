// Package e2e runs the commands as their users do, on real data and on every set
// of backends, and compares the lake with what an independent script computes.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv"
)

// mapping is how the sample is ingested.
var mapping = []string{
	"--received-field", "received_at", "--column", "user_id=user_id",
	"--column", "files=files:int64", "--column", "added=added:int64", "--column", "deleted=deleted:int64",
}

// binaries builds the commands once and returns their directory.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "afterhours-e2e")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "../../cmd/...").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build commands: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := binaries(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// command returns a command line of ours, which t's end kills.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, filepath.Join(dir, name), args...)
}

// run runs a command to its end, which must be good, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.String(), tail(stderr.String(), 20))
	}
	return stdout.String()
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// sameRows compares a copy of the lake with the expectation, order included.
func sameRows(t *testing.T, dir string, of sample) {
	t.Helper()
	want := of.expected(t)
	cmd := exec.Command(testenv.Python(t), filepath.Join("testdata", "lake.py"), dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("read the lake: %v\n%s", err, tail(stderr.String(), 20))
	}
	if string(got) == want {
		return
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%d rows, want %d; row %d is\n%s\nwant\n%s", len(g)-1, len(w)-1, i, g[i], w[i])
		}
	}
	t.Fatalf("%d rows, want %d", len(g)-1, len(w)-1)
}
