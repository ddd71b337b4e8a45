package dirty

import (
	"container/list"

	"github.com/afterhours/afterhours"
)

// DefaultSlack is the slack of a consumer whose options name none.
const DefaultSlack = 10_000

// room is how many marks of slack each hour that waits is given. To defer all n
// of them appends n marks. Were the slack smaller than that, the first would be
// behind again when the last was handed out, and the log would grow for ever
// although nothing happens. With twice the room, deferring at most doubles what
// the log grows by.
const room = 2

// behindAtOnce is how many marks of a partition Behind returns at most: it is
// called again and again, under a lock that others wait for.
const behindAtOnce = 10_000

// Ledger knows which hours of one partition wait, and from it the offset to
// commit. It keeps one mark an hour, the last that was handed out, however often
// the hour is marked. The zero value is ready; it is not safe for concurrent use.
// All methods take constant time, but for Behind.
//
// # Why one mark is enough
//
// A mark says no more than that its hour has something new: one of them is
// served by reading all that is new, so it stands for every mark before it. The
// floor may pass a mark that is not served if a later one of the same hour lies
// at or above the floor. So it may stand on the lowest of the hours' last marks:
//
//   - A consumer that starts at the floor, after a crash or because the partition
//     was given to it, is handed a mark of every hour that waits.
//   - Log compaction drops a mark only if a later one of the hour follows, and
//     that lies above the floor all the more.
//   - Done of a mark before the last says nothing of the last: the hour waits on,
//     where it is.
//   - An hour whose log changed, because partitions were added, may wait in two
//     partitions. Each has its own ledger and is done by its own marks.
//   - All of this is true of the log, not of a member of the group. A floor that
//     somebody commits late, who owns the partition no more, is too low at worst:
//     marks come twice.
type Ledger struct {
	position int64                             // after the last offset that was passed
	hours    map[afterhours.Hour]*list.Element // the elements of order
	order    list.List                         // of *Mark: the last of each hour that waits, lowest first
}

// Take records that m was handed out. Marks are taken in the order of their log.
func (l *Ledger) Take(m Mark) {
	if l.hours == nil {
		l.hours = map[afterhours.Hour]*list.Element{}
	}
	if e := l.hours[m.Hour]; e != nil {
		*e.Value.(*Mark) = m
		l.order.MoveToBack(e)
	} else {
		l.hours[m.Hour] = l.order.PushBack(&m)
	}
	l.Pass(m.Offset)
}

// Pass records that nothing has to be done for what lies at offset.
func (l *Ledger) Pass(offset int64) { l.position = offset + 1 }

// Done records that the hour's marks up to and including m are served.
func (l *Ledger) Done(m Mark) {
	e := l.hours[m.Hour]
	if e == nil || e.Value.(*Mark).Offset > m.Offset {
		return
	}
	l.order.Remove(e)
	delete(l.hours, m.Hour)
}

// Floor returns the offset to commit: every hour that waits has a mark at or
// above it. It never falls, and is 0 until the first mark was taken.
func (l *Ledger) Floor() int64 {
	if first := l.order.Front(); first != nil {
		return first.Value.(*Mark).Offset
	}
	return l.position
}

// Waiting returns how many hours wait.
func (l *Ledger) Waiting() int { return len(l.hours) }

// Behind returns what [Consumer.Behind] promises for the partition. It takes
// time for what it returns, not for what waits.
func (l *Ledger) Behind(slack int64) []Mark {
	slack = max(slack, room*int64(l.Waiting()))
	var behind []Mark
	for e := l.order.Front(); e != nil && len(behind) < behindAtOnce; e = e.Next() {
		m := e.Value.(*Mark)
		if l.position-1-m.Offset <= slack {
			break
		}
		behind = append(behind, *m)
	}
	return behind
}
