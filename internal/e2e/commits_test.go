package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob"
	_ "gocloud.dev/blob/s3blob"

	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/lake"
)

// backends is one set of backends the same promises hold on.
type backends struct {
	name     string
	open     func(t *testing.T) setup
	projects []string // enough of the sample; all if empty
}

// setup is how the commands are pointed at fresh backends.
type setup struct {
	flags []string                  // for every command
	url   string                    // of the lake
	lake  func(t *testing.T) string // a directory with the lake's objects as they are now
}

func allBackends() []backends {
	return []backends{{"embedded", embedded, nil}, {"cassandra-kafka-s3", servers, small}, {"gcs", withGCS, small}}
}

func embedded(t *testing.T) setup {
	dir := t.TempDir()
	return setup{
		flags: []string{"--data", dir},
		url:   "file://" + filepath.Join(dir, "lake"),
		lake:  func(*testing.T) string { return filepath.Join(dir, "lake") },
	}
}

func servers(t *testing.T) setup {
	bucket := testenv.S3(t)
	return setup{
		flags: []string{
			"--store", testenv.Keyspace(t),
			"--dirty", "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, "commits"),
			"--lake", bucket,
		},
		url:  bucket,
		lake: func(t *testing.T) string { return download(t, bucket) },
	}
}

func withGCS(t *testing.T) setup {
	bucket := testenv.GCS(t)
	return setup{
		flags: []string{"--data", t.TempDir(), "--lake", bucket},
		url:   bucket,
		lake:  func(t *testing.T) string { return download(t, bucket) },
	}
}

// download copies every object of a bucket into a fresh directory.
func download(t *testing.T, bucketURL string) string {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	b, err := blob.OpenBucket(ctx, bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for it := b.List(nil); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := b.ReadAll(ctx, o.Key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(o.Key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// ingest and compactor run a command against the backends.
func (s setup) ingest(t *testing.T, path string) string {
	t.Helper()
	return run(t, "ingest", append(append(append([]string{"file"}, mapping...), s.flags...), path)...)
}

func (s setup) compactor(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "compactor", append(args, s.flags...)...)
}

// TestCommits is the whole path on real data: three pieces with a compaction
// after each give exactly the rows an independent script computes, and the whole
// file again, in order or shuffled, leaves every object as it is: the same bytes,
// the same version. The copies are in the books.
func TestCommits(t *testing.T) {
	for _, b := range allBackends() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			s, events := b.open(t), commits(t, b.projects...)
			n := len(events)
			for _, piece := range events.pieces(t, 3) {
				t.Log(s.ingest(t, piece))
				t.Log(s.compactor(t, "once"))
			}
			sameRows(t, s.lake(t), events)

			before := s.objects(t)
			for _, copies := range []sample{events, events.shuffled()} {
				if out := s.ingest(t, copies.file(t)); !strings.Contains(out, fmt.Sprintf("%d events read: %d written", n, n)) {
					t.Errorf("ingesting the file again: %s", out)
				}
			}
			out := s.compactor(t, "once")
			if t.Log(out); !strings.Contains(out, "0 hours rewritten") || !strings.Contains(out, fmt.Sprintf(" 0 rows added, %d duplicates dropped, 0 B published", 2*n)) {
				t.Errorf("compacting the file's copies: %s", out)
			}
			if now := s.objects(t); !maps.Equal(now, before) {
				t.Error("objects were changed by copies of what they hold")
			}

			out = s.compactor(t, "verify")
			books := fmt.Sprintf("%d rows seen = %d rows published + %d duplicates + 0 erased; %d raw rows recounted, 0 not merged yet; 0 hours behind, 0 broken", 3*n, n, 2*n, 3*n)
			if t.Log(out); !strings.Contains(out, books) {
				t.Errorf("the books: %s", out)
			}
		})
	}
}

// object is what an object of the lake is told by.
type object struct {
	version string
	content [sha256.Size]byte
}

// objects returns every partition's object, by its path.
func (s setup) objects(t *testing.T) map[string]object {
	t.Helper()
	l, err := lake.Open(t.Context(), s.url, lake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir, all := s.lake(t), map[string]object{}
	err = l.Hours(t.Context(), func(o lake.Object) error {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(o.Key)))
		all[o.Key] = object{o.Version, sha256.Sum256(data)}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d objects: %v", len(all), err)
	}
	return all
}
