package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/lake"
)

// TestStuckIsToldOnce: each hour that gets stuck is logged with its remedy when it
// does, not at every try, and again only if it was well in between. An hour that
// merely failed is not stuck.
func TestStuckIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	tell := tellStuck(slog.New(slog.NewTextHandler(&log, nil)))
	refused, vanished := fmt.Errorf("rewrite: %w", lake.ErrRefused), fmt.Errorf("rewrite: %w", compact.ErrVanished)
	for n, step := range []struct {
		name string
		err  error
		told int // so far
	}{
		{"a", errors.New("no route to host"), 0},
		{"a", refused, 1},
		{"a", refused, 1},
		{"b", vanished, 2},
		{"a", nil, 2},
		{"b", vanished, 2},
		{"a", refused, 3},
	} {
		tell(compact.Outcome{Hour: afterhours.HourOf(step.name, 0), Err: step.err})
		if told := strings.Count(log.String(), "hour is stuck"); told != step.told {
			t.Fatalf("step %d: told %d times, want %d:\n%s", n, told, step.told, &log)
		}
	}
	if !strings.Contains(log.String(), "hour=b/1970-01-01T00") || !strings.Contains(log.String(), "compactor rebuild b/1970-01-01T00 --discard-base") {
		t.Errorf("the log does not name the hour and its remedy:\n%s", &log)
	}
}
