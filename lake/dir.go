package lake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
)

// tempName is the directory below the root for files that are not published
// yet. It is on the same file system, and readers skip it for its dot.
const tempName = ".tmp"

// leftover is how old a temporary file is when its writer is surely gone.
const leftover = 24 * time.Hour

// dir keeps objects in a directory.
type dir struct {
	root    string
	turn    sync.Mutex
	parents sync.Map // *parent of each directory above those of hours, by name
	closing sync.WaitGroup
}

// openDir opens file:///DIR and makes the directory if need be.
func openDir(u *url.URL, now time.Time) (string, objects, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return "", nil, fmt.Errorf("host %q, path %q: want file:///DIR with an absolute path", u.Host, u.Path)
	}
	if u.RawQuery != "" {
		return "", nil, fmt.Errorf("parameters %q: a directory has none", u.RawQuery)
	}
	d := &dir{root: filepath.Clean(u.Path)}
	if err := os.MkdirAll(d.temp(), 0o777); err != nil {
		return "", nil, fmt.Errorf("make directory: %w: choose one that can be written to", err)
	}
	if err := d.sweep(now); err != nil {
		return "", nil, fmt.Errorf("remove old temporary files: %w", err)
	}
	return (&url.URL{Scheme: "file", Path: d.root}).String(), d, nil
}

func (d *dir) temp() string { return filepath.Join(d.root, tempName) }

func (d *dir) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

// sweep removes what processes that died have left behind.
func (d *dir) sweep(now time.Time) error {
	files, err := os.ReadDir(d.temp())
	if err != nil {
		return err
	}
	for _, f := range files {
		st, err := f.Info()
		if err != nil || now.Sub(st.ModTime()) < leftover || f.Name() == lockName {
			continue // also if another process has removed it meanwhile
		}
		if err := os.Remove(filepath.Join(d.temp(), f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (d *dir) get(_ context.Context, key string) (*object, error) {
	// Without the flag, a pipe in the place of a file would be waited for.
	f, err := os.OpenFile(d.path(key), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENXIO): // links in a circle, a socket
		return nil, notRegular(d.path(key))
	case err != nil:
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(f.Name())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &object{file: f, size: st.Size(), version: dirVersion(st)}, nil
}

// notRegular says that something else is in the place of a partition.
func notRegular(path string) error {
	return refuse(fmt.Errorf("%s is no regular file: move it away", path))
}

// stat opens the file: while it is open, no other file can be the same inode.
func (d *dir) stat(ctx context.Context, key string) (*object, error) { return d.get(ctx, key) }

func (d *dir) tail(ctx context.Context, o Object, n int64) ([]byte, error) {
	f, err := d.get(ctx, o.Key)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, fmt.Errorf("%w: it was removed", ErrConflict)
	}
	defer f.file.Close()
	if f.version != o.Version {
		return nil, ErrConflict
	}
	b := make([]byte, n)
	_, err = f.file.ReadAt(b, o.Size-n)
	return b, err
}

// dirVersion tells versions of a file apart. Clocks of file systems are coarse,
// but two files that replace each other are different inodes.
func dirVersion(st fs.FileInfo) string {
	var inode uint64
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%x-%x-%x", st.ModTime().UnixNano(), st.Size(), inode)
}

// create makes a file that others may read once it is published, which those of
// os.CreateTemp are not.
func (d *dir) create() (*os.File, error) {
	name := filepath.Join(d.temp(), rand.Text())
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	return f, nil
}

func (d *dir) sync(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync temporary file: %w", err)
	}
	return nil
}

func (d *dir) put(ctx context.Context, key string, n *draft, base *object) (version string, err error) {
	f := n.file
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	target := d.path(key)
	var changed []*parent
	if base == nil {
		if changed, err = d.makeDirs(filepath.Dir(target)); err != nil {
			return "", fmt.Errorf("make directory: %w", err)
		}
	}
	if err := d.replace(target, f, base); err != nil {
		return "", err
	}
	// A crash before this leaves the old partition or the new one.
	var g errgroup.Group
	for _, p := range changed {
		g.Go(p.sync)
	}
	g.Go(func() error { return syncDir(filepath.Dir(target)) })
	if err := g.Wait(); err != nil {
		return "", err
	}
	for _, p := range changed {
		p.lasts.Store(true)
	}
	if base != nil {
		base.closing = &d.closing
	}
	return dirVersion(st), nil
}

// replace renames the file, if its target is still the base. The lock is held for
// that only, not while anything is synced.
func (d *dir) replace(target string, f *os.File, base *object) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := unchanged(target, base); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// unchanged returns ErrConflict unless the file is the one that base has open.
// While it is open, no other file can be the same inode.
func unchanged(target string, base *object) error {
	now, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		if base == nil {
			return nil
		}
		return fmt.Errorf("%w: it was removed", ErrConflict)
	}
	if err != nil {
		return err
	}
	if base == nil {
		return fmt.Errorf("%w: it was created", ErrConflict)
	}
	was, err := base.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(was, now) || base.size != now.Size() || base.version != dirVersion(now) {
		return ErrConflict
	}
	return nil
}

// makeDirs makes the directories down to leaf. It returns those that must be synced
// for these to last: the leaf's own, and those above that may not have been synced
// since they were made, by whomever.
func (d *dir) makeDirs(leaf string) (changed []*parent, err error) {
	// Most often only the leaf is missing.
	if os.Mkdir(leaf, 0o777) != nil {
		if err := os.MkdirAll(leaf, 0o777); err != nil {
			return nil, err
		}
	}
	for at := filepath.Dir(leaf); ; at = filepath.Dir(at) {
		p, _ := d.parents.LoadOrStore(at, &parent{name: at})
		changed = append(changed, p.(*parent))
		if p.(*parent).lasts.Load() || at == d.root {
			return changed, nil
		}
	}
}

// parent is a directory of directories.
type parent struct {
	name  string
	lasts atomic.Bool // outlasts a crash
	syncs shared
}

// sync has the entries last that were made before the call. The hours of a day are
// often published at the same time.
func (p *parent) sync() error { return p.syncs.do(func() error { return syncDir(p.name) }) }

// shared is work that one does for all who wait for it.
type shared struct {
	turn   sync.Mutex // of who works
	flight singleflight.Group
}

// do returns when work has been done that began after the call.
func (s *shared) do(work func() error) error {
	_, err, _ := s.flight.Do("", func() (any, error) {
		s.turn.Lock()
		defer s.turn.Unlock()
		s.flight.Forget("") // who comes from now on is too late for this one
		return nil, work()
	})
	return err
}

func syncDir(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync directory: %w", err), f.Close())
	}
	return f.Close()
}

const lockName = "lock"

// lock waits for the lake's lock, which excludes other goroutines as well as
// other processes, and is given back when its holder dies.
func (d *dir) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.temp(), lockName), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock lake: %w", err)
	}
	d.turn.Lock() // so that of the own goroutines no more than one waits in a system call
	if err := flock(f, syscall.LOCK_EX); err != nil {
		d.turn.Unlock()
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close(); d.turn.Unlock() }, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return os.NewSyscallError("lock lake: flock", err)
		}
	}
}

func (d *dir) list(ctx context.Context, visit func(Object) error) error {
	return filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist) && path != d.root:
			return nil // removed meanwhile
		case err != nil:
			return err
		case !e.Type().IsRegular():
			return nil
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		key, err := filepath.Rel(d.root, path)
		if err != nil {
			return err
		}
		return visit(Object{Key: filepath.ToSlash(key), Size: st.Size(), Modified: st.ModTime(), Version: dirVersion(st)})
	})
}

// prove shows that the lock excludes, and that a file can be written, synced and
// renamed.
func (d *dir) prove(context.Context) error {
	if err := d.proveLock(); err != nil {
		return err
	}
	f, err := d.create()
	if err != nil {
		return err
	}
	renamed := f.Name() + ".proof"
	defer os.Remove(renamed)
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString("proof"); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file: %w", err)
	}
	if err := os.Rename(f.Name(), renamed); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return syncDir(d.temp())
}

func (d *dir) proveLock() error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f, err := os.OpenFile(filepath.Join(d.temp(), lockName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return errors.New("locks do not exclude each other: use a file system with flock(2)")
	case syscall.EWOULDBLOCK:
		return nil
	default:
		return os.NewSyscallError("flock", err)
	}
}

func (d *dir) close() error {
	d.closing.Wait()
	return nil
}
