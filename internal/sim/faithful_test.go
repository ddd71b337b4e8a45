package sim

import (
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/dirty/dirtytest"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/storetest"
)

// unscheduled returns a process in a world without a scheduler, whose calls are
// served at once, by the clock on the wall.
func unscheduled(t *testing.T) *process {
	p := plan{skew: []afterhours.Micros{0}, ttl: 90 * 24 * time.Hour, page: 7, poll: 10_000, logs: 2, sources: 1}
	w := newWorld(p, t.TempDir())
	w.direct = true
	w.wall = func() afterhours.Micros { return afterhours.MicrosOf(time.Now()) }
	return &process{world: w, slot: &slot{world: w, name: "i0"}, calls: map[string]int{}}
}

// TestStoreIsFaithful holds the simulated store to what every store must do.
func TestStoreIsFaithful(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return storeView{unscheduled(t)} })
}

// TestQueueIsFaithful holds the simulated queue to what every queue must do.
func TestQueueIsFaithful(t *testing.T) {
	dirtytest.Run(t, func(t *testing.T) dirty.Queue { return queueView{unscheduled(t)} })
}
