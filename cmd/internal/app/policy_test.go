package app

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours/compact"
)

// compactFlags reads a command line of a compactor.
func compactFlags(t *testing.T, args ...string) *CompactFlags {
	t.Helper()
	c, f := NewCompactFlags(), pflag.NewFlagSet("", pflag.ContinueOnError)
	c.AddWork(f)
	c.AddClasses(f)
	c.AddGroup(f)
	c.AddPolicy(f)
	c.AddDaemon(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTypePolicies: what a type's policy does not name is as for all others,
// whichever of the flags comes first; a type may have colons of its own.
func TestTypePolicies(t *testing.T) {
	cfg, err := compactFlags(t, "--type-policy", "a:b:quiet=1m,age-share=0", "--grace", "9s", "--row-worth", "2MiB", "--type-policy", "c:max-delay=2h,grace=1s,row-worth=0").config()
	if err != nil {
		t.Fatal(err)
	}
	own, other := cfg.Policy, cfg.Policy
	own.Quiet, own.AgeShare = time.Minute, 0
	other.MaxDelay, other.Grace, other.RowWorth = 2*time.Hour, time.Second, 0
	if cfg.Policy.Grace != 9*time.Second || cfg.Policy.RowWorth != 2<<20 || len(cfg.Types) != 2 || cfg.Types["a:b"] != own || cfg.Types["c"] != other {
		t.Errorf("policy %+v, of types %+v", cfg.Policy, cfg.Types)
	}
}

// TestDefaultFlags: without flags a compactor has the library's defaults.
func TestDefaultFlags(t *testing.T) {
	cfg, err := compactFlags(t).config()
	want := compact.Defaults()
	if err != nil || cfg.Policy != want.Policy || cfg.Giants != want.Giants || cfg.GiantBytes != want.GiantBytes || cfg.SweepEvery != want.SweepEvery {
		t.Errorf("%+v, %v; want %+v", cfg, err, want)
	}
}

// TestFlagMistakes: the answer names the flag and what is wrong with it, and is
// one of usage.
func TestFlagMistakes(t *testing.T) {
	for line, says := range map[string]string{
		"--type-policy a":                                   `--type-policy "a": want TYPE:`,
		"--type-policy a:quiet=soon":                        `quiet "soon": want a duration`,
		"--type-policy a:quiet=-1s":                         `quiet "-1s"`,
		"--type-policy a:age-share=x":                       `age-share "x": want a number`,
		"--type-policy a:age-share=NaN":                     `age-share "NaN"`,
		"--type-policy a:row-worth=much":                    `row-worth "much" is no size`,
		"--type-policy a:calm=1m":                           `unknown part "calm"`,
		"--type-policy a:quiet=1m,quiet=2m":                 "quiet is given twice",
		"--type-policy _x:quiet=1m":                         "underscore",
		"--type-policy a:quiet=1m --type-policy a:=":        "unknown part",
		"--type-policy a:quiet=1m --type-policy a:grace=1m": `"a" has one already`,
		"--giants 17":                                       "--giants 17 is more than --workers 16",
		"--giants 0":                                        "giants is 0",
		"--stuck-retry 0":                                   "--stuck-retry 0s",
		"--stall-after 0":                                   "--stall-after 0s",
		"--sweep-every=-1h":                                 "--sweep-every -1h",
		"--age-share NaN":                                   "--age-share NaN",
		"--grace=-1s":                                       "grace",
	} {
		if _, err := compactFlags(t, strings.Fields(line)...).config(); err == nil || !IsUsage(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a usage error that says %q", line, err, says)
		}
	}
}

// TestNoSweeps: 0 turns sweeps off and is no mistake.
func TestNoSweeps(t *testing.T) {
	if cfg, err := compactFlags(t, "--sweep-every", "0").config(); err != nil || cfg.SweepEvery != 0 {
		t.Errorf("sweeps every %s, %v", cfg.SweepEvery, err)
	}
}

// TestOneWorker: a single worker rewrites giants too, with the default of the rest.
func TestOneWorker(t *testing.T) {
	if cfg, err := compactFlags(t, "--workers", "1").config(); err != nil || cfg.Giants != 1 {
		t.Errorf("%d giants, %v", cfg.Giants, err)
	}
}
