package pebble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// put writes one key, synced, as JSON.
func (s *Store) put(ctx context.Context, key []byte, v any) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.db.Set(key, b, pebble.Sync)
}

// putExpiring writes the keys of one batch. What can expire is written by it, so
// that the sweeper does not delete what is just being written again. Without sync
// the batch is on disk as soon as a later one is.
func (s *Store) putExpiring(ctx context.Context, sync *pebble.WriteOptions, fill func(b *pebble.Batch) error) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	b := s.db.NewBatch()
	defer b.Close()
	if err := fill(b); err != nil || b.Empty() {
		return err
	}
	s.expiring.RLock()
	if !sync.Sync {
		defer s.expiring.RUnlock()
		return s.db.Apply(b, sync)
	}
	err = s.db.ApplyNoSyncWait(b, sync)
	s.expiring.RUnlock()
	if err != nil {
		return err
	}
	return b.SyncWait()
}

// remove deletes one key, synced.
func (s *Store) remove(ctx context.Context, key []byte) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.db.Delete(key, pebble.Sync)
}

// get reads the JSON value of one key, and false if there is none.
func get[T any](ctx context.Context, s *Store, key []byte) (v T, ok bool, err error) {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return v, false, err
	}
	defer end()
	err = s.value(key, func(value []byte) error {
		ok = true
		v, err = decode[T](key, value)
		return err
	})
	return v, ok, err
}

// value shows the value of one key to read, if there is one.
func (s *Store) value(key []byte, read func(value []byte) error) error {
	value, done, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(read(value), done.Close())
}

func decode[T any](key, value []byte) (v T, err error) {
	if err := json.Unmarshal(value, &v); err != nil {
		return v, fmt.Errorf("decode value of key %q: %w", key, err)
	}
	return v, nil
}

// setJSON adds a key with the JSON of its value to a batch.
func setJSON(b *pebble.Batch, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Set(key, value, nil)
}

// each visits the keys that begin with prefix, in order, with their JSON values.
func each[T any](ctx context.Context, s *Store, prefix []byte, visit func(v T) error) error {
	return s.scan(ctx, prefix, after(prefix), func(key, value []byte) ([]byte, error) {
		v, err := decode[T](key, value)
		if err != nil {
			return nil, err
		}
		return nil, visit(v)
	})
}

// all returns what each visits.
func all[T any](ctx context.Context, s *Store, prefix []byte) ([]T, error) {
	var vs []T
	err := each(ctx, s, prefix, func(v T) error {
		vs = append(vs, v)
		return nil
	})
	return vs, err
}

// scan visits the keys from lower up to, not with, upper, in order. The visitor
// may return a later key to go on from instead of the next; key and value are its
// own only until it returns. Only when scan returned nil was no key left.
func (s *Store) scan(ctx context.Context, lower, upper []byte, visit func(key, value []byte) (seek []byte, err error)) (err error) {
	ctx, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() {
		if e := it.Close(); err == nil { // the visitor's error is returned as it is
			err = e
		}
	}()
	for ok := it.First(); ok; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		seek, err := visit(it.Key(), value)
		switch {
		case err != nil:
			return err
		case seek != nil:
			ok = it.SeekGE(seek)
		default:
			ok = it.Next()
		}
	}
	return it.Error()
}
