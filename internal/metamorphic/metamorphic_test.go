package metamorphic

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/afterhours/afterhours/lake"
)

var (
	seeds    = flag.Int("seeds", 5, "how many worlds to try")
	seed     = flag.Uint64("seed", 0, "the one world to try, instead of fresh ones")
	variants = flag.Int("variants", 3, "in how many ways to try each world")
)

// Whatever way the same events take, the lake holds the same rows in the same
// order and the same content, the books are the same, and what is no event is in
// quarantine. A failure tells the seed that repeats it.
func TestEveryWayGivesTheSame(t *testing.T) {
	first := uint64(time.Now().UnixNano()) >> 10
	n := uint64(*seeds)
	if *seed != 0 {
		first, n = *seed, 1
	}
	met := coverage{}
	for s := first; s < first+n; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) { tryWorld(t, s, met) })
	}
	t.Logf("met in %d worlds of %d variants: %v", n, *variants, met)
	for _, what := range []string{"own lanes", "shared lanes", "several publishes", "several lineages", "noted copies", "pruned rows", "conflicts", "late rows"} {
		if n*uint64(*variants) >= enough && met[what] == 0 {
			t.Errorf("the variants have never met %s", what)
		}
	}
}

// enough variants meet everything that should not matter.
const enough = 60

func tryWorld(t *testing.T, seed uint64, met coverage) {
	w, want := plainWay(t, seed, 330)
	for i := range *variants {
		v := newRun(embeddedSite(t, start.Time()), variant(seed, i), w)
		tryVariant(t, w, want, v, seed)
		if err := met.add(v.site); err != nil {
			t.Fatal(err)
		}
	}
}

// coverage counts the partitions in which something has left its trace.
type coverage map[string]int

func (c coverage) add(s *site) error {
	return s.lake.Hours(context.Background(), func(o lake.Object) error {
		m, err := s.lake.Manifest(context.Background(), o)
		if err != nil {
			return err
		}
		told, _, err := s.store.Board(s.lake.URL()).Partition(context.Background(), o.Hour)
		if err != nil {
			return err
		}
		causes := map[string]bool{}
		for _, p := range m.History {
			causes[p.Cause] = true
		}
		for what, yes := range map[string]bool{
			"several publishes": m.Generation > 1, "several lineages": causes["rebuild"] || causes["discard"] || causes["restore"],
			"noted copies": told.Seen > m.Seen, "pruned rows": m.Pruned > 0, "conflicts": m.Conflicts > 0, "late rows": m.Late > 0,
		} {
			if yes {
				c[what]++
			}
		}
		for _, origin := range m.Origins {
			c[map[bool]string{true: "shared lanes", false: "own lanes"}[origin.Shared]]++
		}
		return nil
	})
}

// variant returns the draws of one variant, so that each can be tried alone.
func variant(seed uint64, i int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(i+1))) }

// plainWay draws a world of at most so many records and takes it through the
// embedded backends in one piece.
func plainWay(t *testing.T, seed uint64, most int) (*world, result) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(r, most/10+r.IntN(most*9/10))
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
		err = errors.Join(w.check(got, v.delivered), checkSame(want, got))
	}
	if err != nil {
		t.Fatalf("%d records: %v\nit went like this:\n%s\nagain with -seed %d", len(w.records), err, v, seed)
	}
}
