package lake

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/afterhours/afterhours"
)

// Base is what the lake held of an hour when it was read: the partition that a
// rewrite starts from and replaces. It does not change when somebody publishes, but
// from then on what was not read of an object in a bucket is [ErrConflict]. It is for
// one goroutine at a time.
type Base struct {
	Hour     afterhours.Hour
	Manifest *Manifest // nil: the hour has no partition yet, or it was not read

	// Present is the manifest of the object that a restored base will replace,
	// nil if there is none or this build cannot read it.
	Present *Manifest

	object    *object  // what a publish replaces, nil if there is none
	restored  *os.File // where the partition lies if it is not the object
	partition *partition
}

// Base reads the footer of an hour's partition, if there is one. All that is read
// later is of the same version, and under the same context, which must live as long
// as the base. A partition that this build must not rewrite is [ErrRefused]. Close
// the base to give its file back.
func (l *Lake) Base(ctx context.Context, h afterhours.Hour) (*Base, error) {
	b, err := l.base(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("read partition %s: %w", h, err)
	}
	return b, nil
}

func (l *Lake) base(ctx context.Context, h afterhours.Hour) (*Base, error) {
	b := &Base{Hour: h}
	o, err := l.objects.get(ctx, keyOf(h))
	if err != nil || o == nil {
		return b, err
	}
	b.object = o
	b.partition, err = openPartition(o.reader(), o.size, h)
	if err != nil {
		return nil, errors.Join(refuse(err), o.close())
	}
	b.Manifest = b.partition.manifest
	return b, nil
}

// FirstBase returns the base of an hour that has no partition, as far as the caller
// knows: nothing is read. If it has one, publishing is an [ErrConflict].
func (l *Lake) FirstBase(h afterhours.Hour) *Base { return &Base{Hour: h} }

// Unread returns an hour's base by its version alone, whatever the object holds:
// what is needed to replace a partition that cannot be read. A rewrite of it must
// rebuild and discard.
func (l *Lake) Unread(ctx context.Context, h afterhours.Hour) (*Base, error) {
	o, err := l.objects.stat(ctx, keyOf(h))
	if err != nil {
		return nil, fmt.Errorf("look at partition %s: %w", h, err)
	}
	return &Base{Hour: h, object: o}, nil
}

// refuse makes an error an ErrRefused, unless the rewrite itself caused it, or
// nobody knows what the object holds.
func refuse(err error) error {
	var s stopped
	var u unreached
	if err == nil || errors.As(err, &s) || errors.As(err, &u) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

// Size returns the size of the object in bytes, 0 if there is none.
func (b *Base) Size() int64 {
	if b.object == nil {
		return 0
	}
	return b.object.size
}

// Version returns what names this version of the object, "" if there is none.
func (b *Base) Version() string {
	if b.object == nil {
		return ""
	}
	return b.object.version
}

// ManifestSize returns the size of the manifest's text in bytes, 0 if there is
// none.
func (b *Base) ManifestSize() int64 {
	if b.partition == nil {
		return 0
	}
	return b.partition.manifestSize
}

// Rows visits every row in the order of the partition. Only when it returned nil
// were all rows visited. The rows belong to the visitor; its error is returned as
// it is.
func (b *Base) Rows(visit func(afterhours.Copies) error) error {
	if b.partition == nil {
		return nil
	}
	return b.visited("rows", b.partition.rows(func(r *record) error { return visit(r.copies(b.Hour.Type)) }))
}

// IDs is Rows for the event IDs alone: payloads are not read.
func (b *Base) IDs(visit func(id string) error) error {
	if b.partition == nil {
		return nil
	}
	return b.visited("event IDs", b.partition.allIDs(func(_ int, id []byte) error { return visit(string(id)) }))
}

// visited returns what became of a visit to all rows.
func (b *Base) visited(what string, err error) error {
	var s stopped
	if errors.As(err, &s) {
		return s.error
	}
	if err != nil {
		return fmt.Errorf("read %s of partition %s: %w", what, b.Hour, refuse(err))
	}
	return nil
}

// Verify decodes the whole partition and compares it with its manifest: the
// number of rows and the books, the order, that event IDs are unique, and the
// checksums of all pages. What is found wrong is [ErrRefused]; any other error says
// nothing about the partition.
func (b *Base) Verify() error {
	if b.partition == nil {
		return nil
	}
	err := b.partition.auditAll()
	var u unreached
	if errors.As(err, &u) {
		return fmt.Errorf("verify partition %s: %w", b.Hour, err)
	}
	if err != nil {
		return fmt.Errorf("verify partition %s: %w: %w", b.Hour, ErrRefused, err)
	}
	return nil
}

// Close gives the file back.
func (b *Base) Close() error {
	var errs []error
	if b.object != nil {
		errs = append(errs, b.object.close())
	}
	if b.restored != nil {
		errs = append(errs, b.restored.Close())
	}
	return errors.Join(errs...)
}
