package lake

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/afterhours/afterhours"
)

// RestoreBase returns a base whose rows and manifest are those of a local file, an
// older version of the hour's object, but which a publish puts in the place of
// the object that is there now, readable or not, or absent. The file must be of
// that hour and whole, else it is [ErrRefused].
//
// A rewrite of it begins a new lineage, with a generation after both, and keeps
// erased what either has erased. If Present is nil although there is an object,
// its erasures are not known: name those that are needed again.
func (l *Lake) RestoreBase(ctx context.Context, h afterhours.Hour, path string) (*Base, error) {
	b, err := l.restoreBase(ctx, h, path)
	if err != nil {
		return nil, fmt.Errorf("restore partition %s from %s: %w", h, path, err)
	}
	return b, nil
}

func (l *Lake) restoreBase(ctx context.Context, h afterhours.Hour, path string) (*Base, error) {
	b, err := l.Unread(ctx, h)
	if err != nil {
		return nil, err
	}
	if err := l.fill(ctx, b, path); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// fill reads the file into the base, and the manifest of the object that it is to
// replace.
func (l *Lake) fill(ctx context.Context, b *Base, path string) (err error) {
	if b.restored, err = os.Open(path); err != nil {
		return err
	}
	st, err := b.restored.Stat()
	if err != nil {
		return err
	}
	if b.partition, err = openPartition(b.restored, st.Size(), b.Hour); err != nil {
		return refuse(err)
	}
	b.Manifest = b.partition.manifest
	if err := b.Verify(); err != nil {
		return err
	}
	if b.object == nil {
		return nil
	}
	present := Object{Hour: b.Hour, Key: keyOf(b.Hour), Size: b.object.size, Version: b.object.version}
	if b.Present, err = l.footer(ctx, present); errors.Is(err, ErrRefused) {
		return nil
	}
	return err
}
