package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// system is what can be explored: states, and the steps that lead from one to the
// next. A system is for one exploration at a time.
type system[S comparable] interface {
	// first returns the state in which everything begins.
	first() S

	// next appends every step that can be taken in s, always in the same order.
	next(s S, steps []step[S]) []step[S]

	// wrong says which promise s breaks; "" if none.
	wrong(s S) string

	// unfinished says what is missing in a state in which nothing is left to do;
	// "" if nothing.
	unfinished(s S) string
}

// step is one thing that can happen.
type step[S comparable] struct {
	to   S
	what label
	weak bool // nobody is obliged to it: a fault, or time that passes
}

// result is what an exploration found.
type result struct {
	states, transitions int
	complete            bool     // every state that can be reached was visited
	violation           string   // the promise that is broken; "" if none is
	trace               []string // the shortest way there
	elapsed             time.Duration
}

func (r result) String() string {
	end := "exhaustive"
	switch {
	case r.violation != "":
		end = fmt.Sprintf("%s, after %d steps", r.violation, len(r.trace))
	case !r.complete:
		end = "bound reached"
	}
	return fmt.Sprintf("%s: %d states, %d transitions, %s", end, r.states, r.transitions, r.elapsed.Round(10*time.Millisecond))
}

// story is the trace, a numbered line each.
func (r result) story() string {
	var b strings.Builder
	for i, what := range r.trace {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, what)
	}
	return b.String()
}

// explore visits the states that can be reached, those that take fewer steps
// first, until one is wrong or limit states were visited.
func explore[S comparable](sys system[S], limit int) result {
	x := explorer[S]{system: sys, seed: maphash.MakeSeed(), limit: limit}
	start := time.Now()
	x.run()
	x.elapsed = time.Since(start)
	return x.result
}

// explorer is an exploration at work. It keeps of every state a fingerprint and
// the step that led to it, and whole only the states that were not expanded yet.
type explorer[S comparable] struct {
	system[S]
	seed  maphash.Seed
	limit int
	seen  visited
	open  queue[S]
	links links
	steps []step[S]
	result
}

func (x *explorer[S]) run() {
	x.visit(x.first(), 0, 0)
	for from := uint32(0); x.violation == "" && x.open.n > 0; from++ {
		if x.states = x.seen.n; x.states > x.limit {
			return
		}
		x.expand(x.open.pop(), from)
	}
	x.states = x.seen.n
	x.complete = x.violation == ""
}

// expand visits what follows a state, which was the from-th to be visited.
func (x *explorer[S]) expand(s S, from uint32) {
	x.steps = x.next(s, x.steps[:0])
	x.transitions += len(x.steps)
	over := true
	for i := range x.steps {
		over = over && x.steps[i].weak
		if x.visit(x.steps[i].to, from, i); x.violation != "" {
			return
		}
	}
	if over {
		if x.violation = x.unfinished(s); x.violation != "" {
			x.trace = x.way(from)
		}
	}
}

// visit looks at a state that the i-th step from another leads to.
func (x *explorer[S]) visit(s S, from uint32, i int) {
	if !x.seen.add(maphash.Comparable(x.seed, s)) {
		return
	}
	x.links.add(from, i)
	x.open.push(s)
	if x.violation = x.wrong(s); x.violation != "" {
		x.trace = x.way(uint32(x.seen.n - 1))
	}
}

// way returns the steps that lead to the n-th state.
func (x *explorer[S]) way(n uint32) []string {
	var choices []int
	for n != 0 {
		from, i := x.links.at(n)
		choices = append(choices, i)
		n = from
	}
	slices.Reverse(choices)
	s := x.first()
	var way []string
	for _, i := range choices {
		taken := x.next(s, nil)[i]
		way = append(way, taken.what.String())
		s = taken.to
	}
	return way
}

// block is how many states or links are kept together.
const block = 1 << 13

// queue holds states in the order in which they came. Blocks that were emptied
// are filled again: garbage of this size would double the memory.
type queue[S comparable] struct {
	full   [][]S // the first is being emptied, the last is being filled
	empty  [][]S
	popped int // of the first
	n      int
}

func (q *queue[S]) push(s S) {
	last := len(q.full) - 1
	if last < 0 || len(q.full[last]) == block {
		q.full = append(q.full, q.fresh())
		last++
	}
	q.full[last] = append(q.full[last], s)
	q.n++
}

func (q *queue[S]) fresh() []S {
	if n := len(q.empty); n > 0 {
		b := q.empty[n-1]
		q.empty = q.empty[:n-1]
		return b
	}
	return make([]S, 0, block)
}

func (q *queue[S]) pop() S {
	s := q.full[0][q.popped]
	q.popped++
	q.n--
	if q.popped == block {
		q.empty = append(q.empty, q.full[0][:0])
		q.full, q.popped = q.full[1:], 0
	}
	return s
}

// links say of each state from which other it was reached, by which of its steps.
type links struct {
	blocks []*linkBlock
	n      int
}

type linkBlock struct {
	from [block]uint32
	step [block]uint8
}

func (l *links) add(from uint32, i int) {
	if i > 255 {
		panic(fmt.Sprintf("a state has more than 256 steps: %d", i))
	}
	if l.n%block == 0 {
		l.blocks = append(l.blocks, new(linkBlock))
	}
	b := l.blocks[l.n/block]
	b.from[l.n%block], b.step[l.n%block] = from, uint8(i)
	l.n++
}

func (l *links) at(n uint32) (from uint32, i int) {
	b := l.blocks[n/block]
	return b.from[n%block], int(b.step[n%block])
}
