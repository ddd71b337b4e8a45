package cassandra

import (
	"errors"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/store"
)

// classify wraps store.ErrRefused around errors that will be the same next time.
// Whatever is unknown may go away: a needless repetition costs less than an event
// that is given up.
func classify(err error) error {
	if err == nil || !permanent(err) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrRefused, err)
}

func permanent(err error) bool {
	if errors.Is(err, gocql.ErrTooManyStmts) || errors.Is(err, gocql.ErrFrameTooBig) {
		return true
	}
	var re gocql.RequestError
	if !errors.As(err, &re) {
		return false
	}
	switch re.Code() {
	case gocql.ErrCodeSyntax, gocql.ErrCodeUnauthorized, gocql.ErrCodeConfig:
		return true
	case gocql.ErrCodeInvalid: // also batches and messages that are too large
		return true
	}
	return false
}

// readPolicy tries a failed read on two more servers. Writes have no policy:
// their caller repeats them until they are acknowledged, and one layer of
// repetitions is enough.
type readPolicy struct{}

const readAttempts = 3

func (readPolicy) Attempt(q gocql.RetryableQuery) bool { return q.Attempts() < readAttempts }

func (readPolicy) GetRetryType(err error) gocql.RetryType {
	// The other replicas have the same expired rows; the reader knows a way.
	if permanent(err) || tooManyExpired(err) {
		return gocql.Rethrow
	}
	return gocql.RetryNextHost
}
