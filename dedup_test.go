package afterhours_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// copies draws what may be known of one event, with few values, so that ties are
// common.
var copies = rapid.Custom(func(t *rapid.T) afterhours.Copies {
	return afterhours.Copies{Event: afterhours.Event{
		ID: "1", Type: "purchase",
		Time:     afterhours.Micros(rapid.Int64Range(0, 2).Draw(t, "time")),
		Received: afterhours.Micros(rapid.Int64Range(-1, 1).Draw(t, "received")),
		Payload:  []byte(rapid.SampledFrom([]string{"", "a", "ab", "b"}).Draw(t, "payload")),
	}}
})

func same(a, b afterhours.Copies) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Time == b.Time && a.Received == b.Received &&
		bytes.Equal(a.Payload, b.Payload) && a.Conflict == b.Conflict
}

// merge folds copies in the form of a random tree: as any number of merges, in
// any grouping, would.
func merge(t *rapid.T, all []afterhours.Copies) afterhours.Copies {
	if len(all) == 1 {
		return all[0]
	}
	cut := rapid.IntRange(1, len(all)-1).Draw(t, "cut")
	return afterhours.Dedup(merge(t, all[:cut]), merge(t, all[cut:]))
}

// survivor is what must come out, said in another way: the least copy there is,
// and whether any two differ in payload.
func survivor(all []afterhours.Copies) afterhours.Copies {
	least, conflict := all[0], false
	for _, c := range all[1:] {
		conflict = conflict || !bytes.Equal(c.Payload, all[0].Payload)
		switch {
		case c.Received != least.Received:
			if c.Received < least.Received {
				least = c
			}
		case !bytes.Equal(c.Payload, least.Payload):
			if bytes.Compare(c.Payload, least.Payload) < 0 {
				least = c
			}
		case c.Time < least.Time:
			least = c
		}
	}
	least.Conflict = conflict
	return least
}

// TestDedupOrder shows that the result depends neither on the order of copies,
// nor on how merges are grouped, nor on copies being merged again.
func TestDedupOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(copies, 1, 8).Draw(t, "copies")
		want := survivor(all)
		again := append(rapid.Permutation(all).Draw(t, "order"), rapid.SliceOfN(rapid.SampledFrom(all), 0, 4).Draw(t, "again")...)
		got := merge(t, again)
		if !same(got, want) {
			t.Fatalf("%+v was left of %+v, want %+v", got, again, want)
		}
		if twice := afterhours.Dedup(got, got); !same(twice, got) {
			t.Fatalf("merged with itself it is %+v, want %+v", twice, got)
		}
	})
}

// TestDedupConflict shows that a conflict is not forgotten when the survivor
// wins against copies that are like it.
func TestDedupConflict(t *testing.T) {
	copyOf := func(received afterhours.Micros, payload string) afterhours.Copies {
		return afterhours.Copies{Event: afterhours.Event{ID: "1", Type: "purchase", Received: received, Payload: []byte(payload)}}
	}
	first, same, other := copyOf(1, "a"), copyOf(2, "a"), copyOf(3, "b")
	if c := afterhours.Dedup(first, same); c.Conflict || c.Received != 1 {
		t.Errorf("two copies alike: %+v", c)
	}
	c := afterhours.Dedup(afterhours.Dedup(other, first), same)
	if !c.Conflict || c.Received != 1 || string(c.Payload) != "a" {
		t.Errorf("two alike and one that differs: %+v", c)
	}
}
