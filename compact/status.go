package compact

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// Pender tells which marks a group has not served. The contract is that of
// dirty.Queue.
type Pender interface {
	Pending(ctx context.Context, group string) ([]dirty.Mark, error)
}

// Waiting is an hour that owes a rewrite.
type Waiting struct {
	Hour  afterhours.Hour
	Since afterhours.Micros // its first unserved mark that is still in the queue
	Due   time.Time         // when a daemon looks at it, and rewrites it unless its partition outweighs its rows

	// Latest is when a daemon rewrites it whatever its partition weighs. Marks do not
	// tell more: WhyNotYet does, of one hour.
	Latest time.Time
}

// TypeStatus adds up the published partitions of an event type.
type TypeStatus struct {
	Type       string
	Partitions int64
	Rows       int64
	Seen       int64
	Duplicates int64
	Conflicts  int64
	Late       int64
	Bytes      int64
	Published  afterhours.Micros // the newest publish
}

// Status is what there is and what is to be done.
type Status struct {
	Waiting []Waiting // in order of their first mark
	Stuck   []store.Stuck
	Types   []TypeStatus // in order of name

	// Oversized are partitions whose manifest is beyond what it should ever be.
	Oversized []store.Partition
}

// Status reads the marks the group has not served, and the board.
func (c *Compactor) Status(ctx context.Context, q Pender, group string) (Status, error) {
	marks, err := q.Pending(ctx, group)
	if err != nil {
		return Status{}, fmt.Errorf("read pending marks: %w", err)
	}
	s := Status{Waiting: c.waiting(marks)}
	if s.Stuck, err = c.board.StuckHours(ctx); err != nil {
		return s, fmt.Errorf("read stuck hours: %w", err)
	}
	types := map[string]*TypeStatus{}
	err = c.board.Partitions(ctx, func(p store.Partition) error {
		t := types[p.Hour.Type]
		if t == nil {
			t = &TypeStatus{Type: p.Hour.Type}
			types[p.Hour.Type] = t
		}
		t.add(p)
		if p.Manifest > lake.ManifestLimit {
			s.Oversized = append(s.Oversized, p)
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("read partitions: %w", err)
	}
	for _, t := range types {
		s.Types = append(s.Types, *t)
	}
	slices.SortFunc(s.Types, func(a, b TypeStatus) int { return strings.Compare(a.Type, b.Type) })
	return s, nil
}

// waiting folds marks into the hours they are of.
func (c *Compactor) waiting(marks []dirty.Mark) []Waiting {
	s := c.emptySchedule(false)
	for _, m := range marks {
		s.take(m)
	}
	var out []Waiting
	for _, w := range s.hours {
		out = append(out, Waiting{Hour: w.hour, Since: w.first, Due: w.due, Latest: later(w.due, s.stay(w).until)})
	}
	slices.SortFunc(out, func(a, b Waiting) int {
		if a.Since != b.Since {
			return int(a.Since - b.Since)
		}
		return a.Hour.Compare(b.Hour)
	})
	return out
}

func (t *TypeStatus) add(p store.Partition) {
	t.Partitions++
	t.Rows += p.Rows
	t.Seen += p.Seen
	t.Duplicates += p.Duplicates
	t.Conflicts += p.Conflicts
	t.Late += p.Late
	t.Bytes += p.Bytes
	t.Published = max(t.Published, p.Published)
}
