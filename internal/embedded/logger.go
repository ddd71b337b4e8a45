package embedded

import (
	"fmt"
	"log/slog"
	"os"
)

// logger tells slog what Pebble has to say: its housekeeping only to those who
// debug.
type logger struct{ log *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
}

func (l logger) Errorf(format string, args ...any) {
	l.log.Warn("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf ends the process, as Pebble demands: it calls this when it can no
// longer write its log, and nothing that was acknowledged is lost by stopping.
func (l logger) Fatalf(format string, args ...any) {
	l.log.Error("pebble cannot go on", "message", fmt.Sprintf(format, args...))
	os.Exit(1)
}
