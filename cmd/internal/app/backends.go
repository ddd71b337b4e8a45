package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/afterhours/afterhours/dirty"
	dirtykafka "github.com/afterhours/afterhours/dirty/kafka"
	dirtypebble "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
	storepebble "github.com/afterhours/afterhours/store/pebble"
)

// Backends are the three places a command works with. Lake is nil for commands
// that do not need it.
type Backends struct {
	Store store.Store
	Dirty dirty.Queue
	Lake  *lake.Lake
}

// Open opens the store and the queue.
func (g *Global) Open(ctx context.Context) (*Backends, error) {
	b := &Backends{}
	var err error
	if b.Store, err = g.openStore(ctx); err != nil {
		return nil, err
	}
	if b.Dirty, err = g.openDirty(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// OpenWithLake opens all three. With prove, the lake must first show that it
// honours conditional writes: no publish is safe without.
func (g *Global) OpenWithLake(ctx context.Context, tempDir string, prove bool) (*Backends, error) {
	b, err := g.Open(ctx)
	if err != nil {
		return nil, err
	}
	if b.Lake, err = lake.Open(ctx, g.lakeURL(), lake.Options{TempDir: tempDir, Logger: g.Logger}); err != nil {
		return nil, errors.Join(fmt.Errorf("--lake: %w", err), b.Close())
	}
	if !prove {
		return b, nil
	}
	if err := b.Lake.Prove(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("--lake: %w", err), b.Close())
	}
	return b, nil
}

// Close closes what is open.
func (b *Backends) Close() error {
	var errs []error
	if b.Lake != nil {
		errs = append(errs, b.Lake.Close())
	}
	if b.Dirty != nil {
		errs = append(errs, b.Dirty.Close())
	}
	if b.Store != nil {
		errs = append(errs, b.Store.Close())
	}
	return errors.Join(errs...)
}

func (g *Global) openStore(ctx context.Context) (store.Store, error) {
	switch p, err := g.place("--store", g.Store, "store"); {
	case err != nil:
		return nil, err
	case p.scheme == "cassandra":
		s, err := cassandra.Open(ctx, g.Store, g.Logger)
		if err != nil {
			return nil, fmt.Errorf("--store: %w", err)
		}
		return s, nil
	case p.scheme == "pebble":
		ttl, err := p.ttl("--store")
		if err != nil {
			return nil, err
		}
		s, err := storepebble.Open(p.dir, storepebble.Options{TTL: ttl, Logger: g.Logger})
		if err != nil {
			return nil, fmt.Errorf("--store: %w", err)
		}
		return s, nil
	default:
		return nil, unknownScheme("--store", p.scheme, "cassandra", "pebble")
	}
}

func (g *Global) openDirty(ctx context.Context) (dirty.Queue, error) {
	switch p, err := g.place("--dirty", g.Dirty, "dirty"); {
	case err != nil:
		return nil, err
	case p.scheme == "kafka":
		q, err := dirtykafka.Open(ctx, g.Dirty, g.Logger)
		if err != nil {
			return nil, fmt.Errorf("--dirty: %w", err)
		}
		return q, nil
	case p.scheme == "pebble":
		if err := p.know("--dirty"); err != nil {
			return nil, err
		}
		q, err := dirtypebble.Open(p.dir, dirtypebble.Options{Logger: g.Logger})
		if err != nil {
			return nil, fmt.Errorf("--dirty: %w", err)
		}
		return q, nil
	default:
		return nil, unknownScheme("--dirty", p.scheme, "kafka", "pebble")
	}
}

// place is where a backend is: the directory and the parameters are those of an
// embedded one.
type place struct {
	scheme string
	dir    string
	params url.Values
}

// place reads a backend's URL. None means embedded, below --data.
func (g *Global) place(flag, raw, name string) (place, error) {
	if raw == "" {
		return place{scheme: "pebble", dir: filepath.Join(g.Data, name)}, nil
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return place{}, Usagef("%s %q is not a URL, such as cassandra://host/keyspace or pebble:///dir", flag, raw)
	}
	if scheme != "pebble" {
		return place{scheme: scheme}, nil
	}
	dir, query, _ := strings.Cut(rest, "?")
	if dir == "" {
		return place{}, Usagef("%s %q names no directory: want pebble:///dir", flag, raw)
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return place{}, Usagef("%s %q: parameters: %w", flag, raw, err)
	}
	return place{scheme, dir, params}, nil
}

// know refuses parameters other than the known ones.
func (p place) know(flag string, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(p.params)) {
		if !slices.Contains(known, name) {
			return Usagef("%s: unknown parameter %q, have: %s", flag, name, cmp.Or(strings.Join(known, ", "), "none"))
		}
		if len(p.params[name]) > 1 {
			return Usagef("%s: parameter %s is given twice", flag, name)
		}
	}
	return nil
}

// ttl returns how long rows are to live, 0 if the URL does not say.
func (p place) ttl(flag string) (time.Duration, error) {
	if err := p.know(flag, "ttl"); err != nil || !p.params.Has("ttl") {
		return 0, err
	}
	text := p.params.Get("ttl")
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, Usagef("%s: ttl %q: want a positive duration, such as 720h", flag, text)
	}
	return d, nil
}

func unknownScheme(flag, scheme string, known ...string) error {
	return Usagef("%s: unknown scheme %q, want one of: %s", flag, scheme, strings.Join(known, ", "))
}

// lakeURL is the lake that is meant, as a URL.
func (g *Global) lakeURL() string {
	if g.Lake != "" {
		return g.Lake
	}
	dir, err := filepath.Abs(filepath.Join(g.Data, "lake"))
	if err != nil {
		dir = filepath.Join(g.Data, "lake")
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String()
}

var notInGroup = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Group returns the default consumer group of a lake. It is derived from the
// lake's URL, so that a staging lake cannot eat the marks of production's.
func Group(lakeURL string) string {
	sum := sha256.Sum256([]byte(lakeURL))
	return fmt.Sprintf("afterhours-%s-%x", strings.Trim(notInGroup.ReplaceAllString(lakeURL, "-"), "-"), sum[:4])
}
