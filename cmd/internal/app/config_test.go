package app

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// program is a program with one command, which keeps what it was given.
type program struct {
	root    *cobra.Command
	global  *Global
	idField string
	columns []string
	stderr  bytes.Buffer
}

func newProgram() *program {
	p := &program{}
	p.root, p.global = NewRoot("ingest", "", "", "")
	cmd := &cobra.Command{Use: "file", RunE: func(*cobra.Command, []string) error { return nil }}
	cmd.Flags().StringVar(&p.idField, "id-field", "event_id", "")
	cmd.Flags().StringArrayVar(&p.columns, "column", nil, "")
	p.root.AddCommand(cmd)
	p.root.AddCommand(&cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return errors.New("boom") }})
	p.root.SetErr(&p.stderr)
	p.root.SetOut(&p.stderr)
	return p
}

// run runs a command line and returns the exit code.
func (p *program) run(t *testing.T, args ...string) int {
	t.Helper()
	p.root.SetArgs(args)
	return Execute(context.Background(), p.root)
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "afterhours.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrecedence: a flag beats the environment, which beats the file, which
// beats the default.
func TestPrecedence(t *testing.T) {
	path := configFile(t, "data: /from/file\nlog-level: warn\nlog-format: json\ningest:\n  id-field: from-file\n  column: [a=b, c=d:int64]\ncompactor:\n  workers: 3\n")
	t.Setenv("AFTERHOURS_LOG_LEVEL", "error")
	t.Setenv("AFTERHOURS_DATA", "/from/env")
	p := newProgram()
	if code := p.run(t, "file", "--config", path, "--data", "/from/flag"); code != ExitDone {
		t.Fatalf("exit code %d: %s", code, &p.stderr)
	}
	g := p.global
	if g.Data != "/from/flag" || g.LogLevel != "error" || g.LogFormat != "json" || g.Store != "" {
		t.Errorf("data %q, log level %q, log format %q, store %q", g.Data, g.LogLevel, g.LogFormat, g.Store)
	}
	if p.idField != "from-file" || !slices.Equal(p.columns, []string{"a=b", "c=d:int64"}) {
		t.Errorf("id field %q, columns %q", p.idField, p.columns)
	}
}

// TestConfigFromEnvironment: the file itself may be named by the environment.
func TestConfigFromEnvironment(t *testing.T) {
	t.Setenv("AFTERHOURS_CONFIG", configFile(t, "data: /from/file\n"))
	p := newProgram()
	if code := p.run(t, "file"); code != ExitDone || p.global.Data != "/from/file" {
		t.Errorf("exit code %d, data %q: %s", code, p.global.Data, &p.stderr)
	}
}

// TestListFromEnvironment: a flag that may be repeated takes one value from each
// line of its variable, commas and all, and the file adds none.
func TestListFromEnvironment(t *testing.T) {
	t.Setenv("AFTERHOURS_COLUMN", "a=b,c\nd=e:int64\n")
	p := newProgram()
	code := p.run(t, "file", "--config", configFile(t, "ingest:\n  column: [x=y]\n"))
	if code != ExitDone || !slices.Equal(p.columns, []string{"a=b,c", "d=e:int64"}) {
		t.Errorf("exit code %d, columns %q: %s", code, p.columns, &p.stderr)
	}
}

// TestConfigMistakes: the answer names the line and the key, and is one of usage.
func TestConfigMistakes(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{"stoer: x\n", `line 1: unknown key "stoer"`},
		{"data: x\ningest:\n  id-feild: x\n", `line 3: unknown key "id-feild"`},
		{"id-field: x\n", `line 1: unknown key "id-field"`},
		{"ingest:\n  column: {a: b}\n", "line 2: column: want a value or a list of values"},
		{"ingest: x\n", "line 1: want NAME: VALUE pairs"},
		{"log-format: [\n", "yaml"},
		{"log-format: xml\n", `--log-format "xml"`},
		{"log-level: loud\n", `--log-level "loud"`},
	} {
		p := newProgram()
		if code := p.run(t, "file", "--config", configFile(t, c.text)); code != ExitUsage || !strings.Contains(p.stderr.String(), c.says) {
			t.Errorf("%q: exit code %d, want the answer to say %q: %s", c.text, code, c.says, &p.stderr)
		}
	}
}

// TestExitCodes: 0 done, 1 failed, 2 a wrong command line.
func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{"file": ExitDone, "fail": ExitFailed, "": ExitUsage, "nope": ExitUsage, "file --nope": ExitUsage, "--help": ExitDone} {
		p := newProgram()
		if code := p.run(t, strings.Fields(line)...); code != want {
			t.Errorf("%q: exit code %d, want %d: %s", line, code, want, &p.stderr)
		}
	}
}

// TestSize reads and prints sizes.
func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "17B": 17, "512MiB": 512 << 20, "2GiB": 2 << 30, "3KB": 3000, "1 GB": 1e9} {
		var s Size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
		var again Size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q prints as %q, which is %d, %v", text, s.String(), again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "9999999999GiB", "many"} {
		if err := new(Size).Set(text); err == nil {
			t.Errorf("%q is a size", text)
		}
	}
}

// TestGroup: two lakes never share a consumer group, and names are clean.
func TestGroup(t *testing.T) {
	a, b := Group("s3://lake/events"), Group("s3://lake-events")
	if a == b || a != Group("s3://lake/events") || notInGroup.MatchString(a) {
		t.Errorf("groups %q and %q", a, b)
	}
}

// TestTable: off a terminal, columns are separated by single tabs.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	tab := NewTable(&out)
	tab.Row("a", 1)
	tab.Row("long", 22)
	if err := tab.Flush(); err != nil || out.String() != "a\t1\nlong\t22\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
