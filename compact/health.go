package compact

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// oldShare is the share of the raw rows' TTL that an hour may wait. There must be
// time left to find out why it waits, and for somebody to act.
const oldShare = 4

// beatless is for how long the loop that everything goes through may stand still.
// Calls of the store that it makes itself end long before, whatever the store does.
const beatless = 5 * time.Minute

// Health is how a running compactor fares.
type Health struct {
	Healthy  bool
	Reason   string    // why not, all problems in one line; empty if healthy
	Problems []Problem // why not
	Progress time.Time // when an hour was last served, or there was last nothing to do
	Oldest   time.Time // since when the hour waits that waits longest; zero if none does
	Waiting  int       // hours that owe a rewrite
	Due      int       // of these, overdue or being rewritten
	Stuck    []store.Stuck

	beat time.Time // when the loop last turned; zero while it does not run
}

// Problem is one thing that is wrong, and what to do about it.
type Problem struct {
	Check  string // what was looked at, in one word
	Reason string
	Remedy string
}

// Hung reports whether the compactor itself hangs at an instant of its clock, for
// whatever is wrong with others it answers for a while and goes on: then nothing
// but a new process helps.
func (h Health) Hung(now time.Time) bool { return !h.beat.IsZero() && now.Sub(h.beat) > beatless }

// Health returns how Run fares. It is red when no hour at all progresses although
// there is work, and when an hour has waited for a quarter of the time that raw rows
// live. A single hour that is stuck is named, and harms nobody else until then.
// Before Run has begun, and after it has ended, the compactor is healthy.
func (c *Compactor) Health() Health { return c.health.now() }

// health is what Health returns, kept up to date by the server.
type health struct {
	mu    sync.Mutex
	seen  Health
	last  error // of a rewrite, since one went well
	stuck map[afterhours.Hour]store.Stuck
}

func (h *health) now() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seen
	s.Healthy = len(s.Problems) == 0
	var reasons []string
	for _, p := range s.Problems {
		reasons = append(reasons, p.Reason)
	}
	s.Reason = strings.Join(reasons, "; ")
	s.Stuck = slices.SortedFunc(maps.Values(h.stuck), func(a, b store.Stuck) int { return a.Hour.Compare(b.Hour) })
	return s
}

// look compares what there is to do with what is done, and with how long raw rows
// live.
func (h *health) look(now time.Time, s *schedule, stallAfter, ttl time.Duration) {
	due, oldest := s.due(now), s.oldest()
	h.mu.Lock()
	defer h.mu.Unlock()
	if due == 0 || h.seen.beat.IsZero() {
		h.seen.Progress = now
	}
	h.seen.beat, h.seen.Waiting, h.seen.Due, h.seen.Oldest, h.seen.Problems = now, s.owed(), due, time.Time{}, nil
	if idle := now.Sub(h.seen.Progress); idle > stallAfter {
		h.seen.Problems = append(h.seen.Problems, h.stalled(due, idle))
	}
	if oldest == nil {
		return
	}
	h.seen.Oldest = oldest.first.Time()
	if age := now.Sub(h.seen.Oldest); age > ttl/oldShare {
		h.seen.Problems = append(h.seen.Problems, old(oldest, age, ttl))
	}
}

// stalled says that no hour is served.
func (h *health) stalled(due int, idle time.Duration) Problem {
	p := Problem{
		Check:  "progress",
		Reason: fmt.Sprintf("%d hours are due and none was served for %s", due, idle.Round(time.Second)),
		Remedy: "see in the log what rewrites fail with: the store, the lake and the disk of --temp-dir must work",
	}
	if h.last != nil {
		p.Reason += ", last error: " + h.last.Error()
	}
	return p
}

// old says that an hour waits for so long that its raw rows may expire unmerged.
func old(w *waiting, age, ttl time.Duration) Problem {
	p := Problem{
		Check: "age",
		Reason: fmt.Sprintf("hour %s has waited for %s; its raw rows expire after %s, merged or not",
			w.hour, age.Round(time.Second), ttl),
		Remedy: "give the compactor more workers or machines, or have hours wait less (--quiet, --age-share, --max-delay)",
	}
	switch {
	case w.stuck:
		p.Remedy = "it is stuck: compactor status tells why and which way out there is"
	case w.failures > 0:
		p.Remedy = "see in the log what its rewrites fail with"
	}
	return p
}

// ends forgets what was seen of a Run that has ended.
func (h *health) ends() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen, h.last = Health{}, nil
}

func (h *health) progress(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen.Progress, h.last = now, nil
}

func (h *health) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = err
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
