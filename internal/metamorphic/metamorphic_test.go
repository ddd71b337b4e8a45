package metamorphic

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	seeds    = flag.Int("seeds", 12, "how many worlds to try")
	seed     = flag.Uint64("seed", 0, "the one world to try, instead of fresh ones")
	variants = flag.Int("variants", 3, "in how many ways to try each world")
)

// Whatever way the same events take, the lake holds the same rows in the same
// order and the same bytes, the books are the same, and what is no event is in
// quarantine. A failure tells the seed that repeats it.
func TestEveryWayGivesTheSame(t *testing.T) {
	first := uint64(time.Now().UnixNano()) >> 10
	n := uint64(*seeds)
	if *seed != 0 {
		first, n = *seed, 1
	}
	for s := first; s < first+n; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) { tryWorld(t, s) })
	}
}

func tryWorld(t *testing.T, seed uint64) {
	w, want := plainWay(t, seed)
	for i := range *variants {
		tryVariant(t, w, want, newRun(embeddedSite(t, start.Time()), variant(seed, i), w), seed)
	}
}

// variant returns the draws of one variant, so that each can be tried alone.
func variant(seed uint64, i int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(i+1))) }

// plainWay draws a world and takes it through the embedded backends in one piece.
func plainWay(t *testing.T, seed uint64) (*world, result) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(r, 30+r.IntN(300))
	v := newRun(embeddedSite(t, start.Time().Add(1000*time.Hour)), r, w)
	if err := v.plain(); err != nil {
		t.Fatal(err)
	}
	res, err := look(v.site)
	if err == nil {
		err = w.check(res, v.delivered)
	}
	if err != nil {
		t.Fatalf("the plain way: %v\nagain with -seed %d", err, seed)
	}
	return w, res
}

// tryVariant takes a world through the backends in any way, and demands what the
// plain way gave.
func tryVariant(t *testing.T, w *world, want result, v *run, seed uint64) {
	t.Helper()
	err := v.any()
	var got result
	if err == nil {
		got, err = look(v.site)
	}
	if err == nil {
		err = errors.Join(w.check(got, v.delivered), checkBodies(want, got))
	}
	if err != nil {
		t.Fatalf("%d records: %v\nit went like this:\n%s\nagain with -seed %d", len(w.records), err, v, seed)
	}
}
