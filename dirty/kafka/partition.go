package kafka

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/dirty"
)

// partition is what a consumer knows of a partition it was assigned.
type partition struct {
	known     bool   // what is below was fetched
	topic     string // the topic's ID
	reading   int64  // names this reading of the log: marks of another say nothing of this one
	start     int64  // where reading began
	position  int64  // every record below it was handed out, or is none to hand out
	end       int64  // of the log, when the partition was assigned
	committed floor  // zero: what is committed must be replaced
	gap       bool   // there was one, and nobody is known to have taken note
	strange   bool   // a record that is no mark was seen
	ledger    dirty.Ledger

	stuckAt    int64         // the position where it waits
	stuckSince time.Duration // on the watchdog's clock; 0: not waiting
}

func (p *partition) take(m dirty.Mark) {
	p.ledger.Take(m)
	p.position = m.Offset + 1
}

// pass records that nothing has to be done for the record at offset.
func (p *partition) pass(offset int64) {
	p.ledger.Pass(offset)
	p.position = offset + 1
}

// rewind begins a new reading at a lower offset. What is committed would hide
// marks once the log has grown beyond it, so it is replaced.
func (p *partition) rewind(offset, reading int64) {
	p.ledger = dirty.Ledger{}
	p.reading, p.start, p.position, p.committed = reading, offset, offset, floor{}
}

// floor returns what is to be committed.
func (p *partition) floor() floor {
	return floor{true, max(p.start, p.ledger.Floor()), p.topic, p.gap}
}

// The client calls what follows, one at a time but for startOffsets, while the
// group is balanced.

func (c *Consumer) onAssigned(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined = true
	for _, id := range parts[c.q.topic] {
		c.assigned[id] = &partition{}
	}
}

// startOffsets decides where newly assigned partitions are read from.
func (c *Consumer) startOffsets(ctx context.Context, parts map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	logs, err := c.q.bounds(ctx)
	var floors map[int32]floor
	if err == nil {
		floors, err = c.q.floors(ctx, c.group)
	}
	if err != nil {
		c.log.Warn("kafka group cannot start yet", "error", err.Error())
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range parts[c.q.topic] {
		if p := c.assigned[id]; p != nil {
			*p = c.begin(id, logs[id], floors[id])
			parts[c.q.topic][id] = kgo.NewOffset().At(p.start)
		}
	}
	return parts, nil
}

// begin returns a partition that is read from its group's floor, or if that is of
// no use from the first mark of the log. Then the floor is replaced: once the log
// has grown beyond it, it would hide marks.
func (c *Consumer) begin(id int32, log bounds, f floor) partition {
	c.readings++
	offset, why := log.resume(f)
	p := partition{known: true, topic: log.topic, reading: c.readings, start: offset, position: offset, end: log.end, committed: f, gap: f.gap || why != ""}
	if p.gap {
		c.gaps = append(c.gaps, id)
	}
	if why == "" {
		return p
	}
	p.committed = floor{}
	level := slog.LevelError
	if !f.known {
		level = slog.LevelDebug // a new group, or one that was away for so long that it was forgotten
	}
	c.log.Log(context.Background(), level, "kafka committed offset is of no use, reading all of the log", "why", why,
		"partition", id, "committed", f.at, "first", log.start, "end", log.end)
	return p
}

// deleted tells of a log that begins beyond what was read of it: somebody has
// deleted marks.
func (c *Consumer) deleted(id int32, p *partition, first int64) {
	if !p.known || first <= p.position {
		return
	}
	c.log.Error("kafka marks were deleted before they were read", "partition", id, "read_up_to", p.position, "first", first)
	c.gapIn(id)
	p.pass(first - 1)
}

// gapIn records a gap, which Poll tells. It is committed with the floor until Poll is
// called again: if this member is gone before, the next one tells.
func (c *Consumer) gapIn(id int32) {
	c.gaps = append(c.gaps, id)
	if p := c.assigned[id]; p != nil {
		p.gap = true
	}
}

// noted is called when Poll is called again: the gaps it told are known now.
func (c *Consumer) noted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.told {
		if p := c.assigned[id]; p != nil && !slices.Contains(c.gaps, id) {
			p.gap = false
		}
	}
	c.told = nil
}

// onRevoked commits what is done before another member starts there.
func (c *Consumer) onRevoked(ctx context.Context, _ *kgo.Client, parts map[string][]int32) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := c.commit(ctx); err != nil {
		c.log.Warn("commit offsets of revoked kafka partitions; their marks come again", "error", err.Error())
	}
	c.forget(parts[c.q.topic])
}

// onLost is called when the group has gone on without this member: it must not
// commit any more.
func (c *Consumer) onLost(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	c.forget(parts[c.q.topic])
}

func (c *Consumer) forget(ids []int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if c.assigned[id] != nil {
			delete(c.assigned, id)
			c.revoked = append(c.revoked, id)
		}
	}
}

// takeRevoked returns the partitions that were revoked since it was last called.
func (c *Consumer) takeRevoked() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return take(&c.revoked)
}

// takeGaps returns the partitions that gaps were found in since it was last called,
// to be told.
func (c *Consumer) takeGaps() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	gaps := take(&c.gaps)
	c.told = append(c.told, gaps...)
	return gaps
}

func take(ids *[]int32) []int32 {
	taken := *ids
	*ids = nil
	slices.Sort(taken)
	return slices.Compact(taken)
}
