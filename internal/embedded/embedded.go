// Package embedded opens the Pebble databases of the backends that need no
// server: store/pebble and dirty/pebble.
//
// A database is a directory that one process at a time may have open. Its
// memory is bounded: 18 MiB for the block cache and two memtables together.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrClosed is the cause of calls that fail because the database was closed.
var ErrClosed = errors.New("embedded database is closed")

const (
	memTableSize = 8 << 20
	cacheSize    = 18 << 20 // Pebble takes what its two memtables hold at the time out of it
)

// formatKey holds the format of all other keys, one byte.
var formatKey = []byte("\x00format")

// DB is a database that may be closed while calls are under way: Pebble itself
// panics then. Between [DB.Begin] and its end function, the database is open.
type DB struct {
	*pebble.DB
	lock *pebble.Lock

	closing context.Context // ends, with ErrClosed, when Close is called
	close   context.CancelCauseFunc

	mu    sync.Mutex
	calls map[*context.CancelCauseFunc]bool // under way, and what ends their contexts
	idle  sync.WaitGroup                    // waits for the calls; mu orders Add before Wait
}

// Open opens the database in dir, and makes it if there is none. The role, such
// as "store", is what errors call it. A database of another format is refused.
func Open(dir, role string, format byte, log *slog.Logger) (*DB, error) {
	lock, err := lock(dir, role)
	if err != nil {
		return nil, err
	}
	p, err := pebble.Open(dir, options(lock, log.With("dir", dir)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded %s %s: %w", role, dir, err), lock.Close())
	}
	d := &DB{DB: p, lock: lock, calls: map[*context.CancelCauseFunc]bool{}}
	d.closing, d.close = context.WithCancelCause(context.Background())
	if err := d.checkFormat(format); err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded %s %s: %w", role, dir, err), d.Close())
	}
	return d, nil
}

// lock makes the directory and takes its lock.
func lock(dir, role string) (*pebble.Lock, error) {
	name, err := realName(dir)
	if err != nil {
		return nil, fmt.Errorf("open embedded %s: %w", role, err)
	}
	l, err := pebble.LockDirectory(name, vfs.Default)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("embedded %s %s is in use by another process (stop it, or use another --data directory)", role, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open embedded %s %s: %w", role, dir, err)
	}
	return l, nil
}

// realName makes the directory and returns its one name: within a process, locks
// are told apart by name.
func realName(dir string) (string, error) {
	if err := vfs.Default.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(name)
}

func options(lock *pebble.Lock, log *slog.Logger) *pebble.Options {
	return &pebble.Options{
		CacheSize:    cacheSize,
		MemTableSize: memTableSize,
		// Named, so that a newer Pebble does not make files an older build of
		// ours cannot read. This one tells a torn log from a damaged one.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		Lock:               lock,
		Logger:             logger{log},
	}
}

// checkFormat records the format in a new database, and compares it in an old.
func (d *DB) checkFormat(format byte) error {
	v, done, err := d.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return d.Set(formatKey, []byte{format}, pebble.Sync)
	}
	if err != nil {
		return err
	}
	defer done.Close()
	if len(v) != 1 || v[0] != format {
		return fmt.Errorf("its format is %x, this build knows %d (use the build that made it, or another --data directory)", v, format)
	}
	return nil
}

// Begin starts a call. The context it returns ends with ctx, or when the
// database is closed; context.Cause tells which. The caller must call end, and
// must not use the database after it.
func (d *DB) Begin(ctx context.Context) (_ context.Context, end func(), _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := context.Cause(d.closing); err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	d.calls[&cancel] = true
	d.idle.Add(1)
	return ctx, func() {
		cancel(nil)
		d.mu.Lock()
		delete(d.calls, &cancel)
		d.mu.Unlock()
		d.idle.Done()
	}, nil
}

// Lifetime returns a context that ends when the database is closed.
func (d *DB) Lifetime() context.Context { return d.closing }

// Close ends the calls under way, waits for them, and closes the database. To
// close again does nothing.
func (d *DB) Close() error {
	d.mu.Lock()
	closed := d.closing.Err() != nil
	d.close(ErrClosed)
	for cancel := range d.calls {
		(*cancel)(ErrClosed)
	}
	d.mu.Unlock()
	if closed {
		return nil
	}
	d.idle.Wait()
	return errors.Join(d.DB.Close(), d.lock.Close())
}
