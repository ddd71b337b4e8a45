package sim

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// board is what a lake's board holds.
type board struct {
	requests   map[afterhours.Hour]map[string]store.Request
	partitions map[afterhours.Hour]store.Partition
	feed       map[store.Publication]bool
	stuck      map[afterhours.Hour]store.Stuck
	swept      afterhours.Micros
	last       map[string]int64 // number of the call that wrote a cell last
}

// boardView is a board as one process sees it.
type boardView struct {
	p    *process
	name string
}

func (v storeView) Board(lake string) store.Board { return boardView{v.p, lake} }

func (w *world) board(name string) *board {
	b := w.store.board[name]
	if b == nil {
		b = &board{
			requests: map[afterhours.Hour]map[string]store.Request{}, partitions: map[afterhours.Hour]store.Partition{},
			feed: map[store.Publication]bool{}, stuck: map[afterhours.Hour]store.Stuck{}, last: map[string]int64{},
		}
		w.store.board[name] = b
	}
	return b
}

// write writes a cell. A write that arrives after one that was made later is lost.
func (v boardView) write(ctx context.Context, kind, key, cell string, do func(*board)) error {
	w := v.p.world
	w.mu.Lock()
	w.writes++
	stamp := w.writes
	w.mu.Unlock()
	return v.p.call(ctx, &op{kind: kind, key: key, write: true, do: func() error {
		b := w.board(v.name)
		if cell != "" && b.last[cell] > stamp {
			return nil
		}
		b.last[cell] = stamp
		do(b)
		return nil
	}})
}

func (v boardView) read(ctx context.Context, kind, key string, do func(*board)) error {
	return v.p.call(ctx, &op{kind: kind, key: key, do: func() error {
		do(v.p.world.board(v.name))
		return nil
	}})
}

func (v boardView) PutRequest(ctx context.Context, r store.Request) error {
	return v.write(ctx, "request", v.p.world.name(r.Hour), "request "+v.p.world.name(r.Hour)+r.ID, func(b *board) {
		if b.requests[r.Hour] == nil {
			b.requests[r.Hour] = map[string]store.Request{}
		}
		b.requests[r.Hour][r.ID] = r
	})
}

func (v boardView) Requests(ctx context.Context, h afterhours.Hour) ([]store.Request, error) {
	var rs []store.Request
	err := v.read(ctx, "requests", v.p.world.name(h), func(b *board) {
		for _, id := range slices.Sorted(maps.Keys(b.requests[h])) {
			rs = append(rs, b.requests[h][id])
		}
	})
	return rs, err
}

func (v boardView) DeleteRequest(ctx context.Context, r store.Request) error {
	return v.write(ctx, "served", v.p.world.name(r.Hour), "request "+v.p.world.name(r.Hour)+r.ID, func(b *board) { delete(b.requests[r.Hour], r.ID) })
}

func (v boardView) PutPartition(ctx context.Context, p store.Partition) error {
	p.Settled = p.Settled.Clone()
	return v.write(ctx, "board", v.p.world.name(p.Hour), "partition "+v.p.world.name(p.Hour), func(b *board) {
		c := p
		c.Settled = p.Settled.Clone()
		b.partitions[p.Hour] = c
	})
}

func (v boardView) Partition(ctx context.Context, h afterhours.Hour) (p store.Partition, ok bool, err error) {
	err = v.read(ctx, "known", v.p.world.name(h), func(b *board) {
		p, ok = b.partitions[h]
		p.Settled = p.Settled.Clone()
	})
	return p, ok, err
}

// all returns the partitions in order.
func (v boardView) all(ctx context.Context, kind string) (ps []store.Partition, err error) {
	err = v.read(ctx, kind, "", func(b *board) {
		for _, h := range slices.SortedFunc(maps.Keys(b.partitions), afterhours.Hour.Compare) {
			p := b.partitions[h]
			p.Settled = p.Settled.Clone()
			ps = append(ps, p)
		}
	})
	return ps, err
}

func (v boardView) Partitions(ctx context.Context, visit func(store.Partition) error) error {
	ps, err := v.all(ctx, "partitions")
	for _, p := range ps {
		p.Settled = nil
		if err == nil {
			err = visit(p)
		}
	}
	return err
}

func (v boardView) Settled(ctx context.Context, visit func(store.Partition) error) error {
	ps, err := v.all(ctx, "settled")
	for _, p := range ps {
		if err == nil {
			err = visit(store.Partition{Hour: p.Hour, Version: p.Version, Settled: p.Settled})
		}
	}
	return err
}

func (v boardView) PutPublications(ctx context.Context, ps []store.Publication) error {
	ps = slices.Clone(ps)
	key := ""
	if len(ps) > 0 {
		key = v.p.world.name(ps[0].Hour)
	}
	return v.write(ctx, "feed", key, "", func(b *board) {
		for _, p := range ps {
			b.feed[p] = true
		}
	})
}

func (v boardView) Feed(ctx context.Context, from, to afterhours.Micros, visit func(store.Publication) error) error {
	var ps []store.Publication
	err := v.read(ctx, "read-feed", "", func(b *board) {
		for p := range b.feed {
			if p.At >= from && p.At < to {
				ps = append(ps, p)
			}
		}
	})
	slices.SortFunc(ps, func(a, b store.Publication) int {
		return cmp.Or(cmp.Compare(a.At, b.At), a.Hour.Compare(b.Hour), strings.Compare(a.Lineage, b.Lineage), cmp.Compare(a.Generation, b.Generation))
	})
	for _, p := range ps {
		if err == nil {
			err = visit(p)
		}
	}
	return err
}

func (v boardView) PutStuck(ctx context.Context, s store.Stuck) error {
	return v.write(ctx, "stick", v.p.world.name(s.Hour), "stuck "+v.p.world.name(s.Hour), func(b *board) { b.stuck[s.Hour] = s })
}

func (v boardView) ClearStuck(ctx context.Context, h afterhours.Hour) error {
	return v.write(ctx, "unstick", v.p.world.name(h), "stuck "+v.p.world.name(h), func(b *board) { delete(b.stuck, h) })
}

func (v boardView) StuckHours(ctx context.Context) (all []store.Stuck, err error) {
	err = v.read(ctx, "stuck", "", func(b *board) {
		all = slices.SortedFunc(maps.Values(b.stuck), func(a, b store.Stuck) int { return a.Hour.Compare(b.Hour) })
	})
	return all, err
}

func (v boardView) PutSwept(ctx context.Context, at afterhours.Micros) error {
	return v.write(ctx, "swept", "", "swept", func(b *board) { b.swept = at })
}

func (v boardView) Swept(ctx context.Context) (at afterhours.Micros, err error) {
	err = v.read(ctx, "last-sweep", "", func(b *board) { at = b.swept })
	return at, err
}
