package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// skewVariable has a command that was built for it see a wall clock that is as
// many seconds ahead of the true one as it says.
const skewVariable = "SOAK_CLOCK_AHEAD"

// skewCode is added to package time.
const skewCode = `package time

import "syscall"

// ahead is by how many seconds the clock is off.
var ahead = func() (seconds int64) {
	text, _ := syscall.Getenv("` + skewVariable + `")
	sign := int64(1)
	for _, c := range []byte(text) {
		if c == '-' {
			sign = -1
		} else {
			seconds = seconds*10 + int64(c-'0')
		}
	}
	return sign * seconds
}()
`

// build builds the commands into a directory.
func build(ctx context.Context, dir string) error {
	return goBuild(ctx, "-o", dir+string(filepath.Separator), "./cmd/ingest", "./cmd/compactor")
}

// buildSkewed builds ingest with a clock that can be wrong: all of it, not only
// what our code asks for.
func buildSkewed(ctx context.Context, dir string) error {
	overlay, err := skewOverlay(ctx, dir)
	if err != nil {
		return err
	}
	return goBuild(ctx, "-overlay", overlay, "-o", filepath.Join(dir, "ingest"), "./cmd/ingest")
}

// skewOverlay writes into dir what makes the go command build programs with a
// changed package time, and returns the file to give it.
func skewOverlay(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	const now = "sec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	if strings.Count(string(text), now) != 1 {
		return "", fmt.Errorf("%s is not as expected: adapt skewOverlay to this version of Go", source)
	}
	changed := strings.Replace(string(text), now, "sec, nsec, mono := runtimeNow()\n\tsec += ahead\n\tif mono == 0 {", 1)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		source: filepath.Join(dir, "time.go"),
		filepath.Join(filepath.Dir(source), "soak_ahead.go"): filepath.Join(dir, "ahead.go"),
	}})
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{"time.go": changed, "ahead.go": skewCode, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "overlay.json"), nil
}

// goBuild builds packages of this module, wherever in it we run.
func goBuild(ctx context.Context, args ...string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module, in whose tree this must run: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build commands: %w\n%s", err, out)
	}
	return nil
}
