package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/afterhours/afterhours/store"
)

// Repetition starts soon and slows down to one attempt every few seconds.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second

	// alarmEvery is how often a call that keeps failing is logged.
	alarmEvery = 30 * time.Second
)

// calls are the kinds of calls that are repeated, each with its own alarm.
type calls struct {
	append, index, types, declare, mark, close call
}

func newCalls(log *slog.Logger) calls {
	return calls{
		append:  call{what: "append rows", check: "store", log: log},
		index:   call{what: "write index row", check: "store", log: log},
		types:   call{what: "read event types", check: "store", log: log},
		declare: call{what: "declare event type", check: "store", log: log},
		mark:    call{what: "mark hours", check: "queue", log: log},
		close:   call{what: "close lane", check: "store", log: log, tries: time.Minute},
	}
}

// call is a kind of call.
type call struct {
	what  string
	check string // of health, what it looks at
	log   *slog.Logger
	tries time.Duration // how long it is repeated; 0: until it works

	failing atomic.Pointer[failure] // nil while it works

	mu     sync.Mutex
	logged time.Time
}

// repeat calls f until it works. It gives up when ctx ends, and on errors that
// repeating cannot cure, which it returns as they are.
func (c *call) repeat(ctx context.Context, f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, lastPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if err == nil {
			c.works()
		}
		if errors.Is(err, store.ErrRefused) || errors.Is(err, store.ErrColumnConflict) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(c.tries), backoff.WithNotify(c.alarm))
	return err
}

// alarm logs that the call fails: at once, then every half a minute, however
// many calls of the kind fail.
func (c *call) alarm(err error, _ time.Duration) {
	c.fails(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.logged.IsZero() || now.Sub(c.logged) >= alarmEvery {
		c.logged = now
		c.log.Warn("repeating a call that fails; nothing it concerns is acknowledged meanwhile", "call", c.what, "err", err)
	}
}
