package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
)

// backends are the kinds of lakes; each URL is of an empty one.
var backends = map[string]func(testing.TB) string{
	"dir": func(tb testing.TB) string { return "file://" + tb.TempDir() },
	"s3":  func(tb testing.TB) string { return withPrefix(testenv.S3(tb)) },
	"gcs": func(tb testing.TB) string { return withPrefix(testenv.GCS(tb)) },
}

func withPrefix(bucket string) string {
	name, query, _ := strings.Cut(bucket, "?")
	return name + "/some/prefix?" + query
}

func eachBackend(t *testing.T, test func(t *testing.T, l *Lake)) {
	for name, url := range backends {
		t.Run(name, func(t *testing.T) { test(t, openTest(t, url(t))) })
	}
}

// sample returns n events of an hour, of three users, with payloads of some size.
func sample(h afterhours.Hour, n int) []row {
	var seg afterhours.Segment
	rows := make([]row, n)
	for i := range rows {
		payload := fmt.Sprintf(`{"user_id":"u%d","amount":%d,"text":%q}`, i%3, i, strings.Repeat("x", 100))
		at := h.Start + afterhours.Micros(i%3600*1e6)
		rows[i] = row{
			afterhours.RowID{Segment: seg, Seq: uint32(i)},
			afterhours.Event{ID: fmt.Sprintf("event-%d", i), Type: h.Type, Time: at, Received: at + 5, Payload: []byte(payload)},
		}
	}
	return rows
}

// What was published is read back, listed, and replaced only by a rewrite that
// started from it.
func TestPublishReadReplace(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		if err := l.Prove(context.Background()); err != nil {
			t.Fatal(err)
		}
		other, _ := afterhours.ParseHour("weird type = ü/%/2026-11-21T00")
		for _, h := range []afterhours.Hour{hour, other} {
			first, err := rewrite(l, h, RewriteOptions{}, sample(h, 10)...)
			if err != nil {
				t.Fatal(err)
			}
			second, err := rewrite(l, h, RewriteOptions{}, sample(h, 25)...)
			if err != nil {
				t.Fatal(err)
			}
			if first.Added != 10 || second.Added != 15 || second.RowsBefore != 10 || second.Manifest.Rows != 25 || second.Manifest.Generation != 2 || second.Manifest.Lineage != first.Manifest.Lineage {
				t.Errorf("first %+v, second %+v", first, second)
			}
			if rows, m := read(t, l, h); len(rows) != 25 || m.Rows != 25 {
				t.Errorf("%d rows, manifest %+v", len(rows), m)
			}
		}
		var hours []afterhours.Hour
		err := l.Hours(context.Background(), func(o Object) error {
			b, err := l.Base(context.Background(), o.Hour)
			if err != nil {
				return err
			}
			defer b.Close()
			if o.Size != b.Size() || o.Version != b.Version() || o.Modified.IsZero() || o.Key != keyOf(o.Hour) {
				t.Errorf("listed %+v, base has %d bytes, version %q", o, b.Size(), b.Version())
			}
			hours = append(hours, o.Hour)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(hours, afterhours.Hour.Compare)
		if !slices.Equal(hours, []afterhours.Hour{hour, other}) {
			t.Errorf("listed hours %v: only partitions, and all of them, are wanted", hours)
		}
	})
}

// Of rewrites that start from the same base one wins, and the others lose
// nothing by starting again.
func TestRacingRewritersLoseNothing(t *testing.T) {
	const writers, each = 8, 3
	eachBackend(t, func(t *testing.T, l *Lake) {
		var wg sync.WaitGroup
		var conflicts sync.Map
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					e := afterhours.Event{ID: fmt.Sprintf("%d-%d", w, i), Type: hour.Type, Time: hour.Start, Received: hour.Start}
					r := row{afterhours.RowID{Segment: afterhours.Segment{byte(w)}, Seq: uint32(i)}, e}
					for try := 0; ; try++ {
						_, err := rewrite(l, hour, RewriteOptions{}, r)
						if err == nil {
							break
						}
						if !errors.Is(err, ErrConflict) {
							t.Error(err)
							return
						}
						conflicts.Store([3]int{w, i, try}, true)
					}
				}
			})
		}
		wg.Wait()
		rows, m := read(t, l, hour)
		if len(rows) != writers*each || m.Generation != writers*each {
			t.Errorf("%d rows after %d publishes, want %d of both", len(rows), m.Generation, writers*each)
		}
		n := 0
		conflicts.Range(func(any, any) bool { n++; return true })
		t.Logf("%d publishes lost and started again", n)
	})
}

// A rewrite whose base was replaced, created or removed meanwhile is a conflict,
// and leaves the object as it is.
func TestPublishFromStaleBaseConflicts(t *testing.T) {
	eachBackend(t, func(t *testing.T, l *Lake) {
		ctx := context.Background()
		begin := func() *Rewrite {
			b, err := l.Base(ctx, hour)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			r, err := l.Rewrite(b, RewriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close() })
			x := sample(hour, 20)[19]
			if err := x.addTo(r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		mustConflict := func(what string, r *Rewrite) {
			if _, err := r.Publish(ctx); !errors.Is(err, ErrConflict) {
				t.Errorf("publish over a partition that was %s: %v, want a conflict", what, err)
			}
		}
		onNothing := begin()
		if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 5)...); err != nil {
			t.Fatal(err)
		}
		mustConflict("created", onNothing)
		onFirst := begin()
		if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 6)...); err != nil {
			t.Fatal(err)
		}
		mustConflict("replaced", onFirst)
		if rows, _ := read(t, l, hour); len(rows) != 6 {
			t.Errorf("%d rows, want the 6 of the winner", len(rows))
		}
		onSecond := begin()
		remove(t, l, keyOf(hour))
		mustConflict("removed", onSecond)
		if b, err := l.Base(ctx, hour); err != nil || b.Manifest != nil {
			t.Errorf("base after removal: %+v, %v; want none", b, err)
		}
	})
}

func remove(t *testing.T, l *Lake, key string) {
	t.Helper()
	var err error
	switch o := l.objects.(type) {
	case *dir:
		err = os.Remove(o.path(key))
	case *bucket:
		err = o.Delete(context.Background(), o.prefix+key)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// put replaces an object behind the lake's back.
func put(t *testing.T, l *Lake, key string, content []byte) {
	t.Helper()
	var err error
	switch o := l.objects.(type) {
	case *dir:
		path := o.path(key)
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, content, 0o666))
	case *bucket:
		err = o.WriteAll(context.Background(), o.prefix+key, content, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An upload whose source ends early, or fails, in one request or in several,
// publishes nothing.
func TestBrokenUploadPublishesNothing(t *testing.T) {
	for name, several := range map[string]int{"s3": 24 << 20, "gcs": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			b := openTest(t, backends[name](t)).objects.(*bucket)
			broken := errors.New("disk is broken")
			for _, size := range []int{10, several} {
				half := func() io.Reader { return strings.NewReader(strings.Repeat("x", size/2)) }
				for what, src := range map[string]io.Reader{"short": half(), "failing": io.MultiReader(half(), failing{broken})} {
					key := fmt.Sprintf("%s-%d", what, size)
					if _, err := b.upload(context.Background(), key, src, int64(size), "", size > 10); err == nil {
						t.Errorf("%s: no error", key)
					}
					if o, err := b.get(context.Background(), key); o != nil || err != nil {
						t.Errorf("%s: object %+v, error %v; want neither", key, o, err)
					}
				}
			}
		})
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }
