package cassandra

import (
	"context"
	"errors"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// smallPage is for tables whose rows are small.
const smallPage = 1000

// read prepares a query. A read that fails is tried on other servers.
func (s *Store) read(stmt string, args ...any) *gocql.Query {
	return s.session.Query(stmt, args...).Idempotent(true).RetryPolicy(readPolicy{}).PageSize(smallPage)
}

// scan visits the rows of a query. All reading goes through it, because the
// driver reports a page that could not be read only when the iterator is closed:
// err is nil only if that went well, so nobody takes a part for the whole. An
// error of visit ends the reading and is stop.
func scan[T any](ctx context.Context, q *gocql.Query, dest func(*T) []any, visit func(T) error) (stop, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the next page, which is fetched ahead
	it := q.IterContext(ctx)
	for {
		var row T // a new one each time: the driver writes into slices that it is given
		if !it.Scan(dest(&row)...) {
			return nil, it.Close()
		}
		if err := visit(row); err != nil {
			return err, nil
		}
	}
}

// each is scan with one error: that of visit as it is, or one of reading.
func each[T any](ctx context.Context, q *gocql.Query, what string, dest func(*T) []any, visit func(T) error) error {
	stop, err := scan(ctx, q, dest, visit)
	if stop != nil {
		return stop
	}
	return reading(what, err)
}

// reading describes an error of reading something.
func reading(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", what, classify(err))
}

// piecewise reads what comes after lo, up to hi. A server ends a query that has
// passed over too many expired rows which it has not purged yet, also when there
// are rows behind them. Then the rest is read in halves, and these in halves, as
// often as it takes.
//
// read reads from one key to another. It returns the last key that needs not be
// read again, and whether too many expired rows are the cause of err. middle
// returns a key from lo on and before hi, lo itself if there is none between.
func piecewise[K comparable](lo, hi K, middle func(lo, hi K) K, read func(lo, hi K) (at K, expired bool, err error)) error {
	at, expired, err := read(lo, hi)
	if !expired {
		return err
	}
	mid := middle(at, hi)
	switch {
	case mid == at && at == lo:
		return err
	case mid == at: // what had expired may lie before it
		return piecewise(at, hi, middle, read)
	}
	if err := piecewise(at, mid, middle, read); err != nil {
		return err
	}
	return piecewise(mid, hi, middle, read)
}

// reasonTombstones is the protocol's code for a read that found too many
// tombstones, which is what expired rows count as.
const reasonTombstones = 1

// tooManyExpired reports whether a read failed because of expired rows that are
// not purged yet. Before protocol 5 servers give no reason; it is the usual one.
func tooManyExpired(err error) bool {
	var failure *gocql.RequestErrReadFailure
	if !errors.As(err, &failure) {
		return false
	}
	for _, reason := range failure.ErrorMap {
		if reason == reasonTombstones {
			return true
		}
	}
	return len(failure.ErrorMap) == 0
}
