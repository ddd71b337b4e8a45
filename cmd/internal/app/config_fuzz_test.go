package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/afterhours/afterhours/compact"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	before := s[0].Value.Uint64()
	f()
	metrics.Read(s)
	return s[0].Value.Uint64() - before
}

// laughs is a YAML file of a few hundred bytes that names a billion values.
func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return b.String() + "ingest:\n  column: *a9\n"
}

// A configuration file that was made to do harm is a mistake of usage, with the
// file's name, and costs no memory.
func TestHostileConfigFiles(t *testing.T) {
	for name, text := range map[string]string{
		"a billion laughs":  laughs(),
		"an alias of a key": "data: &x a\n*x : b\n",
		"a merge":           "<<: {data: a}\n",
		"deep nesting":      strings.Repeat("[", 100_000),
		"deep maps":         strings.Repeat("{a: ", 20_000),
		"two documents":     "data: a\n---\nstoer: b\n",
		"a key twice":       "data: a\ndata: b\n",
		"a key twice below": "ingest:\n  column: [a=b]\n  column: [c=d]\n",
		"a list":            "- data\n",
		"NUL":               "data: \x00\n",
		"UTF-16":            "\xff\xfed\x00",
		"control":           "data: \"\\u0000\"\nstoer: x\n",
		"binary":            "\x7fELF\x02\x01",
		"a tag":             "data: !!binary x\nstoer: y\n",
	} {
		path := configFile(t, text)
		p := newProgram()
		cost := allocated(func() {
			if code := p.run(t, "file", "--config", path); code != ExitUsage || !strings.Contains(p.stderr.String(), path) {
				t.Errorf("%s: exit code %d: %.300s", name, code, &p.stderr)
			}
		})
		if cost > 64<<20 {
			t.Errorf("%s: %d MiB are allocated for %d bytes", name, cost>>20, len(text))
		}
	}
}

// FuzzConfigFile shows that no configuration file makes a command do anything but
// run or say what is wrong with the file.
func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{
		"data: /from/file\nlog-level: warn\ningest:\n  id-field: from-file\n  column: [a=b, c=d:int64]\ncompactor:\n  workers: 3\n",
		laughs(), "ingest: {column: {a: b}}", "%YAML 1.1\n---\ndata: x", "? a\n: b", "data: |\n  x", "ingest: *x", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p := newProgram()
		p.root.SetArgs([]string{"file", "--config", path})
		if code := Execute(context.Background(), p.root); code != ExitDone && (code != ExitUsage || !strings.Contains(p.stderr.String(), "--")) {
			t.Errorf("%q: exit code %d: %s", text, code, &p.stderr)
		}
	})
}

// FuzzSize shows that a size that is read is printed as what is read the same, and
// is not negative.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"512MiB", "1 GB", "-1", "9999999999GiB", "0B", "9223372036854775807", "8589934591GiB", "+5", "0x10", "1_000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, back Size
		if s.Set(text) != nil {
			return
		}
		if err := back.Set(s.String()); err != nil || back != s || s < 0 {
			t.Errorf("%q is %d, printed as %q, which is %d, %v", text, s, s.String(), back, err)
		}
	})
}

// FuzzTypePolicy shows that a policy that is read is valid.
func FuzzTypePolicy(f *testing.F) {
	for _, s := range []string{"a:grace=1m,quiet=5m,age-share=8,max-delay=2h", "a:b:quiet=1m", "a:row-worth=1MiB", "a:row-worth=-1", "a:", ":", "a:age-share=1e308", "a:age-share=NaN", "a:grace=2540400h10m10s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, p, err := parseTypePolicy(text, compact.Defaults().Policy)
		if err == nil && (name == "" || p.Validate() != nil) {
			t.Errorf("%q is the policy %+v of %q", text, p, name)
		}
	})
}

// FuzzPlace shows that what is taken for an embedded backend's URL has a directory,
// and that only known parameters pass.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{"", "pebble:///dir?ttl=720h", "pebble://?ttl=1h", "pebble://dir?ttl=1h&ttl=2h", "pebble:///a%zz?%zz", "x", "cassandra://a/b", "pebble:///d?ttl=-1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		g := &Global{Data: "data"}
		p, err := g.place("--store", raw, "store")
		if err != nil {
			if !IsUsage(err) {
				t.Errorf("%q: %v is no error of usage", raw, err)
			}
			return
		}
		if p.scheme == "pebble" && p.dir == "" {
			t.Errorf("%q is embedded nowhere", raw)
		}
		if ttl, err := p.ttl("--store"); err == nil && ttl < 0 {
			t.Errorf("%q keeps rows for %s", raw, ttl)
		}
	})
}
