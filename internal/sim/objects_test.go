package sim

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
)

// objectStore is what the lake's store holds, by key.
type objectStore struct {
	objects map[string]*versions
	files   int // made so far
	made    int // versions made so far
}

// versions are all versions that an object ever had.
type versions struct {
	all []*version
	now *version // nil: it was removed
}

// version is one version of an object, kept in a file that never changes.
type version struct {
	name string
	file string
	size int64
}

// objects is the store of the lake as one process sees it.
type objects struct{ p *process }

var _ lake.Objects = &objects{}

func (s *objectStore) current(key string) *version {
	if o := s.objects[key]; o != nil {
		return o.now
	}
	return nil
}

// open opens a version for a reader of its own.
func (v *version) open() (*lake.Stored, error) {
	f, err := os.Open(v.file)
	if err != nil {
		return nil, err
	}
	return &lake.Stored{File: f, Size: v.size, Version: v.name}, nil
}

func (o *objects) Get(ctx context.Context, key string) (*lake.Stored, error) {
	var v *version
	err := o.p.call(ctx, &op{kind: "get", key: key, do: func() error {
		v = o.p.world.lake.current(key)
		return nil
	}})
	if err != nil || v == nil {
		return nil, err
	}
	return v.open()
}

func (o *objects) Stat(ctx context.Context, key string) (*lake.Stored, error) {
	var s *lake.Stored
	err := o.p.call(ctx, &op{kind: "stat", key: key, do: func() error {
		if v := o.p.world.lake.current(key); v != nil {
			s = &lake.Stored{Size: v.size, Version: v.name}
		}
		return nil
	}})
	return s, err
}

func (o *objects) Tail(ctx context.Context, x lake.Object, n int64) ([]byte, error) {
	var v *version
	err := o.p.call(ctx, &op{kind: "tail", key: x.Key, do: func() error {
		if v = o.p.world.lake.current(x.Key); v == nil || v.name != x.Version {
			return lake.ErrConflict
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	s, err := v.open()
	if err != nil {
		return nil, err
	}
	defer s.File.Close()
	b := make([]byte, n)
	_, err = io.ReadFull(io.NewSectionReader(s.File, s.Size-n, n), b)
	return b, err
}

// path names a new file.
func (w *world) path() string {
	w.lake.files++
	return filepath.Join(w.dir, fmt.Sprint(w.lake.files))
}

func (o *objects) Create() (*os.File, error) {
	w := o.p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return os.Create(w.path())
}

// Put takes the file away before it asks: what was sent may arrive after its
// sender has given up.
func (o *objects) Put(ctx context.Context, key string, f *os.File, base string) (string, error) {
	w := o.p.world
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	file := w.path()
	w.mu.Unlock()
	if err := os.Rename(f.Name(), file); err != nil {
		return "", err
	}
	var name string
	err = o.p.call(ctx, &op{kind: "put", key: key, write: true, do: func() error {
		var had string
		if v := w.lake.current(key); v != nil {
			had = v.name
		}
		if had != base {
			w.stats.count("lost publishes", 1)
			return lake.ErrConflict
		}
		name = w.replace(key, file, st.Size()).name
		if h := hourOfKey(key); w.seen.parts[h] != nil && !o.p.serves(h) {
			w.seen.parts[h].stray = true
		}
		return nil
	}})
	return name, err
}

func versionName(n int) string { return fmt.Sprint("v", n) }

// replace makes a file the object, and looks at it.
func (w *world) replace(key, file string, size int64) *version {
	o := w.lake.objects[key]
	if o == nil {
		o = &versions{}
		w.lake.objects[key] = o
	}
	w.lake.made++
	v := &version{name: versionName(w.lake.made), file: file, size: size}
	was := o.now
	o.all, o.now = append(o.all, v), v
	w.seen.published(key, was, v)
	w.stats.count("publishes", 1)
	return v
}

func (o *objects) List(ctx context.Context, visit func(lake.Object) error) error {
	w, at := o.p.world, ""
	for {
		var next *lake.Object
		err := o.p.call(ctx, &op{kind: "list", do: func() error {
			for _, key := range slices.Sorted(maps.Keys(w.lake.objects)) {
				if v := w.lake.current(key); v != nil && key > at {
					next = &lake.Object{Key: key, Size: v.size, Modified: time.UnixMicro(0), Version: v.name}
					return nil
				}
			}
			return nil
		}})
		if err != nil || next == nil {
			return err
		}
		if err := visit(*next); err != nil {
			return err
		}
		at = next.Key
	}
}

// hourOfKey reads the hour from an object's key. The simulated types need no
// escaping.
func hourOfKey(key string) afterhours.Hour {
	var eventType, day, hour string
	for part := range strings.SplitSeq(key, "/") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "event_type":
			eventType = value
		case "dt":
			day = value
		case "hour":
			hour = value
		}
	}
	h, err := afterhours.ParseSpan(eventType, day+"T"+hour)
	if err != nil {
		panic(err)
	}
	return h
}
