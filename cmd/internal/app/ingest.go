package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/ingest"
)

// MappingFlags are the flags that say where in a record an event's parts stand.
type MappingFlags struct {
	Mapping ingest.Mapping
	columns []string
}

// Add adds the flags.
func (m *MappingFlags) Add(f *pflag.FlagSet) {
	f.StringVar(&m.Mapping.IDField, "id-field", "event_id", "`FIELD` of the event ID; without a value in it the payload's SHA-256 is the ID")
	f.StringVar(&m.Mapping.TypeField, "type-field", "event_type", "`FIELD` of the event type")
	f.StringVar(&m.Mapping.Type, "type", "", "event `TYPE` of everything, instead of --type-field")
	f.StringVar(&m.Mapping.TimeField, "time-field", "event_time", "`FIELD` of the event time: RFC 3339, or epoch seconds, milliseconds or microseconds")
	f.StringVar(&m.Mapping.ReceivedField, "received-field", "", "`FIELD` of the received time (default: now)")
	f.StringArrayVar(&m.columns, "column", nil, "typed column `NAME=FIELD[:TYPE]` of the lake; TYPE is string, int64, double, boolean or timestamp; may be repeated")
	f.DurationVar(&m.Mapping.AcceptPast, "accept-past", ingest.DefaultAcceptPast, "oldest event time accepted, before now; older goes to quarantine")
	f.DurationVar(&m.Mapping.AcceptFuture, "accept-future", ingest.DefaultAcceptFuture, "newest event time accepted, after now; newer goes to quarantine")
}

// Read returns the mapping, or every fault of it as a usage error.
func (m *MappingFlags) Read(f *pflag.FlagSet) (ingest.Mapping, error) {
	out := m.Mapping
	var errs []error
	if out.Type != "" {
		if f.Changed("type-field") {
			errs = append(errs, errors.New("give --type or --type-field, not both"))
		}
		out.TypeField = ""
	}
	for _, text := range m.columns {
		c, err := afterhours.ParseColumn(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--column: %w", err))
			continue
		}
		out.Columns = append(out.Columns, c)
	}
	if len(errs) == 0 {
		errs = append(errs, out.Validate())
	}
	return out, Usage(errors.Join(errs...))
}

// Ingest runs a source to its end, or until ctx ends, telling how far it is.
func (g *Global) Ingest(ctx context.Context, b *Backends, src ingest.Source, m ingest.Mapping, a GuardFlags) (ingest.Summary, error) {
	return g.IngestWatched(ctx, b, src, m, a, func(*ingest.Writer) {})
}

// IngestWatched is Ingest of a daemon: watch is told of the writer first.
func (g *Global) IngestWatched(ctx context.Context, b *Backends, src ingest.Source, m ingest.Mapping, a GuardFlags, watch func(*ingest.Writer)) (ingest.Summary, error) {
	w := ingest.New(b.Store, b.Dirty, a.apply(ingest.Options{Columns: m.Columns, Log: g.Logger}))
	watch(w)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		g.tellIngest(w, stop)
	}()
	defer func() { close(stop); <-ended }()
	return ingest.Run(ctx, src, m, w)
}

// tellIngest logs how far an ingest is, until it is stopped.
func (g *Global) tellIngest(w *ingest.Writer, stop <-chan struct{}) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	last := ingest.Summary{}
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		s := w.Stats()
		g.Logger.Info("ingesting", "read", s.Read, "kept", s.Written+s.Quarantined, "quarantined", s.Quarantined,
			"per_second", (s.Read-last.Read)/int64(progressEvery.Seconds()))
		last = s
	}
}

// Stopped turns the end of an endless source by a signal into success.
func Stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// WriteIngest says what an ingest did.
func WriteIngest(w io.Writer, s ingest.Summary, elapsed time.Duration) {
	fmt.Fprintf(w, "%d events read: %d written (%d late), %d quarantined; %d hours marked; %s in %s (%.0f events/s)\n",
		s.Read, s.Written, s.Late, s.Quarantined, s.Hours, Human(s.Bytes), elapsed.Round(10*time.Millisecond),
		float64(s.Written+s.Quarantined)/max(elapsed.Seconds(), 0.001))
	if rest := s.Read - s.Written - s.Quarantined; rest > 0 {
		fmt.Fprintf(w, "%d events read were not kept: send them again\n", rest)
	}
}

// healthUsage is the help of --health-addr.
const healthUsage = "`HOST:PORT` on which GET /livez, /readyz and /healthz are answered: 200, or 503 with what is wrong and what to do (default: none)"

// IngestFlags are those of an ingest that runs until it is stopped.
type IngestFlags struct {
	HealthAddr string
	StallAfter time.Duration
}

// Add adds the flags.
func (i *IngestFlags) Add(f *pflag.FlagSet) {
	f.StringVar(&i.HealthAddr, "health-addr", "", healthUsage)
	f.DurationVar(&i.StallAfter, "stall-after", 5*time.Minute, "health is bad when records wait and none was acknowledged for this long")
}

// Read reports every fault of the flags as a usage error.
func (i *IngestFlags) Read() error {
	if i.StallAfter <= 0 {
		return Usagef("--stall-after %s: want a positive duration, such as 5m", i.StallAfter)
	}
	return nil
}
