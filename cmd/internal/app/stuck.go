package app

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// StuckJSON is a stuck hour in JSON; fields may be added, never renamed.
type StuckJSON struct {
	Hour   string    `json:"hour"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	Remedy string    `json:"remedy"`
}

// NewStuckJSON returns stuck hours as they are written in JSON, never nil.
func NewStuckJSON(stuck []store.Stuck) []StuckJSON {
	out := make([]StuckJSON, len(stuck))
	for i, s := range stuck {
		out[i] = StuckJSON{s.Hour.String(), s.Since.Time(), s.Reason, Remedy(s.Hour)}
	}
	return out
}

// Remedy says how to put a stuck hour right. A reason such as a newer format has
// a remedy of its own, and this one would give up rows for nothing.
func Remedy(h afterhours.Hour) string {
	return fmt.Sprintf("unless the reason names another: put an older version of its object back with 'compactor restore %s --from FILE', "+
		"or make a new one of the raw rows that are left with 'compactor rebuild %[1]s --discard-base'", h)
}

// tellStuck returns an observer of rewrites that logs each hour once when it gets
// stuck, with its remedy.
func tellStuck(log *slog.Logger) func(compact.Outcome) {
	var told sync.Map // hours
	return func(o compact.Outcome) {
		switch {
		case o.Err == nil:
			told.Delete(o.Hour)
		case errors.Is(o.Err, lake.ErrRefused), errors.Is(o.Err, compact.ErrVanished):
			if _, again := told.LoadOrStore(o.Hour, true); !again {
				log.Error("hour is stuck until somebody acts", "hour", o.Hour.String(), "remedy", Remedy(o.Hour))
			}
		}
	}
}
