package cassandra

import (
	"context"
	"log/slog"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// driverLog passes on what the driver logs. What the driver calls information is
// for debugging only.
type driverLog struct {
	log    *slog.Logger
	severe slog.Level // level of the driver's warnings and errors
}

func (l driverLog) Error(msg string, fields ...gocql.LogField)   { l.put(l.severe, msg, fields) }
func (l driverLog) Warning(msg string, fields ...gocql.LogField) { l.put(l.severe, msg, fields) }
func (l driverLog) Info(msg string, fields ...gocql.LogField)    { l.put(slog.LevelDebug, msg, fields) }
func (l driverLog) Debug(msg string, fields ...gocql.LogField)   { l.put(slog.LevelDebug, msg, fields) }

func (l driverLog) put(level slog.Level, msg string, fields []gocql.LogField) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, len(fields))
	for i, f := range fields {
		attrs[i] = slog.Any(f.Name, f.Value.Any())
	}
	l.log.LogAttrs(ctx, level, "cassandra driver: "+msg, attrs...)
}
