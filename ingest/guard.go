package ingest

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
)

// admit makes sure that the event may be written: it is returned as it is, or as
// the quarantine event that keeps its record. Its type is declared then, and its
// type's name shares its memory with all others.
func (w *Writer) admit(ctx context.Context, e afterhours.Event, from Record) (afterhours.Event, error) {
	et, reason, err := w.admitType(ctx, e.Type, from.Source)
	if err != nil {
		return e, err
	}
	if reason == "" && !w.hours.admit(e.Hour(), from.Source, w.now()) {
		if e.Type == afterhours.QuarantineType {
			e.Time = 0 // the hour of those whose own would be one too many
		} else {
			reason = fmt.Sprintf("hour %s is new, and its source has brought %d new hours in this minute, the limit (--new-hours-per-minute)", e.Hour(), w.hours.fresh.limit)
		}
	}
	if reason != "" {
		return w.admit(ctx, quarantine(from, reason, e.Received), from)
	}
	e.Type = et.name
	return e, w.declare(ctx, et)
}

const (
	// hoursSpan is how long an hour is known after it was written to, at least.
	hoursSpan = 10 * time.Minute

	// hoursRoom is how many hours are known, and up to twice as many for a moment.
	// They cost 8 bytes each. An hour that is forgotten too soon is new again.
	hoursRoom  = 1 << 17
	hourShards = 16
)

// hours knows the hours that were written lately, as far as new ones are limited.
type hours struct {
	fresh      allowance
	quarantine allowance // as much again, so that it takes nothing from events
	seed       maphash.Seed
	shards     [hourShards]hourShard
}

// hourShard is a part of the hours, so that not all wait for one lock.
type hourShard struct {
	mu     sync.Mutex
	lately *recent[uint64, struct{}] // hashes; two hours that share one harm nobody
}

func newHours(o Options) *hours {
	h := &hours{seed: maphash.MakeSeed()}
	for _, a := range []*allowance{&h.fresh, &h.quarantine} {
		a.limit, a.span = o.NewHours, micros(time.Minute)
	}
	for i := range h.shards {
		h.shards[i].lately = newRecent[uint64, struct{}](micros(hoursSpan), hoursRoom/hourShards)
	}
	return h
}

// admit reports whether the hour may be written to, or would be one new hour of
// the source too many. Hours around now are free: there are no more of them than
// types, and nobody who is in time shall pay for another who is not.
func (h *hours) admit(hour afterhours.Hour, source string, now afterhours.Micros) bool {
	span := micros(hour.Width.Duration())
	if h.fresh.limit <= 0 || hour.Start <= now+span && hour.End() >= now-span {
		return true
	}
	budget := &h.fresh
	if hour.Type == afterhours.QuarantineType {
		budget = &h.quarantine
	}
	hash := maphash.Comparable(h.seed, hour)
	s := &h.shards[hash%hourShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.lately.get(hash, now); !known && !budget.take(source, now) {
		return false
	}
	s.lately.put(hash, struct{}{}, now)
	return true
}

// allowance is how much every source may spend in each span of time.
type allowance struct {
	limit int // 0: no limit
	span  afterhours.Micros

	mu    sync.Mutex
	began afterhours.Micros // the span of spent
	spent map[string]int    // by source
}

// take spends one, unless there is none left.
func (a *allowance) take(source string, now afterhours.Micros) bool {
	if a.limit <= 0 {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if began := now - now%a.span; a.spent == nil || began != a.began {
		a.began, a.spent = began, map[string]int{}
	}
	if a.spent[source] >= a.limit {
		return false
	}
	a.spent[source]++
	return true
}
