package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/afterhours/afterhours"
)

func zipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

func zstded(text string) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll([]byte(text), nil)
}

// collect runs the source and returns its records; every one is acknowledged.
func collect(t *testing.T, f Files) ([]Record, error) {
	t.Helper()
	var all []Record
	err := f.Run(t.Context(), func(_ context.Context, r Record, ack func()) error {
		all = append(all, r)
		ack()
		return nil
	})
	return all, err
}

// texts prints records as "position: bytes".
func texts(records []Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%s: %s\n", strings.TrimPrefix(r.Position, "line "), r.Bytes)
	}
	return b.String()
}

func put(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Lines are read whatever their ends, blank ones are counted and left out, and
// compression is told by the first bytes, not by the name.
func TestFilesReadLines(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":           {"a\nb\n", "1: a\n2: b\n"},
		"no final end":    {"a\nb", "1: a\n2: b\n"},
		"crlf":            {"a\r\nb\r\nc", "1: a\n2: b\n3: c\n"},
		"blank lines":     {"\n\na\n \t\r\nb\n\n", "3: a\n5: b\n"},
		"spaces are kept": {" a \n", "1:  a \n"},
		"byte order mark": {"\xef\xbb\xbfa\nb\n", "1: a\n2: b\n"},
		"short":           {"a", "1: a\n"},
		"empty":           {"", ""},
		"mark alone":      {"\xef\xbb\xbf", ""},
	} {
		for kind, b := range map[string][]byte{
			"plain":       []byte(c.in),
			"gzip":        zipped(c.in),
			"gzip in two": append(zipped(c.in[:len(c.in)/2]), zipped(c.in[len(c.in)/2:])...),
			"zstd":        zstded(c.in),
			"zstd in two": append(zstded(c.in[:len(c.in)/2]), zstded(c.in[len(c.in)/2:])...),
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				path := put(t, "any.name", b)
				got, err := collect(t, Files{Inputs: []string{path}})
				if err != nil || texts(got) != c.want {
					t.Fatalf("records are %q, want %q, error %v", texts(got), c.want, err)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range got {
					if r.Source != path || !r.Time.Equal(info.ModTime()) || r.Cut != nil {
						t.Errorf("record is %+v", r)
					}
				}
			})
		}
	}
}

// A line at the limit is a record; a longer one is cut, with the size and the
// hash of the whole, and the lines after it are read as if nothing was.
func TestFilesCutLongLines(t *testing.T) {
	const limit = afterhours.MaxPayload
	for _, end := range []string{"\n", "\r\n", ""} {
		for _, n := range []int{readBuffer - 1, readBuffer, limit - 1, limit, limit + 1, limit + readBuffer - 1, limit + readBuffer, limit + readBuffer + 1, 5*limit + 17} {
			t.Run(fmt.Sprintf("%d %q", n, end), func(t *testing.T) {
				long := bytes.Repeat([]byte("0123456789\r"), n/11+1)[:n]
				long[n-1] = 'x'
				in := append(bytes.Clone(long), end...)
				if end != "" {
					in = append(in, "next\n"...)
				}
				// One byte at a time finds line ends that are split between reads.
				got, err := readLines(io.MultiReader(bytes.NewReader(in[:n-2]), iotest.OneByteReader(bytes.NewReader(in[n-2:]))))
				if err != nil {
					t.Fatal(err)
				}
				if want := 1 + len(end+"x")/2; len(got) != want && end != "" {
					t.Fatalf("%d lines, want 2", len(got))
				}
				r := got[0]
				if (r.Cut != nil) != (n > limit) {
					t.Fatalf("line of %d bytes is cut: %v", n, r.Cut != nil)
				}
				if r.Cut == nil && !bytes.Equal(r.Bytes, long) {
					t.Error("the line differs")
				}
				if r.Cut != nil && (!bytes.Equal(r.Bytes, long[:maxKept]) || r.Cut.Size != int64(n) || r.Cut.SHA256 != sha256.Sum256(long)) {
					t.Errorf("%d bytes are kept of a line of %d", len(r.Bytes), r.Cut.Size)
				}
				if end != "" && string(got[1].Bytes) != "next" {
					t.Errorf("the next line is %q", got[1].Bytes)
				}
			})
		}
	}
}

func readLines(r io.Reader) ([]Record, error) {
	l, err := newLines(r)
	if err != nil {
		return nil, err
	}
	defer l.close()
	var all []Record
	for {
		b, cut, err := l.next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, Record{Bytes: b, Cut: cut})
	}
}

// Compressed input that ends too early is an error that names the file and the
// last whole line; half a line is never taken for one.
func TestFilesTruncatedInput(t *testing.T) {
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, "{\"line\":%d}\n", i+1)
	}
	for name, b := range map[string][]byte{"gzip": zipped(text.String()), "zstd": zstded(text.String())} {
		t.Run(name, func(t *testing.T) {
			path := put(t, name, b[:len(b)*2/3])
			got, err := collect(t, Files{Inputs: []string{path}})
			want := fmt.Sprintf("read %s after line %d: the compressed data is cut off", path, len(got))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("error is %v, want %q", err, want)
			}
			for i, r := range got {
				if string(r.Bytes) != fmt.Sprintf(`{"line":%d}`, i+1) {
					t.Fatalf("line %d is %q", i+1, r.Bytes)
				}
			}
		})
	}
}

// All inputs that cannot be read are named before anything is read.
func TestFilesAreCheckedFirst(t *testing.T) {
	good := put(t, "good", []byte("a\n"))
	dir := t.TempDir()
	got, err := collect(t, Files{Inputs: []string{
		good, "/none/such", dir, "file:///none/else", "file://" + dir + "/", "file://host/x",
		"nope://bucket/key", "shared://bucket/none", "shared://bucket/none/", "-", "-",
	}})
	if len(got) > 0 || err == nil {
		t.Fatalf("%d records were read, error %v", len(got), err)
	}
	for _, want := range []string{
		"/none/such: no such file", dir + " is a directory", "/none/else: no such file", "there is no file in it",
		"want file:///path", "nope://bucket/key", "shared://bucket/none: there is no such object",
		"shared://bucket/none/: there is no object below it", "standard input: it is given twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

// A file URL that ends in a slash stands for all files below it.
func TestFilesBelowDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b": "3\n", "a/x": "1\n2\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := collect(t, Files{Inputs: []string{"file://" + dir + "/"}})
	if err != nil || texts(got) != "1: 1\n2: 2\n1: 3\n" {
		t.Errorf("records are %q, error %v", texts(got), err)
	}
}

// sharedObjects are what every bucket of the scheme "shared" holds.
var sharedObjects = map[string][]byte{
	"in/1.json": []byte("a\n"), "in/deep/2.gz": zipped("b\nc\n"), "in/": nil, "other": []byte("x\n"),
}

type sharedOpener struct{}

func (sharedOpener) OpenBucketURL(ctx context.Context, _ *url.URL) (*blob.Bucket, error) {
	b := memblob.OpenBucket(nil)
	for key, content := range sharedObjects {
		if err := b.WriteAll(ctx, key, content, nil); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func init() { blob.DefaultURLMux().RegisterBucket("shared", sharedOpener{}) }

// Objects are read one by one or below a prefix; their name has no parameters.
func TestFilesReadObjects(t *testing.T) {
	got, err := collect(t, Files{Inputs: []string{"shared://bucket/in/?region=x", "shared://bucket/other"}})
	if err != nil || texts(got) != "1: a\n1: b\n2: c\n1: x\n" {
		t.Fatalf("records are %q, error %v", texts(got), err)
	}
	if r := got[1]; r.Source != "shared://bucket/in/deep/2.gz" || time.Since(r.Time) > time.Hour {
		t.Errorf("record is %+v", r)
	}
}

// Standard input is read like a file, and reading it ends with the context also
// when nothing comes.
func TestFilesReadStandardInput(t *testing.T) {
	got, err := collect(t, Files{Inputs: []string{"-"}, Stdin: strings.NewReader("a\nb")})
	if err != nil || texts(got) != "1: a\n2: b\n" || got[0].Source != "stdin" || time.Since(got[0].Time) > time.Hour {
		t.Errorf("records are %+v, error %v", got, err)
	}
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = Files{Inputs: []string{"-"}, Stdin: r}.Run(ctx, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// Lines come out the same however they are compressed and whatever is in them.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\n\nb\r"))
	f.Add([]byte("\xef\xbb\xbf\xef\xbb\xbf\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.HasPrefix(b, gzipMagic) || bytes.HasPrefix(b, zstdMagic) {
			_, _ = readLines(bytes.NewReader(b)) // must end, that is all
			return
		}
		var want []string
		for l := range strings.SplitSeq(string(bytes.TrimPrefix(b, byteOrderMark)), "\n") {
			if strings.TrimSpace(l) != "" {
				want = append(want, strings.TrimSuffix(l, "\r"))
			}
		}
		for _, in := range [][]byte{b, zipped(string(b)), zstded(string(b))} {
			got, err := readLines(iotest.HalfReader(bytes.NewReader(in)))
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d lines, want %d, error %v", len(got), len(want), err)
			}
			for i, r := range got {
				if string(r.Bytes) != want[i] {
					t.Errorf("line %d is %q, want %q", i, r.Bytes, want[i])
				}
			}
		}
	})
}
