package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
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

// hostileLine is a line that a file can have, and what the quarantine says of it;
// an event if it says nothing.
type hostileLine struct{ name, text, reason string }

// hostileLines are lines that break parsers.
func hostileLines() []hostileLine {
	event := func(id, eventType, at string) string {
		return fmt.Sprintf(`{"id":%s,"type":%s,"at":%s}`, id, eventType, at)
	}
	good := hostileNow.Format(`"2006-01-02T15:04:05Z07:00"`)
	lines := []hostileLine{
		{"event", event(`"a"`, `"t"`, good), ""},
		{"deep arrays", `{"id":"b","type":"t","at":` + good + `,"x":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`, "not a JSON object"},
		{"deep objects", strings.Repeat(`{"a":`, 150_000) + "1" + strings.Repeat("}", 150_000), "not a JSON object"},
		{"open brackets", strings.Repeat("[", 1_000_000), "not a JSON object"},
		{"open objects", strings.Repeat(`{"":`, 250_000), "not a JSON object"},
		{"NUL", "\x00", "not a JSON object"},
		{"NUL in a string", event("\"a\x00\"", `"t"`, good), "not a JSON object"},
		{"NUL after the end", event(`"a"`, `"t"`, good) + "\x00", "more follows"},
		{"escaped NUL as ID", event(`"a\u0000"`, `"t"`, good), ""},
		{"escaped NUL in type", event(`"a"`, `"t\u0000"`, good), "control character"},
		{"invalid UTF-8", event("\"\xc3\x28\"", `"t"`, good), "not a JSON object"},
		{"cut UTF-8", `{"id":"` + "\xe2\x82", "not a JSON object"},
		{"overlong UTF-8", event("\"\xc0\xaf\"", `"t"`, good), "not a JSON object"},
		{"lone surrogate", event(`"\ud800"`, `"t"`, good), "not a JSON object"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "not a JSON object"},
		{"a second byte order mark", "\xef\xbb\xbf" + event(`"a"`, `"t"`, good), "not a JSON object"},
		{"a carriage return", "{}\r{}", "more follows"},
		{"duplicate names", `{"id":"a","id":"b","type":"t","at":` + good + `}`, "duplicate"},
		{"duplicate names, escaped", `{"id":"a","\u0069d":"b","type":"t","at":` + good + `}`, "duplicate"},
		{"duplicate names, deep", `{"id":"a","type":"t","at":` + good + `,"x":[{"y":1,"y":1}]}`, "duplicate"},
		{"a hundred thousand names", manyNames(100_000), ""},
		{"NaN", event(`"a"`, `"t"`, `NaN`), "not a JSON object"},
		{"infinity", event(`"a"`, `"t"`, `Infinity`), "not a JSON object"},
		{"hexadecimal", event(`"a"`, `"t"`, `0x10`), "not a JSON object"},
		{"trailing comma", `{"id":"a",}`, "not a JSON object"},
		{"comment", `{/**/}`, "not a JSON object"},
		{"a digit a million times", event(`"a"`, `"t"`, strings.Repeat("9", 1_000_000)), "no time"},
		{"a million digits after the point", event(`"frac"`, `"t"`, `1795176000.`+strings.Repeat("9", 1_000_000)), ""},
		{"an exponent of a million digits", event(`"a"`, `"t"`, `1e`+strings.Repeat("9", 1_000_000)), "no time"},
		{"a number as ID of a million digits", event(strings.Repeat("9", 1_000_000), `"t"`, good), "event ID has 1000000 bytes"},
		{"a type of a megabyte", event(`"a"`, `"`+strings.Repeat("t", 1_000_000)+`"`, good), "event type has 1000000 bytes"},
		{"a type no directory takes", event(`"a"`, `"`+strings.Repeat("/", 100)+`"`, good), "as the name of a directory"},
	}
	for _, at := range []string{
		`"0000-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`, `"10000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-01:00"`, `"-001-01-01T00:00:00Z"`, `"1826-11-20T12:00:00Z"`,
		`"2126-11-20T12:00:00Z"`, `-9223372036854775808`, `9223372036854775807`, `-1e99`, `1e-99`, `-62135596801`, `99999999999999999`, `-0`,
		`"2026-11-20T12:00:60Z"`, `"2026-11-20T24:00:00Z"`, `"2026-02-30T12:00:00Z"`, `"2026-11-20T12:00:00"`, `"2026-11-20T12:00:00+24:00"`, `" 1795176000"`, `""`, `null`, `true`, `[]`, `{}`,
	} {
		reason := "event time"
		if at == `1e-99` || at == `-0` { // 1970, which is within the window
			reason = ""
		}
		lines = append(lines, hostileLine{"the time " + at, event(`"`+strings.Trim(strings.ReplaceAll(at, `"`, ""), " ")+`"`, `"t"`, at), reason})
	}
	return lines
}

func manyNames(n int) string {
	b := []byte(`{"id":"many","type":"t","at":1795176000`)
	for i := range n {
		b = fmt.Appendf(b, `,"%d":0`, i)
	}
	return string(b) + "}"
}

// Each hostile line of a file is an event, or in quarantine under its number with
// its bytes and the reason, whatever ends it and whatever blank lines follow.
func TestHostileLines(t *testing.T) {
	lines := hostileLines()
	s, q := embedded(t)
	file := bytes.NewBuffer(bytes.Clone(byteOrderMark))
	for i, l := range lines {
		end := []string{"\n", "\r\n"}[i%2]
		file.WriteString(l.text + end + strings.Repeat(" "+end, i%3))
	}
	path := put(t, "hostile", file.Bytes())
	sum, err := Run(t.Context(), Files{Inputs: []string{path}}, hostileMapping, New(s, q, hostileOptions()))
	if err != nil || sum.Read != int64(len(lines)) || sum.Written+sum.Quarantined != sum.Read {
		t.Fatalf("%+v of %d lines, %v", sum, len(lines), err)
	}
	k, n := readAll(t, s), 1
	for i, l := range lines {
		env, quarantined := k.quarantined[fmt.Sprint("line ", n)]
		n += 1 + i%3
		if quarantined != (l.reason != "") || !strings.Contains(env.Reason, l.reason) {
			t.Errorf("%s: quarantined %t because %q, want %q", l.name, quarantined, env.Reason, l.reason)
			continue
		}
		if !quarantined {
			continue
		}
		want := quarantine(Record{Bytes: []byte(l.text), Source: path, Position: env.Position}, env.Reason, 0)
		if string(env.encode()) != string(want.Payload) {
			t.Errorf("%s: %d bytes of %q are kept otherwise than they came", l.name, env.Size, env.Source)
		}
	}
}

// Lines without end, plain or compressed to next to nothing, cost the memory of
// one line that is kept, and are in quarantine with their size and hash.
func TestEndlessLinesAreCheap(t *testing.T) {
	const size = 48 << 20
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, size) }
	h := sha256.New()
	if _, err := io.Copy(h, zeros()); err != nil {
		t.Fatal(err)
	}
	var gz, zs bytes.Buffer
	g, z := gzip.NewWriter(&gz), zstdWriter(t, &zs)
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := io.Copy(w, zeros()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, in := range map[string]io.Reader{"plain": zeros(), "gzip": &gz, "zstd": &zs} {
		var got []Record
		var err error
		cost := allocated(func() { got, err = readLines(io.MultiReader(in, strings.NewReader(""))) })
		if err != nil || len(got) != 1 || got[0].Cut == nil || got[0].Cut.Size != size || [32]byte(h.Sum(nil)) != got[0].Cut.SHA256 || len(got[0].Bytes) != maxKept {
			t.Fatalf("%s: %d lines, %v", name, len(got), err)
		}
		if cost > 32<<20 {
			t.Errorf("%s: %d MiB are allocated to read a line of %d MiB", name, cost>>20, size>>20)
		}
		t.Logf("%s: %.1f MiB allocated", name, float64(cost)/(1<<20))
	}
}

// zeroReader never ends.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func zstdWriter(t *testing.T, w io.Writer) io.WriteCloser {
	t.Helper()
	z, err := zstd.NewWriter(w)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// A compressed file's header that asks for gigabytes does not get them: it is an
// error that names the file, or it costs what its data needs.
func TestCompressedHeadersAskForLittle(t *testing.T) {
	for name, in := range map[string][]byte{
		"zstd, window of 128 MiB":          {0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 1, 0, 0},
		"zstd, window of 2 TiB":            {0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 1, 0, 0},
		"zstd, content of 2^63":            append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, bytes.Repeat([]byte{0x7f}, 8)...),
		"zstd, skippable frame of 4 GiB":   {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 1, 0, 0, 0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1},
		"gzip, extra field of 64 KiB":      {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1},
		"gzip, name without end":           append([]byte{0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{'x'}, 1<<16)...),
		"gzip, mark alone":                 {0x1f, 0x8b},
		"zstd, mark alone":                 {0x28, 0xb5, 0x2f, 0xfd},
		"gzip, whole, then something else": append(zipped("a\n"), "b\n"...),
	} {
		path := put(t, "in", in)
		cost := allocated(func() {
			got, err := collect(t, Files{Inputs: []string{path}})
			if err == nil && len(got) > 0 || err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %d records, error %v", name, len(got), err)
			}
			if strings.Contains(name, "something else") && err == nil {
				t.Errorf("%s: the rest is passed over in silence", name)
			}
		})
		t.Logf("%s: %.1f MiB", name, float64(cost)/(1<<20))
		if cost > maxWindow+32<<20 {
			t.Errorf("%s: %d bytes with %d MiB allocated", name, len(in), cost>>20)
		}
	}
}

// sink keeps nothing.
type sink struct{}

func (s *sink) TTL() time.Duration                                         { return 30 * 24 * time.Hour }
func (s *sink) PutLane(context.Context, afterhours.Hour, store.Lane) error { return nil }
func (s *sink) Append(context.Context, afterhours.Hour, string, afterhours.Micros, []store.Row) error {
	return nil
}
func (s *sink) DeclareType(context.Context, string) error                         { return nil }
func (s *sink) DeclareColumns(context.Context, string, []afterhours.Column) error { return nil }
func (s *sink) Types(context.Context, func(string) error) error                   { return nil }
func (s *sink) Mark(context.Context, ...afterhours.Hour) error                    { return nil }

// A sender with a type of its own for every event costs the memory of the types
// that its budget allows, however many it sends.
func TestMemoryIsBoundedByTheTypesAllowed(t *testing.T) {
	const each, allowed = 10_000, 1000
	live := func() uint64 {
		runtime.GC()
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	var after []uint64
	o := hostileOptions()
	o.NewTypes = allowed
	src := sourceFunc(func(ctx context.Context, put Put) error {
		for round := range 3 {
			for n := range each {
				n += round * each
				if err := put(ctx, hostile("topic", n, fmt.Sprint("type-", n), hostileNow, 10), func() {}); err != nil {
					return err
				}
			}
			after = append(after, live())
		}
		return nil
	})
	sum, err := Run(t.Context(), src, hostileMapping, New(&sink{}, &sink{}, o))
	if err != nil || sum.Written != allowed || sum.Quarantined != 3*each-allowed {
		t.Fatalf("%+v, %v", sum, err)
	}
	// What is in hand varies, by no more than InHand and what waits to be mapped.
	if last, first := after[2], after[0]; last > first+uint64(o.InHand)+pumpBytes {
		t.Errorf("%d MiB are live after %d types, %d MiB after %d", last>>20, 3*each, first>>20, each)
	}
	t.Logf("live after each %d types: %v", each, after)
}

// A file whose time is decades off, or none that can be printed, has its broken
// lines in quarantine all the same.
func TestFilesOfOtherDecades(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Date(1905, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)} {
		s, q := embedded(t)
		path := filepath.Join(t.TempDir(), "old")
		if err := os.WriteFile(path, []byte("broken\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(t.Context(), Files{Inputs: []string{path}}, hostileMapping, New(s, q, hostileOptions())); err != nil {
			t.Fatal(err)
		}
		if k := readAll(t, s); len(k.quarantined) != 1 {
			t.Errorf("a file of %s: %+v", at, k)
		}
	}
}

// What is in a pipe is read, from its first line on.
func TestPipesAreOpenedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(path, []byte("a\nb\n"), 0) }()
	got, err := collect(t, Files{Inputs: []string{path}})
	if err != nil || texts(got) != "1: a\n2: b\n" {
		t.Errorf("records are %q, error %v", texts(got), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// FuzzCompressed shows that compressed input of any kind ends, in an error or in
// lines, and asks for no more memory than the largest window.
func FuzzCompressed(f *testing.F) {
	f.Add(zipped("a\nb\n"), 3, byte(1))
	f.Add(zstded("a\nb\n"), 5, byte(0x80))
	f.Add(zstded(strings.Repeat("a", 1<<20)), 9, byte(4))
	f.Fuzz(func(t *testing.T, b []byte, at int, flip byte) {
		b = bytes.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= flip
		}
		cost := allocated(func() {
			l, err := newLines(bytes.NewReader(b))
			if err != nil {
				return
			}
			defer l.close()
			for n := 0; err == nil && n < 1000; n++ {
				_, _, err = l.next()
			}
		})
		if cost > 3*maxWindow+1000*afterhours.MaxPayload {
			t.Errorf("%d MiB are allocated for %d bytes", cost>>20, len(b))
		}
	})
}
