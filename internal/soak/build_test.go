package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clockProgram prints the time, and how long a tenth of a second lasts.
const clockProgram = `package main

import ("fmt"; "time")

func main() {
	begin := time.Now()
	time.Sleep(100 * time.Millisecond)
	fmt.Println(begin.UTC().Format(time.RFC3339), time.Since(begin) > 90*time.Millisecond && time.Since(begin) < time.Minute)
}
`

// A program that is built for it sees another time of day, while time goes by as
// it does; without the variable it sees the true one.
func TestSkewedClock(t *testing.T) {
	dir := t.TempDir()
	overlay, err := skewOverlay(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	source, program := filepath.Join(dir, "clock.go"), filepath.Join(dir, "clock")
	if err := os.WriteFile(source, []byte(clockProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := goBuild(t.Context(), "-overlay", overlay, "-o", program, source); err != nil {
		t.Fatal(err)
	}
	for text, ahead := range map[string]time.Duration{"": 0, "-90": -90 * time.Second, "3600": time.Hour} {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), skewVariable+"="+text)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		said, flows, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		at, err := time.Parse(time.RFC3339, said)
		if off := at.Sub(time.Now().Add(ahead)).Abs(); err != nil || off > 30*time.Second || flows != "true" {
			t.Errorf("%q: the clock says %s, %v off, %v", text, out, off, err)
		}
	}
}
