package compact

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// Health is how a running compactor fares.
type Health struct {
	Healthy  bool
	Reason   string    // why not; empty if healthy
	Progress time.Time // when an hour was last served, or there was last nothing to do
	Waiting  int       // hours that owe a rewrite
	Due      int       // of these, overdue or being rewritten
	Stuck    []store.Stuck
}

// Health returns how Run fares. It is red only when no hour at all progresses
// although there is work: a single hour that is stuck is named, and harms nobody
// else. Before Run has begun, and after it has ended, the compactor is healthy.
func (c *Compactor) Health() Health { return c.health.now() }

// health is what Health returns, kept up to date by the server.
type health struct {
	mu    sync.Mutex
	seen  Health
	ran   bool
	stuck map[afterhours.Hour]store.Stuck
}

func (h *health) now() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seen
	s.Healthy = s.Reason == ""
	s.Stuck = slices.SortedFunc(maps.Values(h.stuck), func(a, b store.Stuck) int { return a.Hour.Compare(b.Hour) })
	return s
}

// look compares what there is to do with what is done.
func (h *health) look(now time.Time, s *schedule, stallAfter time.Duration) {
	due := s.due(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	if due == 0 || !h.ran {
		h.ran, h.seen.Progress = true, now
	}
	h.seen.Waiting, h.seen.Due, h.seen.Reason = s.owed(), due, ""
	if idle := now.Sub(h.seen.Progress); idle > stallAfter {
		h.seen.Reason = fmt.Sprintf("%d hours are due and none was served for %s", due, idle.Round(time.Second))
	}
}

func (h *health) progress(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ran, h.seen.Progress = true, now
}

func (h *health) stick(s store.Stuck) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stuck == nil {
		h.stuck = map[afterhours.Hour]store.Stuck{}
	}
	h.stuck[s.Hour] = s
}

func (h *health) unstick(hour afterhours.Hour) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.stuck, hour)
}
