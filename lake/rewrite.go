package lake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/afterhours/afterhours"
)

// defaultMemory is a rewrite's budget if none is given.
const defaultMemory = 512 << 20

// RewriteOptions are what a rewrite needs besides the base and the rows.
type RewriteOptions struct {
	Columns []afterhours.Column // declared for the event type: the base's, and perhaps more
	Memory  int64               // budget for rows in bytes; 512 MiB if 0
	Rebuild bool                // take no rows of the base: all are added again
	Cause   string              // for the history
}

// Rewrite makes an hour's next partition. It is for one goroutine at a time.
type Rewrite struct {
	lake   *Lake
	base   *Base
	opt    RewriteOptions
	layout *layout
	seed   maphash.Seed

	added  afterhours.RowSet
	newIDs *idSet  // of the rows added
	byID   *sorter // rows added, and those of the base that they may be copies of
	key    []byte
	body   []byte
	files  []*os.File
}

// Rewrite begins to rewrite the partition that b is. It is [ErrRefused] if the
// base has a column that is not declared, or is declared otherwise, and
// [ErrNotCovered] if a rebuild could never cover it. The base must stay open.
func (l *Lake) Rewrite(b *Base, o RewriteOptions) (*Rewrite, error) {
	r, err := l.newRewrite(b, o)
	if err != nil {
		return nil, fmt.Errorf("rewrite partition %s: %w", b.Hour, err)
	}
	return r, nil
}

func (l *Lake) newRewrite(b *Base, o RewriteOptions) (*Rewrite, error) {
	o.Columns = slices.SortedFunc(slices.Values(o.Columns), func(a, b afterhours.Column) int {
		return strings.Compare(a.Name, b.Name)
	})
	if err := validateColumns(o.Columns); err != nil {
		return nil, err
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if m := b.Manifest; m != nil {
		for _, c := range m.Columns {
			if !slices.Contains(o.Columns, c) {
				return nil, fmt.Errorf("%w: its column %s is not declared like this; declared are %v", ErrRefused, c, o.Columns)
			}
		}
		if o.Rebuild && !coverable(m) {
			return nil, fmt.Errorf("%w: some of its rows cannot be read again", ErrNotCovered)
		}
	}
	layout, err := newLayout(o.Columns)
	if err != nil {
		return nil, err
	}
	r := &Rewrite{lake: l, base: b, opt: o, layout: layout, seed: maphash.MakeSeed(), added: afterhours.RowSet{}}
	r.newIDs = newIDSet(r.seed)
	// Two sorters exist at a time, unless the first is empty of memory.
	r.byID = &sorter{limit: o.Memory / 2, create: r.temp}
	return r, nil
}

// coverable reports whether a set of rows can show that it is all that m was
// made of.
func coverable(m *Manifest) bool {
	return m.Pruned == 0 && m.Erased == 0 && m.Seen == m.Merged.Count()
}

// Add takes a raw row that was read. The manifest will record exactly the rows
// added, besides the base's, as merged. A row that is merged already changes
// nothing. An event that is invalid or of another hour is an error: it must not
// be published here.
func (r *Rewrite) Add(id afterhours.RowID, e afterhours.Event) error {
	if err := e.Validate(); err != nil {
		return fmt.Errorf("add event %q to partition %s: %w", e.ID, r.base.Hour, err)
	}
	if e.Type != r.base.Hour.Type || !r.base.Hour.Contains(e.Time) {
		return fmt.Errorf("add event %q to partition %s: it is of hour %s", e.ID, r.base.Hour, e.Hour())
	}
	if r.merged().Has(id) || r.added.Has(id) {
		return nil
	}
	rec := record{id: []byte(e.ID), time: e.Time, received: e.Received, payload: e.Payload}
	if err := r.sortByID(&rec, 0); err != nil {
		return fmt.Errorf("add event %q to partition %s: %w", e.ID, r.base.Hour, err)
	}
	r.newIDs.add(rec.id)
	r.added.Add(id)
	return nil
}

// merged returns the raw rows that the new partition has of its base.
func (r *Rewrite) merged() afterhours.RowSet {
	if r.base.Manifest == nil || r.opt.Rebuild {
		return nil
	}
	return r.base.Manifest.Merged
}

// sortByID brings all copies of an event together. The hash in front makes the
// keys differ early.
func (r *Rewrite) sortByID(rec *record, f flags) error {
	r.key = binary.BigEndian.AppendUint64(r.key[:0], maphash.Bytes(r.seed, rec.id))
	r.key = append(r.key, rec.id...)
	r.body = appendBody(r.body[:0], rec, f)
	return r.byID.add(r.key, r.body)
}

// Added returns how many rows were added.
func (r *Rewrite) Added() int64 { return r.added.Count() }

// Result is what a publish did.
type Result struct {
	Manifest   *Manifest
	Added      int64 // raw rows that were added
	Duplicates int64 // of these, dropped as copies
	RowsBefore int64 // rows of the base
	Late       int64 // rows of the partition received after their hour had ended
	Bytes      int64 // size of the object
}

// Publish merges the rows added with the base and replaces the partition, if it
// is still the base. After [ErrConflict] start again from [Lake.Base]. Publish is
// called once.
func (r *Rewrite) Publish(ctx context.Context) (Result, error) {
	res, err := r.publish(ctx)
	if err != nil {
		return res, fmt.Errorf("publish partition %s: %w", r.base.Hour, err)
	}
	return res, nil
}

func (r *Rewrite) publish(ctx context.Context) (Result, error) {
	if m := r.base.Manifest; m != nil && r.opt.Rebuild && !r.added.Covers(m.Merged) {
		return Result{}, ErrNotCovered
	}
	f, err := r.lake.objects.create()
	if err != nil {
		return Result{}, err
	}
	r.files = append(r.files, f)

	// Until the upload nothing of this can be seen by anybody.
	m := &merge{Rewrite: r, ctx: ctx, manifest: r.base.Manifest.next(r.base.Hour, r.opt.Columns, r.opt.Rebuild)}
	if err := m.run(f); err != nil {
		return Result{}, err
	}
	size, err := m.verify(f)
	if err != nil {
		return Result{}, fmt.Errorf("verify before the upload: %w", err)
	}
	// The request replaces the base or nothing. If this process dies during it,
	// or its answer is lost, the next one finds in the base what was published.
	if err := r.lake.objects.put(ctx, keyOf(r.base.Hour), f, r.base.object); err != nil {
		return Result{}, err
	}
	return Result{
		Manifest: m.manifest, Added: r.Added(), Duplicates: m.duplicates,
		RowsBefore: r.rowsBefore(), Late: m.manifest.Late, Bytes: size,
	}, nil
}

func (r *Rewrite) rowsBefore() int64 {
	if r.base.Manifest == nil {
		return 0
	}
	return r.base.Manifest.Rows
}

// temp returns a temporary file that Close gives back.
func (r *Rewrite) temp() (*os.File, error) {
	f, err := temp(r.lake.opt.TempDir)
	if err == nil {
		r.files = append(r.files, f)
	}
	return f, err
}

// Close removes the temporary files. It is always called, also after Publish.
func (r *Rewrite) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
		// A published file has another name by now, others have none.
		if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	r.files = nil
	return errors.Join(errs...)
}
