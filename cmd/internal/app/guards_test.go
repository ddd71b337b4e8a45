package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours/ingest"
)

// guards reads the guards of a command line.
func guards(t *testing.T, topics bool, line string) (ingest.Options, error) {
	t.Helper()
	var a GuardFlags
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	a.Add(f)
	if err := f.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	a, err := a.Read(f, topics)
	return a.apply(ingest.Options{}), err
}

// TestGuards: topics have budgets and files have none, unless the flags say
// otherwise, where 0 means no limit.
func TestGuards(t *testing.T) {
	for _, c := range []struct {
		topics       bool
		line         string
		types, hours int
	}{
		{true, "", 1000, 20_000},
		{false, "", 0, 0},
		{true, "--new-types-per-day 0 --new-hours-per-minute 0", 0, 0},
		{false, "--new-types-per-day 5", 5, 0},
	} {
		if o, err := guards(t, c.topics, c.line); err != nil || o.NewTypes != c.types || o.NewHours != c.hours {
			t.Errorf("topics %t, %q: %d types, %d hours, %v; want %d and %d", c.topics, c.line, o.NewTypes, o.NewHours, err, c.types, c.hours)
		}
	}
	if o, err := guards(t, true, "--allow-type a --allow-type b,c"); err != nil || !slices.Equal(o.AllowTypes, []string{"a", "b,c"}) {
		t.Errorf("allowed are %q, %v", o.AllowTypes, err)
	}
}

// TestGuardMistakes: the answer names the flag, and is one of usage.
func TestGuardMistakes(t *testing.T) {
	for line, says := range map[string]string{
		"--allow-type _x":           "--allow-type: ",
		"--new-types-per-day=-1":    "--new-types-per-day -1",
		"--new-hours-per-minute=-1": "--new-hours-per-minute -1",
	} {
		if _, err := guards(t, false, line); !IsUsage(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
