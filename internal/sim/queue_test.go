package sim

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"maps"
	"slices"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// marks is what the queue holds: logs of marks, and groups that read them.
type marks struct {
	logs   [][]entry
	groups map[string]*readers
	where  map[afterhours.Hour]int // the log of an hour
}

// entry is a mark in a log, at the offset that is its index.
type entry struct {
	afterhours.Mark
	gone bool // log compaction has dropped it, or it was lost
}

// readers is a group.
type readers struct {
	floors  []int64     // committed, by log
	known   []bool      // by log: a member was told that the group is new to it
	owners  []*consumer // by log
	members []*consumer // in order of joining
	ever    []*consumer // all that ever were members
}

func (m *marks) init(logs int) {
	*m = marks{logs: make([][]entry, logs), groups: map[string]*readers{}, where: map[afterhours.Hour]int{}}
}

func (m *marks) group(name string) *readers {
	g := m.groups[name]
	if g == nil {
		g = &readers{floors: make([]int64, len(m.logs)), known: make([]bool, len(m.logs)), owners: make([]*consumer, len(m.logs))}
		m.groups[name] = g
	}
	return g
}

// logOf is the log of an hour.
func (m *marks) logOf(h afterhours.Hour) int {
	log, ok := m.where[h]
	if !ok {
		hash := fnv.New32a()
		_, _ = io.WriteString(hash, h.String())
		log = int(hash.Sum32() % uint32(len(m.logs)))
		m.where[h] = log
	}
	return log
}

// marked reports whether a mark of the hour lies at or above what a group has
// committed.
func (m *marks) marked(h afterhours.Hour, groupName string) bool {
	log := m.logOf(h)
	for o := m.group(groupName).floors[log]; o < int64(len(m.logs[log])); o++ {
		if e := m.logs[log][o]; !e.gone && e.Hour == h {
			return true
		}
	}
	return false
}

// owed reports whether any mark at or above the floor is there.
func (m *marks) owed(groupName string) bool {
	for log, floor := range m.group(groupName).floors {
		for o := floor; o < int64(len(m.logs[log])); o++ {
			if !m.logs[log][o].gone {
				return true
			}
		}
	}
	return false
}

// queueView is the queue as one process sees it.
type queueView struct{ p *process }

var _ dirty.Queue = queueView{}

func (q queueView) Close() error { return nil }

func (q queueView) Mark(ctx context.Context, hours ...afterhours.Hour) error {
	again := make([]afterhours.Mark, len(hours))
	for i, h := range hours {
		again[i].Hour = h
	}
	return q.append(ctx, "mark", again)
}

// append appends marks in the order of their hours: callers have none.
func (q queueView) append(ctx context.Context, kind string, ms []afterhours.Mark) error {
	w, key := q.p.world, ""
	if w.direct {
		for _, m := range ms {
			if back, err := afterhours.ParseHour(m.Hour.String()); err != nil || back != m.Hour {
				return errors.New("mark hour: it could not be read back")
			}
		}
	} else {
		slices.SortFunc(ms, func(a, b afterhours.Mark) int { return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.Since, b.Since)) })
		for _, m := range ms {
			key += " " + w.name(m.Hour)
		}
	}
	return q.p.call(ctx, &op{kind: kind, key: key, write: true,
		do:   func() error { w.appendMarks(ms); return nil },
		some: func(n func(int) int) { w.appendMarks(ms[:n(len(ms))]) },
	})
}

func (w *world) appendMarks(ms []afterhours.Mark) {
	for _, m := range ms {
		m.Time = w.now()
		log := w.queue.logOf(m.Hour)
		w.queue.logs[log] = append(w.queue.logs[log], entry{Mark: m})
	}
}

func (q queueView) Pending(ctx context.Context, group string) (ms []dirty.Mark, err error) {
	w := q.p.world
	err = q.p.call(ctx, &op{kind: "pending", do: func() error {
		for log, floor := range w.queue.group(group).floors {
			ms = w.queue.read(ms, log, floor, int64(len(w.queue.logs[log])))
		}
		return nil
	}})
	return ms, err
}

// read appends the marks of a part of a log.
func (m *marks) read(ms []dirty.Mark, log int, first, end int64) []dirty.Mark {
	for o := first; o < end; o++ {
		if e := m.logs[log][o]; !e.gone {
			ms = append(ms, dirty.Mark{Mark: e.Mark, Partition: int32(log), Offset: o})
		}
	}
	return ms
}

// consumer is a member of a group.
type consumer struct {
	p       *process
	g       *readers
	o       dirty.Options
	reading map[int]*reading // the logs it believes to own
	revoked []int32          // not told yet
	gaps    []int32          // likewise
	told    []int32          // gaps told, until it polls again
	joined  bool
	left    bool
}

// reading is one member's reading of one log.
type reading struct {
	start, position, end int64
	ledger               dirty.Ledger
	lost                 bool // the log is another member's, which this one does not know yet
}

func (r *reading) floor() int64 { return max(r.start, r.ledger.Floor()) }

// Consume joins the group.
func (q queueView) Consume(ctx context.Context, group string, o dirty.Options) (dirty.Consumer, error) {
	w := q.p.world
	c := &consumer{p: q.p, o: o, reading: map[int]*reading{}}
	c.o.Slack = cmp.Or(o.Slack, dirty.DefaultSlack)
	err := q.p.call(ctx, &op{kind: "join", key: group, do: func() error {
		c.g = w.queue.group(group)
		c.g.members, c.g.ever = append(c.g.members, c), append(c.g.ever, c)
		q.p.consumer = c
		w.balance(c.g)
		return nil
	}})
	return c, err
}

// balance gives every log an owner among the members. Who loses one commits
// before.
func (w *world) balance(g *readers) {
	for log := range g.owners {
		var owner *consumer
		if n := len(g.members); n > 0 {
			owner = g.members[log%n]
		}
		w.give(g, log, owner, false)
	}
	for _, c := range g.members {
		c.joined = true
	}
}

// serves reports whether marks of the hour are handed to this process and to no
// other.
func (p *process) serves(h afterhours.Hour) bool {
	return p.consumer != nil && p.consumer.g.owners[p.world.queue.logOf(h)] == p.consumer
}

// give makes a member the owner of a log. The one before commits and is told,
// unless it is cut off: then it goes on as if nothing had happened.
func (w *world) give(g *readers, log int, to *consumer, cutOff bool) {
	old := g.owners[log]
	if old == to {
		return
	}
	if old != nil && to != nil {
		w.stats.count("logs given to another", 1)
	}
	if old != nil {
		if cutOff || old.p.dead {
			old.reading[log].lost = true
		} else {
			w.commit(old, log)
			old.forget(log)
		}
	}
	g.owners[log] = to
	if to == nil {
		return
	}
	if to.reading[log] != nil {
		to.forget(log) // it had not noticed that it lost the log
	}
	if !g.known[log] {
		to.gaps = append(to.gaps, int32(log))
	}
	floor := g.floors[log]
	to.reading[log] = &reading{start: floor, position: floor, end: int64(len(w.queue.logs[log]))}
}

func (c *consumer) forget(log int) {
	delete(c.reading, log)
	c.revoked = append(c.revoked, int32(log))
}

// commit commits the floor of a log. Whoever commits late, when the log is another
// member's, says nothing wrong.
func (w *world) commit(c *consumer, log int) {
	if r := c.reading[log]; r != nil {
		c.g.floors[log] = r.floor()
	}
}

// leave takes a member out of its group.
func (w *world) leave(c *consumer) {
	if c.left {
		return
	}
	c.left = true
	c.g.members = slices.DeleteFunc(c.g.members, func(x *consumer) bool { return x == c })
	w.balance(c.g)
}

// Poll hands out a few marks of one log.
func (c *consumer) Poll(ctx context.Context) (dirty.Polled, error) {
	var out dirty.Polled
	w := c.p.world
	ended := func() bool {
		for log, r := range c.reading {
			if len(w.queue.read(nil, log, r.position, r.end)) > 0 {
				return false
			}
		}
		return c.o.Drain && c.joined
	}
	next := func() (int, []dirty.Mark) {
		for _, log := range slices.Sorted(maps.Keys(c.reading)) {
			r := c.reading[log]
			end := int64(len(w.queue.logs[log]))
			if c.o.Drain {
				end = r.end
			}
			if ms := w.queue.read(nil, log, r.position, end); len(ms) > 0 {
				return log, ms[:min(len(ms), max(1, w.plan.poll))]
			}
		}
		return 0, nil
	}
	err := c.p.call(ctx, &op{kind: "poll",
		ready: func() bool {
			_, ms := next()
			return len(ms) > 0 || len(c.revoked) > 0 || len(c.gaps) > 0 || ended()
		},
		do: func() error {
			for _, log := range c.told {
				c.g.known[log] = true
			}
			c.told = nil
			if len(c.revoked) > 0 {
				out.Revoked, c.revoked = c.revoked, nil
				return nil
			}
			if len(c.gaps) > 0 {
				out.Gaps, c.told, c.gaps = c.gaps, c.gaps, nil
				return nil
			}
			log, ms := next()
			if len(ms) == 0 {
				return io.EOF
			}
			for _, m := range ms {
				c.reading[log].ledger.Take(m)
				c.reading[log].position = m.Offset + 1
			}
			out.Marks = ms
			return nil
		}})
	return out, err
}

func (c *consumer) Done(m dirty.Mark) {
	w := c.p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := c.reading[int(m.Partition)]; r != nil && !c.p.dead {
		w.trace.addf("%s done %s @%d.%d", c.p, m.Hour, m.Partition, m.Offset)
		r.ledger.Done(m)
		if w.direct { // there is nobody who decides when to commit
			w.commit(c, int(m.Partition))
		}
	}
}

func (c *consumer) Behind() (ms []dirty.Mark) {
	w := c.p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, log := range slices.Sorted(maps.Keys(c.reading)) {
		ms = append(ms, c.reading[log].ledger.Behind(c.o.Slack)...)
	}
	return ms
}

func (c *consumer) Defer(ctx context.Context, ms ...dirty.Mark) error {
	if err := (queueView{c.p}).append(ctx, "defer", dirty.Again(ms)); err != nil {
		return err
	}
	w := c.p.world
	w.mu.Lock()
	w.stats.count("marks deferred", len(ms))
	w.mu.Unlock()
	for _, m := range ms {
		c.Done(m)
	}
	return nil
}

func (c *consumer) Close() error {
	return c.p.call(context.Background(), &op{kind: "leave", do: func() error {
		c.p.world.leave(c)
		return nil
	}})
}
