package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Result is what a publish did.
type Result struct {
	Manifest     *Manifest // of the partition as it is now
	Unchanged    bool      // every row added is a copy that changes nothing: nothing was published
	Added        int64     // raw rows that were added
	Duplicates   int64     // of these, dropped as copies
	RowsBefore   int64     // rows of the base
	Late         int64     // rows of the partition received after their hour had ended
	Bytes        int64     // size of the object
	ManifestSize int64     // size of the manifest's text in the object, in bytes
	Version      string    // of the object, as a listing shows it; "" if the store did not say
}

// Publish merges the rows added with the base and replaces the partition, if it
// is still the base. After [ErrConflict] start again from [Lake.Base]. Publish is
// called once.
//
// If the rows of the partition would stay as they are, conflict flags included,
// the object is left alone: the result is Unchanged, and the rows added are
// merged nowhere. The caller notes them, or they will be read again. It is
// published all the same if there is no base, if the columns or the order are
// others, and if the options ask for a rebuild, a new lineage, an erasure, or
// just for it.
func (r *Rewrite) Publish(ctx context.Context) (Result, error) {
	res, err := r.publish(ctx)
	if err != nil {
		return res, fmt.Errorf("publish partition %s: %w", r.base.Hour, err)
	}
	return res, nil
}

func (r *Rewrite) publish(ctx context.Context) (Result, error) {
	if m := r.base.Manifest; m != nil && r.opt.Rebuild && !r.opt.Discard && !r.added.Covers(m.Merged) {
		return Result{}, ErrNotCovered
	}
	// Until the upload nothing of this can be seen by anybody.
	m := &merge{Rewrite: r, ctx: ctx, manifest: r.begin()}
	rest, err := m.sortRows()
	if err != nil {
		return Result{}, err
	}
	if !r.mustPublish(m) {
		return r.unchanged(), nil
	}
	f, err := r.lake.objects.create()
	if err != nil {
		return Result{}, err
	}
	r.files, r.unpublished = append(r.files, f), f.Name()
	d, err := m.writeFile(f, rest)
	if err != nil {
		return Result{}, err
	}
	p, err := m.verifySynced(d)
	if err != nil {
		return Result{}, err
	}
	// The request replaces the base or nothing. If this process dies during it,
	// or its answer is lost, the next one finds in the base what was published.
	version, err := r.lake.objects.put(ctx, keyOf(r.base.Hour), d, r.base.object)
	if errors.Is(err, errOtherBytes) {
		err = m.blame(err)
	}
	if err != nil {
		return Result{}, err
	}
	r.unpublished = ""
	return Result{
		Manifest: m.manifest, Added: r.Added(), Duplicates: m.duplicates, RowsBefore: r.rowsBefore(), Late: m.manifest.Late,
		Bytes: p.size, ManifestSize: p.manifestSize, Version: version,
	}, nil
}

// begin returns the new partition's manifest before anything was counted.
func (r *Rewrite) begin() *Manifest {
	m := newManifest(r.base.Hour, r.opt.Columns)
	m.Settled = r.opt.Settled
	last := max(r.opt.After, 0)
	for _, known := range []*Manifest{r.base.Manifest, r.base.Present} { // the newer one last
		if known != nil {
			last = max(last, known.Generation)
			m.ErasedIDs = append(m.ErasedIDs, known.ErasedIDs...)
			m.History = slices.Clone(known.History)
		}
	}
	m.Generation = last + 1
	for _, id := range r.opt.Erase {
		m.ErasedIDs = append(m.ErasedIDs, digest([]byte(id)))
	}
	slices.Sort(m.ErasedIDs)
	m.ErasedIDs = slices.Compact(m.ErasedIDs)
	if b := r.inherited(); b != nil {
		r.inherit(m, b)
	}
	return m
}

// inherit gives m what it keeps of the base.
func (r *Rewrite) inherit(m, b *Manifest) {
	if !r.opt.NewLineage {
		m.Lineage = b.Lineage
	}
	m.Settled = max(m.Settled, b.Settled)
	m.Seen, m.Duplicates, m.Erased, m.Pruned = b.Seen, b.Duplicates, b.Erased, b.Pruned
	m.Merged, m.Origins = b.Merged.Clone(), maps.Clone(b.Origins)
	if r.opt.Prune == nil {
		return
	}
	for seg, o := range b.Origins {
		if _, used := r.origins[seg]; !used && r.opt.Prune(seg, o) {
			m.Pruned += m.Merged[seg].Count()
			delete(m.Merged, seg)
			delete(m.Origins, seg)
		}
	}
}

// mustPublish reports whether anything is different from the base, or must be
// published all the same.
func (r *Rewrite) mustPublish(m *merge) bool {
	return r.opt.Force || r.opt.NewLineage || len(r.opt.Erase) > 0 || !m.streams() || m.idle != r.Added()
}

// unchanged is the result if nothing is published.
func (r *Rewrite) unchanged() Result {
	m := r.base.Manifest
	return Result{
		Manifest: m, Unchanged: true, Added: r.Added(), Duplicates: r.Added(), RowsBefore: m.Rows, Late: m.Late,
		Bytes: r.base.Size(), ManifestSize: r.base.ManifestSize(), Version: r.base.Version(),
	}
}

func (r *Rewrite) rowsBefore() int64 {
	if r.base.Manifest == nil {
		return 0
	}
	return r.base.Manifest.Rows
}
