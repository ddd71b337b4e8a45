package ingest

// queue is a first-in, first-out list. Its zero value is empty.
type queue[T any] struct {
	items []T
	first int
}

func (q *queue[T]) len() int { return len(q.items) - q.first }
func (q *queue[T]) head() T  { return q.items[q.first] }
func (q *queue[T]) push(x T) { q.items = append(q.items, x) }

func (q *queue[T]) pop() T {
	var zero T
	x := q.items[q.first]
	q.items[q.first] = zero
	q.first++
	// Moving the rest costs no more than the pops since the last time.
	if 2*q.first >= len(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	return x
}
