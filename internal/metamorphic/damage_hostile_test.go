package metamorphic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/lake"
)

// harm is something that happens to a partition's file.
type harm struct {
	name string
	do   func(t *testing.T, path string, good []byte)
	says string // a part of the reason
}

// harms are all that a partition may be found as. other is another hour's.
func harms(other []byte) []harm {
	replace := func(change func(b []byte) []byte) func(*testing.T, string, []byte) {
		return func(t *testing.T, path string, good []byte) { write(t, path, change(slices.Clone(good))) }
	}
	flip := func(at func(n, seal int) int) func(*testing.T, string, []byte) {
		return replace(func(b []byte) []byte { b[at(len(b), sealAt(b))] ^= 0x10; return b })
	}
	instead := func(make func(path string) error) func(*testing.T, string, []byte) {
		return func(t *testing.T, path string, _ []byte) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := make(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []harm{
		{"empty", replace(func(b []byte) []byte { return nil }), "0 bytes"},
		{"a byte", replace(func(b []byte) []byte { return b[:1] }), "1 bytes"},
		{"truncated by a byte", replace(func(b []byte) []byte { return b[:len(b)-1] }), "it ends with"},
		{"truncated in the footer", replace(func(b []byte) []byte { return b[:len(b)-100] }), "it ends with"},
		{"truncated at the seal", replace(func(b []byte) []byte { return b[:sealAt(b)] }), "not a readable Parquet file"},
		{"truncated in a page", replace(func(b []byte) []byte { return b[:50] }), "not a readable Parquet file"},
		{"without its beginning", replace(func(b []byte) []byte { return b[10:] }), "damaged: the file begins with"},
		{"doubled", replace(func(b []byte) []byte { return append(b, b...) }), "damaged: "},
		{"zero", replace(func(b []byte) []byte { return make([]byte, len(b)) }), "it ends with"},
		{"flipped in the first mark", flip(func(n, seal int) int { return 1 }), "damaged: "},
		{"flipped in a page header", flip(func(n, seal int) int { return 8 }), "damaged: "},
		{"flipped in a page", flip(func(n, seal int) int { return seal / 2 }), "damaged: "},
		{"flipped in the page index", flip(func(n, seal int) int { return seal - 3 }), "damaged: "},
		{"flipped in the seal's mark", flip(func(n, seal int) int { return seal }), "without a seal"},
		{"flipped in the seal's sum", flip(func(n, seal int) int { return seal + 10 }), "damaged: the footer"},
		{"flipped in the footer", flip(func(n, seal int) int { return seal + sealSize + 5 }), "damaged: the footer"},
		{"flipped in the footer's length", flip(func(n, seal int) int { return n - 7 }), ""},
		{"flipped in the last mark", flip(func(n, seal int) int { return n - 1 }), "it ends with"},
		{"another hour's", replace(func([]byte) []byte { return other }), "partition says that it is of hour purchase/2026-11-20T11"},
		{"of a newer format", replace(reseal(`"format":1`, `"format":2`)), "format 2, this build reads up to 1"},
		{"with a member that is not known", replace(reseal(`"settled"`, `"Settled"`)), "Settled"},
		{"with another column", replace(reseal("amount", "Amount")), "optional int64 Amount"},
		{"another writer's", replace(func([]byte) []byte { return foreign() }), "not written by Afterhours"},
		{"no Parquet", replace(func([]byte) []byte { return []byte("id,time\n1,2\n") }), "it ends with"},
		{"a directory", instead(func(path string) error { return os.Mkdir(path, 0o777) }), "no regular file: move it away"},
		{"a pipe", instead(func(path string) error { return syscall.Mkfifo(path, 0o666) }), "no regular file: move it away"},
		{"a link to itself", instead(func(path string) error { return os.Symlink(filepath.Base(path), path) }), ""},
		{"a link to a device", instead(func(path string) error { return os.Symlink("/dev/zero", path) }), "no regular file: move it away"},
		{"a link to nothing", instead(func(path string) error { return os.Symlink("none", path) }), "vanished"},
		{"gone", instead(func(string) error { return nil }), "vanished"},
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// sealSize is how many bytes stand right before the footer: a mark and the footer's
// SHA-256.
const sealSize = 8 + sha256.Size

// sealAt returns where a partition's seal stands.
func sealAt(b []byte) int {
	return len(b) - 8 - int(binary.LittleEndian.Uint32(b[len(b)-8:])) - sealSize
}

// reseal changes a partition's footer to one of the same length, as another build
// might have written it.
func reseal(old, with string) func([]byte) []byte {
	return func(b []byte) []byte {
		at := sealAt(b)
		footer := bytes.Replace(b[at+sealSize:], []byte(old), []byte(with), 1)
		sum := sha256.Sum256(footer)
		return slices.Concat(b[:at+sealSize-len(sum)], sum[:], footer)
	}
}

// foreign is a file with a partition's columns that plain parquet-go has written.
func foreign() []byte {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[struct {
		ID string `parquet:"event_id"`
	}](&b)
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// purchase is an event as a line, in one of two hours.
func purchase(id string, hour int) record {
	d := draft{id: id, kind: "purchase", at: start + afterhours.Micros(hour)*3600e6, received: start + 7200e6}
	rec := d.record()
	rec.Source, rec.Position, rec.Time = "in", id, start.Time()
	return rec
}

// ways are how an hour that is stuck is made right again.
var ways = map[string]func(t *testing.T, s *site, h afterhours.Hour, path string, good []byte){
	"put back": func(t *testing.T, s *site, h afterhours.Hour, path string, good []byte) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		write(t, path, good)
	},
	"restored": func(t *testing.T, s *site, h afterhours.Hour, path string, good []byte) {
		moveAway(t, path)
		saved := filepath.Join(t.TempDir(), "saved.parquet")
		write(t, saved, good)
		if out := s.compactor(s.config()).Restore(context.Background(), s.queue, h, saved); out.Err != nil {
			t.Fatal(out.Err)
		}
	},
	"discarded": func(t *testing.T, s *site, h afterhours.Hour, path string, good []byte) {
		moveAway(t, path)
		if out := s.compactor(s.config()).Discard(context.Background(), h); out.Err != nil {
			t.Fatal(out.Err)
		}
	},
}

// moveAway does what the error says if something is no file.
func moveAway(t *testing.T, path string) {
	t.Helper()
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A partition that cannot be read is left as it is, byte for byte. Its hour is
// stuck, with the reason, and keeps its mark; the others go on. When it was put
// back, restored or discarded, the hour has every event again.
func TestDamagedPartitionsStopTheirHourOnly(t *testing.T) {
	var other []byte
	for i, h := range harms(nil) {
		for way := range ways {
			if i%len(ways) != 0 && way != "put back" && !strings.HasPrefix(h.name, "a ") {
				continue // one way of each kind will do
			}
			t.Run(h.name+", "+way, func(t *testing.T) {
				s := embeddedSite(t, start.Time().Add(100*time.Hour))
				keep(t, s, purchase("a", 0), purchase("b", 0), purchase("c", 1))
				if _, err := s.drain(s.compactor(s.config()), group, compact.Limits{}); err != nil {
					t.Fatal(err)
				}
				hour, next := purchase("", 0).event.Hour(), purchase("", 1).event.Hour()
				path := s.path(t, hour)
				good := contents(t, path)
				other = contents(t, s.path(t, next))
				harms(other)[i].do(t, path, good)
				checkStuck(t, s, hour, next, path, h.says)
				ways[way](t, s, hour, path, good)
				if _, err := s.drain(s.compactor(s.config()), group, compact.Limits{}); err != nil {
					t.Fatal(err)
				}
				wantEvents(t, s, hour, "a b d")
				wantEvents(t, s, next, "c e")
				if stuck, err := s.store.Board(s.lake.URL()).StuckHours(context.Background()); err != nil || len(stuck) > 0 {
					t.Errorf("still stuck: %v, %v", stuck, err)
				}
			})
		}
	}
}

// checkStuck brings both hours an event and checks what becomes of them.
func checkStuck(t *testing.T, s *site, hour, next afterhours.Hour, path, says string) {
	t.Helper()
	before := fingerprint(t, path)
	keep(t, s, purchase("d", 0), purchase("e", 1))
	if sum, err := s.drain(s.compactor(s.config()), group, compact.Limits{}); err == nil || sum.Failed != 1 || sum.Rewritten != 1 {
		t.Errorf("drained as %+v, %v; want one hour of two", sum, err)
	}
	wantEvents(t, s, next, "c e")
	if after := fingerprint(t, path); after != before {
		t.Errorf("it was %s and is %s", before, after)
	}
	stuck, err := s.store.Board(s.lake.URL()).StuckHours(context.Background())
	if err != nil || len(stuck) != 1 || stuck[0].Hour != hour || !strings.Contains(stuck[0].Reason, says) || !strings.Contains(stuck[0].Reason, hour.String()) {
		t.Errorf("stuck are %v, %v; want %s for %q", stuck, err, hour, says)
	}
	marks, err := s.queue.Pending(context.Background(), group)
	if err != nil || len(marks) != 1 || marks[0].Hour != hour {
		t.Errorf("marked are %v, %v; want %s", marks, err, hour)
	}
	found := false
	_, err = s.compactor(s.config()).Verify(context.Background(), s.queue, func(v compact.Verified) error {
		if v.Hour == hour {
			found = v.Problem != ""
		}
		return nil
	})
	if err != nil || !found {
		t.Errorf("verification finds nothing, %v", err)
	}
}

// keep ingests records.
func keep(t *testing.T, s *site, records ...record) {
	t.Helper()
	if _, err := s.ingest(feed(records, -1, nil), ingest.Options{}); err != nil {
		t.Fatal(err)
	}
}

// path returns the file of an hour's partition.
func (s *site) path(t *testing.T, h afterhours.Hour) (path string) {
	t.Helper()
	root := strings.TrimPrefix(s.lake.URL(), "file://")
	err := s.lake.Hours(context.Background(), func(o lake.Object) error {
		if o.Hour == h {
			path = filepath.Join(root, o.Key)
		}
		return nil
	})
	if err != nil || path == "" {
		t.Fatalf("no partition of hour %s: %v", h, err)
	}
	return path
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fingerprint says what is at a path, without following links.
func fingerprint(t *testing.T, path string) string {
	t.Helper()
	st, err := os.Lstat(path)
	switch {
	case os.IsNotExist(err):
		return "nothing"
	case err != nil:
		t.Fatal(err)
	case st.Mode().IsRegular():
		return fmt.Sprintf("file %x", sha256.Sum256(contents(t, path)))
	case st.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return fmt.Sprint("link to ", to, err)
	}
	return st.Mode().String()
}

// wantEvents checks which events an hour has.
func wantEvents(t *testing.T, s *site, h afterhours.Hour, want string) {
	t.Helper()
	b, err := s.lake.Base(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var ids []string
	if err := b.Rows(func(c afterhours.Copies) error { ids = append(ids, c.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("hour %s has the events %q, want %q", h, got, want)
	}
}
