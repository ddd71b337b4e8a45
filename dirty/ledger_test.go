package dirty_test

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// oracle keeps every mark, where a Ledger keeps two an hour.
type oracle struct {
	position int64
	unserved map[int64]afterhours.Hour
	last     map[afterhours.Hour]int64
}

// floor is the highest offset that may be committed.
func (o *oracle) floor() int64 {
	floor := o.position
	for offset := range o.unserved {
		floor = min(floor, offset)
	}
	return floor
}

func (o *oracle) take(h afterhours.Hour, offset int64) {
	o.unserved[offset], o.last[h], o.position = h, offset, offset+1
}

// done serves what Done says is served.
func (o *oracle) done(h afterhours.Hour, upTo int64) {
	maps.DeleteFunc(o.unserved, func(offset int64, of afterhours.Hour) bool { return of == h && offset <= upTo })
}

func (o *oracle) waiting() int {
	hours := map[afterhours.Hour]bool{}
	for _, h := range o.unserved {
		hours[h] = true
	}
	return len(hours)
}

func hour(n int) afterhours.Hour { return afterhours.HourOf("purchase", afterhours.Micros(n)*3_600e6) }

// TestLedger takes and serves marks at random: the floor must never pass a mark
// that is not served, nor go back, and once all is served it must be the
// position.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l dirty.Ledger
		o := oracle{unserved: map[int64]afterhours.Hour{}, last: map[afterhours.Hour]int64{}}
		before := int64(0)
		check := func() {
			floor := l.Floor()
			if floor > o.floor() || floor < before {
				t.Fatalf("floor %d after %d, the first mark that is not served is %d", floor, before, o.floor())
			}
			if l.Waiting() != o.waiting() || l.Waiting() == 0 && floor != o.position {
				t.Fatalf("%d hours wait, floor %d, want %d and %d", l.Waiting(), floor, o.waiting(), o.position)
			}
			before = floor
		}
		check()
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				h := hour(rapid.IntRange(0, 4).Draw(t, "hour"))
				offset := o.position + rapid.Int64Range(0, 3).Draw(t, "gap") // a log has gaps
				l.Take(h, offset)
				o.take(h, offset)
			},
			"done": func(t *rapid.T) {
				h := hour(rapid.IntRange(0, 4).Draw(t, "hour"))
				offset := rapid.Int64Range(0, o.position).Draw(t, "offset") // also of no mark, or late
				l.Done(h, offset)
				o.done(h, offset)
			},
			"done with the last": func(t *rapid.T) {
				h := hour(rapid.IntRange(0, 4).Draw(t, "hour"))
				l.Done(h, o.last[h])
				o.done(h, o.last[h])
			},
			"": func(t *rapid.T) { check() },
		})
		for h, offset := range o.last {
			l.Done(h, offset)
		}
		if l.Floor() != o.position || l.Waiting() != 0 {
			t.Fatalf("everything is served, but %d hours wait and the floor is %d, want %d", l.Waiting(), l.Floor(), o.position)
		}
	})
}

// TestLedgerIsExact shows that the floor stands on the very first unserved mark
// as long as every hour is served in one go.
func TestLedgerIsExact(t *testing.T) {
	var l dirty.Ledger
	if l.Floor() != 0 {
		t.Fatalf("floor of nothing is %d", l.Floor())
	}
	l.Take(hour(1), 10)
	l.Take(hour(2), 11)
	l.Take(hour(1), 15)
	l.Take(hour(3), 20)
	for _, step := range []struct {
		hour         int
		offset, want int64
	}{
		{2, 11, 10},
		{3, 20, 10},
		{1, 10, 11}, // there may be a mark at 11: only that it is beyond 10 is known
		{1, 9, 11},  // late, and no news
		{4, 99, 11}, // never taken
		{1, 15, 21},
	} {
		l.Done(hour(step.hour), step.offset)
		if l.Floor() != step.want {
			t.Errorf("hour %d done to %d: floor %d, want %d", step.hour, step.offset, l.Floor(), step.want)
		}
	}
}
