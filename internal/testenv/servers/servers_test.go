package servers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

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
