package app

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/ingest"
)

// Budgets of a topic unless the flags say otherwise: whoever may write to it could
// be anybody. Files are the operator's own and have none.
const (
	topicNewTypes = 1000
	topicNewHours = 20_000
)

// GuardFlags are the flags that keep one sender from harming the others. The zero
// value lets everything pass.
type GuardFlags struct {
	allow    []string
	newTypes int
	newHours int
}

// Add adds the flags.
func (a *GuardFlags) Add(f *pflag.FlagSet) {
	const above = "; what is above goes to quarantine; 0: no limit (default %d for topics, no limit for files)"
	f.StringArrayVar(&a.allow, "allow-type", nil, "only event `TYPE` that is ingested, all others go to quarantine; may be repeated (default: all types)")
	f.IntVar(&a.newTypes, "new-types-per-day", 0, "`N` event types unknown so far that each topic or file may bring in a UTC day"+fmt.Sprintf(above, topicNewTypes))
	f.IntVar(&a.newHours, "new-hours-per-minute", 0, "`N` hours, not counting the present one and those written lately, that each topic or file may touch in a minute"+fmt.Sprintf(above, topicNewHours))
}

// Read returns the flags, with the defaults of topics or those of files, or every
// fault of them as a usage error.
func (a GuardFlags) Read(f *pflag.FlagSet, topics bool) (GuardFlags, error) {
	var errs []error
	for _, name := range a.allow {
		if err := afterhours.ValidateType(name); err != nil {
			errs = append(errs, fmt.Errorf("--allow-type: %w", err))
		}
	}
	for _, b := range []struct {
		flag     string
		value    *int
		ofTopics int
	}{{"new-types-per-day", &a.newTypes, topicNewTypes}, {"new-hours-per-minute", &a.newHours, topicNewHours}} {
		if topics && !f.Changed(b.flag) {
			*b.value = b.ofTopics
		}
		if *b.value < 0 {
			errs = append(errs, fmt.Errorf("--%s %d: want a positive number, or 0 for no limit", b.flag, *b.value))
		}
	}
	return a, Usage(errors.Join(errs...))
}

// apply sets the guards of a writer.
func (a GuardFlags) apply(o ingest.Options) ingest.Options {
	o.AllowTypes, o.NewTypes, o.NewHours = a.allow, a.newTypes, a.newHours
	return o
}
