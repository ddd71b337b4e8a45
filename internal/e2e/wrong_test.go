package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv"
)

// exit runs a command and returns its exit code and its error output.
func exit(t *testing.T, name string, args ...string) (int, string) {
	t.Helper()
	cmd := command(t, name, args...)
	cmd.Dir = t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stderr.String()
}

// TestWrongInput: every mistake gets an answer that names it and says what to do.
func TestWrongInput(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "somebody") // so that it comes to a connection
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	dir := t.TempDir()
	lines := filepath.Join(dir, "lines.jsonl")
	write(t, lines, "{}\n")
	write(t, filepath.Join(dir, "bad.yaml"), "store: pebble:///x\nstoer: y\n")
	write(t, filepath.Join(dir, "cut.jsonl.gz"), "\x1f\x8b\x08\x00\x00\x00\x00\x00")
	nobody := unused(t)
	for _, c := range []struct {
		name string
		line string
		code int
		says []string
	}{
		{"unknown flag", "ingest file --nope x", 2, []string{"unknown flag: --nope", "ingest file --help"}},
		{"unknown command", "compactor onec", 2, []string{`unknown command "onec"`}},
		{"no command", "compactor", 2, []string{"which command?", "once"}},
		{"no input", "ingest file", 2, []string{"requires at least 1 arg"}},
		{"unknown scheme of the store", "compactor once --store redis://x", 2, []string{"--store", `unknown scheme "redis"`, "cassandra, pebble"}},
		{"unknown scheme of the queue", "compactor once --dirty amqp://x", 2, []string{"--dirty", `unknown scheme "amqp"`, "kafka, pebble"}},
		{"unknown scheme of the lake", "compactor once --lake ftp://x/y", 1, []string{"--lake", "ftp", "s3://"}},
		{"store that is no URL", "compactor once --store localhost", 2, []string{"--store", `"localhost" is not a URL`}},
		{"unreachable Cassandra", "ingest file --store cassandra://" + nobody + "/ks " + lines, 1, []string{"--store", nobody}},
		{"unreachable Kafka", "ingest file --dirty kafka://" + nobody + "/t " + lines, 1, []string{"--dirty", nobody}},
		{"unreachable object store", "compactor once --lake s3://b?endpoint=http://" + nobody + "&region=us-east-1&use_path_style=true", 1, []string{"--lake", nobody}},
		{"missing file", "ingest file " + filepath.Join(dir, "absent"), 1, []string{"absent", "no such file"}},
		{"directory as file", "ingest file " + dir, 1, []string{dir, "directory"}},
		{"cut gzip", "ingest file " + filepath.Join(dir, "cut.jsonl.gz"), 1, []string{"cut.jsonl.gz", "EOF"}},
		{"unknown key in the file", "compactor once --config " + filepath.Join(dir, "bad.yaml"), 2, []string{"line 2", `"stoer"`}},
		{"missing configuration file", "compactor once --config " + filepath.Join(dir, "absent.yaml"), 2, []string{"absent.yaml", "no such file"}},
		{"column without a type", "ingest file --column a=b:c " + lines, 2, []string{"--column", `"c"`, "int64"}},
		{"reserved column", "ingest file --column hour=h " + lines, 2, []string{`"hour"`, "lake's own"}},
		{"type and type field", "ingest file --type a --type-field b " + lines, 2, []string{"--type", "not both"}},
		{"backfill of nothing", "compactor backfill --from 2026-11-20", 2, []string{"--event-type", "--all-types", "--to is missing"}},
		{"backfill backwards", "compactor backfill --all-types --from 2026-11-20 --to 2026-11-19", 2, []string{"not before"}},
		{"backfill of no hour", "compactor backfill --all-types --from yesterday --to 2026-11-19", 2, []string{`"yesterday"`, "2026-11-20T10"}},
		{"wrong memory", "compactor once --memory lots", 2, []string{"--memory", "no size", "MiB"}},
		{"too little memory", "compactor once --memory 1MiB", 2, []string{"memory", "at least"}},
		{"Kafka without a group", "ingest kafka --brokers x:1 --topics t", 2, []string{"--group is missing"}},
		{"topics and pattern", "ingest kafka --brokers x:1 --topics t --topic-pattern p --group g", 2, []string{"one of the two"}},
		{"unreachable source", "ingest kafka --brokers " + nobody + " --topics t --group g", 1, []string{nobody}},
		{"wrong log format", "compactor status --log-format xml", 2, []string{"--log-format", "text or json"}},
		{"demo on servers", "afterhours demo --lake s3://x", 2, []string{"embedded"}},
		{"nothing to serve", "afterhours serve", 2, []string{"nothing to ingest"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(c.line)
			code, stderr := exit(t, args[0], args[1:]...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, s := range c.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("the answer does not say %q:\n%s", s, stderr)
				}
			}
			if strings.Contains(stderr, "goroutine ") {
				t.Errorf("a stack trace:\n%s", stderr)
			}
		})
	}
}

// TestMissingBucketAndKeyspace: what the operator has to make is named.
func TestMissingBucketAndKeyspace(t *testing.T) {
	bucket := testenv.S3(t)
	name := strings.TrimPrefix(bucket[:strings.IndexByte(bucket, '?')], "s3://")
	code, stderr := exit(t, "compactor", "once", "--lake", strings.Replace(bucket, name, "absent-bucket", 1))
	if code != 1 || !strings.Contains(stderr, "absent-bucket") {
		t.Errorf("missing bucket: exit code %d: %s", code, stderr)
	}
	code, stderr = exit(t, "compactor", "once", "--store", "cassandra://"+testenv.Cassandra(t)+"/absent_keyspace")
	if code != 1 || !strings.Contains(stderr, "CREATE KEYSPACE absent_keyspace") {
		t.Errorf("missing keyspace: exit code %d: %s", code, stderr)
	}
}

// TestDirectoryInUse: an embedded directory belongs to one process.
func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	holder := command(t, "afterhours", "serve", "--data", dir, "-")
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = holder.Process.Signal(os.Interrupt)
		if err := holder.Wait(); err != nil {
			t.Errorf("serve, interrupted: %v", err)
		}
	})
	waitFor(t, func() bool { _, err := os.Stat(filepath.Join(dir, "lake")); return err == nil })
	code, stderr := exit(t, "compactor", "status", "--data", dir)
	if code != 1 || !strings.Contains(stderr, "in use by another process") || !strings.Contains(stderr, dir) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// unused returns an address on which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
