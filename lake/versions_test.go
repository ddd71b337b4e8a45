package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
)

// listed returns an hour's partition as the listing shows it.
func listed(t *testing.T, l *Lake, h afterhours.Hour) (found Object) {
	t.Helper()
	err := l.Hours(context.Background(), func(o Object) error {
		if o.Hour == h {
			found = o
		}
		return nil
	})
	if err != nil || found.Version == "" {
		t.Fatalf("listing shows %+v, %v", found, err)
	}
	return found
}

// mustPublish publishes rows.
func mustPublish(t *testing.T, l *Lake, o RewriteOptions, rows ...row) Result {
	t.Helper()
	res, err := rewrite(l, hour, o, rows...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// over rewrites a base that was read in another way than by Base.
func over(t *testing.T, l *Lake, b *Base, o RewriteOptions, rows ...row) (Result, error) {
	t.Helper()
	r, err := l.Rewrite(b, o)
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	for _, x := range rows {
		if err := x.addTo(r); err != nil {
			t.Fatal(err)
		}
	}
	return r.Publish(context.Background())
}

// A publish returns the version that the listing and the base show from then on,
// and the manifest is read from the footer alone, of that version and no other.
func TestResultNamesTheListedVersion(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		for n := range 3 {
			res := mustPublish(t, l, RewriteOptions{}, sample(hour, 10*(n+1))...)
			o := listed(t, l, hour)
			if res.Version != o.Version || res.Bytes != o.Size {
				t.Errorf("published version %q of %d bytes, listed %+v", res.Version, res.Bytes, o)
			}
			m, err := l.Manifest(context.Background(), o)
			if err != nil || fmt.Sprint(m) != fmt.Sprint(res.Manifest) {
				t.Errorf("manifest %+v, %v; want %+v", m, err, res.Manifest)
			}
			b, err := l.Base(context.Background(), hour)
			if err != nil {
				t.Fatal(err)
			}
			if b.Version() != res.Version || b.ManifestSize() != res.ManifestSize || res.ManifestSize < 100 {
				t.Errorf("base %q with a manifest of %d bytes, result %+v", b.Version(), b.ManifestSize(), res)
			}
			b.Close()
		}
	})
}

// A file that takes the place of another has another version, though it has the
// same size and the file system's clock has not moved.
func TestReplacedFileIsAnotherVersion(t *testing.T) {
	l := openDirTest(t)
	mustPublish(t, l, RewriteOptions{}, sample(hour, 3)...)
	was := listed(t, l, hour)
	path := l.objects.(*dir).path(keyOf(hour))
	if err := errors.Join(
		os.WriteFile(path+".new", objectBytes(t, l, keyOf(hour)), 0o666),
		os.Chtimes(path+".new", was.Modified, was.Modified),
		os.Rename(path+".new", path),
	); err != nil {
		t.Fatal(err)
	}
	now := listed(t, l, hour)
	if now.Size != was.Size || !now.Modified.Equal(was.Modified) || now.Version == was.Version {
		t.Errorf("listed %+v, was %+v", now, was)
	}
}

// The version is known after an upload in several requests as well.
func TestUploadInPartsNamesTheListedVersion(t *testing.T) {
	for name, size := range map[string]int{"s3": 20 << 20, "gcs": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			l := openTest(t, backends[name](t))
			version := ""
			for _, inParts := range []bool{false, true} { // create, then replace
				src := strings.NewReader(strings.Repeat("x", size))
				var err error
				version, err = l.objects.(*bucket).upload(context.Background(), keyOf(hour), src, int64(size), version, inParts)
				if o := listed(t, l, hour); err != nil || version != o.Version || o.Size != int64(size) {
					t.Fatalf("version %q, %v; listed %+v", version, err, o)
				}
			}
		})
	}
}

// To read a manifest costs one request for the end of the object.
func TestManifestReadsTheEndOnly(t *testing.T) {
	var requests []string
	l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		requests = append(requests, r.Method+" "+r.Header.Get("Range"))
		pass.ServeHTTP(w, r)
	}))
	mustPublish(t, l, RewriteOptions{}, benchRows(2000)...)
	o := listed(t, l, hour)
	requests = nil
	m, err := l.Manifest(context.Background(), o)
	if err != nil || m.Rows != 2000 {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	if want := fmt.Sprintf("GET bytes=%d-%d", o.Size-footerGuess, o.Size-1); o.Size < 2*footerGuess || !slices.Equal(requests, []string{want}) {
		t.Errorf("requests %q for an object of %d bytes, want %q", requests, o.Size, want)
	}
}

// Who reads the manifest of a listed version that is replaced or removed
// meanwhile hears of it, whatever the size of the new object.
func TestManifestOfAnotherVersionConflicts(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		ctx := context.Background()
		mustPublish(t, l, RewriteOptions{}, benchRows(2000)...)
		was := listed(t, l, hour)
		if was.Size <= footerGuess {
			t.Fatalf("%d bytes are too few for this test", was.Size)
		}
		mustConflict := func(what string) {
			t.Helper()
			if m, err := l.Manifest(ctx, was); !errors.Is(err, ErrConflict) {
				t.Errorf("manifest of a partition that was %s: %+v, %v; want a conflict", what, m, err)
			}
		}
		mustPublish(t, l, RewriteOptions{Force: true, Cause: "again"})
		mustConflict("replaced by a larger one")
		mustPublish(t, l, RewriteOptions{Rebuild: true, Discard: true})
		mustConflict("replaced by a smaller one")
		put(t, l, keyOf(hour), []byte("x"))
		mustConflict("replaced by one byte")
		remove(t, l, keyOf(hour))
		mustConflict("removed")
	})
}

// What was seen again and changes no row leaves the object alone: the same bytes
// and the same version.
func TestCopiesLeaveTheObjectAlone(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		rows := sample(hour, 50)
		first := mustPublish(t, l, RewriteOptions{}, rows...)
		before, was := objectBytes(t, l, keyOf(hour)), listed(t, l, hour)
		again := sample(hour, 50)
		slices.Reverse(again)
		for i := range again {
			again[i].id.Segment = afterhours.Segment{9}
			again[i].e.Received += afterhours.Micros(i % 2) // the same event, or sent once more
		}
		res := mustPublish(t, l, RewriteOptions{}, again...)
		if !res.Unchanged || res.Added != 50 || res.Duplicates != 50 || fmt.Sprint(res.Manifest) != fmt.Sprint(first.Manifest) ||
			res.Version != first.Version || res.Bytes != first.Bytes || res.ManifestSize != first.ManifestSize || res.RowsBefore != 50 {
			t.Errorf("result %+v after %+v", res, first)
		}
		if now := listed(t, l, hour); now != was || !bytes.Equal(before, objectBytes(t, l, keyOf(hour))) {
			t.Errorf("listed %+v, was %+v", now, was)
		}
	})
}

// A partition that cannot be read is replaced by a rebuild that discards it, if it
// is still the one that was looked at, and by nothing else.
func TestUnreadPartitionIsReplaced(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		ctx := context.Background()
		look := func() *Base {
			b, err := l.Unread(ctx, hour)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			return b
		}
		if b := look(); b.Version() != "" || b.Size() != 0 {
			t.Errorf("absent partition has version %q and %d bytes", b.Version(), b.Size())
		}
		put(t, l, keyOf(hour), []byte("damaged"))
		stale := look()
		put(t, l, keyOf(hour), []byte("damaged again"))
		b := look()
		if o := listed(t, l, hour); b.Version() != o.Version || b.Size() != o.Size || b.Manifest != nil {
			t.Errorf("base %+v has version %q and %d bytes, listed %+v", b, b.Version(), b.Size(), o)
		}
		for _, o := range []RewriteOptions{{}, {Force: true}, {Rebuild: true}, {Discard: true}, {NewLineage: true}} {
			if _, err := over(t, l, b, o, sample(hour, 3)...); !errors.Is(err, ErrNotCovered) {
				t.Errorf("rewrite %+v over what was not read: %v, want not covered", o, err)
			}
		}
		o := RewriteOptions{Rebuild: true, Discard: true, After: 7, Cause: "discard"}
		if _, err := over(t, l, stale, o, sample(hour, 3)...); !errors.Is(err, ErrConflict) {
			t.Errorf("rewrite of a stale version: %v, want a conflict", err)
		}
		res, err := over(t, l, b, o, sample(hour, 3)...)
		if err != nil || res.Manifest.Generation != 8 || res.Version != listed(t, l, hour).Version {
			t.Fatalf("result %+v, %v", res, err)
		}
		if rows, m := read(t, l, hour); len(rows) != 3 || len(m.History) != 1 || m.History[0].Cause != "discard" {
			t.Errorf("%d rows, manifest %+v", len(rows), m)
		}
	})
}

// An older version of a partition takes the place of the present one, readable or
// not, or of none: with a generation after both, the history, a lineage of its
// own, and without what either has erased.
func TestRestoreTakesThePlaceOfThePresent(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		rows := sample(hour, 20)
		mustPublish(t, l, RewriteOptions{Cause: "one"}, rows[:10]...)
		old := mustPublish(t, l, RewriteOptions{Cause: "two", Erase: []string{"event-1"}, Settled: 3}).Manifest
		path := save(t, objectBytes(t, l, keyOf(hour)))
		mustPublish(t, l, RewriteOptions{Cause: "three", Erase: []string{"event-2"}, Settled: 5}, rows[10:]...)

		b := restore(t, l, path)
		if b.Present == nil || b.Present.Generation != 3 || b.Manifest.Generation != 2 || b.Version() != listed(t, l, hour).Version {
			t.Fatalf("base %+v over %+v", b.Manifest, b.Present)
		}
		o := RewriteOptions{Cause: "restore", Noted: []NotedRows{{Segment: afterhours.Segment{8}}}}
		res, err := over(t, l, b, o)
		if err != nil {
			t.Fatal(err)
		}
		got, m := read(t, l, hour)
		if len(got) != 8 || m.Generation != 4 || m.Lineage == old.Lineage || m.Settled != 3 || m.Merged.Count() != 10 || m.Erased != 2 || len(m.ErasedIDs) != 2 {
			t.Errorf("%d rows, manifest %+v", len(got), m)
		}
		if causes(m) != "one two three restore" || res.Version != listed(t, l, hour).Version {
			t.Errorf("history %q, version %q", causes(m), res.Version)
		}
		if _, err := over(t, l, b, o); !errors.Is(err, ErrConflict) {
			t.Errorf("restored over what has changed since: %v, want a conflict", err)
		}

		put(t, l, keyOf(hour), []byte("damaged"))
		if b = restore(t, l, path); b.Present != nil || b.Size() != 7 {
			t.Errorf("damaged object of %d bytes has manifest %+v", b.Size(), b.Present)
		}
		if res, err = over(t, l, b, RewriteOptions{Cause: "restore", After: 9}); err != nil || res.Manifest.Generation != 10 || res.Manifest.Rows != 9 {
			t.Errorf("restored over a damaged object: %+v, %v", res, err)
		}
		remove(t, l, keyOf(hour))
		if res, err = over(t, l, restore(t, l, path), RewriteOptions{Cause: "restore"}); err != nil || res.Manifest.Generation != 3 {
			t.Errorf("restored where nothing was: %+v, %v", res, err)
		}
		remove(t, l, keyOf(hour))
		mustPublish(t, l, RewriteOptions{Erase: []string{"event-3"}}, rows[3:5]...)
		if res, err = over(t, l, restore(t, l, path), RewriteOptions{Cause: "restore"}); err != nil || res.Manifest.Rows != 8 || len(res.Manifest.ErasedIDs) != 2 {
			t.Errorf("restored what had other erasures: %+v, %v", res, err)
		}
	})
}

// save writes a file and returns its path.
func save(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.parquet")
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func restore(t *testing.T, l *Lake, path string) *Base {
	t.Helper()
	b, err := l.RestoreBase(context.Background(), hour, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func causes(m *Manifest) string {
	var all []string
	for _, p := range m.History {
		all = append(all, p.Cause)
	}
	return strings.Join(all, " ")
}
