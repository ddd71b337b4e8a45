package main

import (
	"testing"

	"github.com/afterhours/afterhours/cmd/internal/app"
)

// TestMistakes: every mistake of a command line gets an answer that names it, and
// is one of usage.
func TestMistakes(t *testing.T) {
	s := newSite(t)
	embedded := "pebble://" + t.TempDir()
	for line, says := range map[string]string{
		"once --max-hours=-1":                       "--max-hours -1",
		"once --max-runtime=-1s":                    "--max-runtime -1s",
		"rebuild":                                   "at least 1 arg",
		"rebuild a b/2026-11-20T10":                 `"a": want TYPE/2026-11-20T10`,
		"rebuild b/2026-11-20":                      "is a day",
		"restore " + theHour:                        "--from is missing",
		"restore 2026-11-20T10 --from x":            `"2026-11-20T10"`,
		"restore " + theHour + " b --from x":        "accepts 1 arg",
		"feed --since soon":                         `--since "soon"`,
		"feed --until soon":                         `--until "soon"`,
		"run --health-addr nowhere":                 `--health-addr "nowhere": want HOST:PORT`,
		"run --type-policy a:calm=1m":               `unknown part "calm"`,
		"run --giants 17":                           "--giants 17 is more than --workers 16",
		"once --store " + embedded + "?tll=720h":    `unknown parameter "tll"`,
		"once --store " + embedded + "?ttl=soon":    `ttl "soon"`,
		"once --store " + embedded + "?ttl=0s":      `ttl "0s"`,
		"once --store pebble://?ttl=720h":           "names no directory",
		"once --dirty " + embedded + "?ttl=720h":    `unknown parameter "ttl"`,
		"why-not-yet":                               "accepts 1 arg",
		"why-not-yet purchase":                      `"purchase": want TYPE/2026-11-20T10`,
		"why-not-yet purchase/2026-11-20":           "is a day",
		"why-not-yet " + theHour + " --row-worth=x": `"x" is no size`,
		"run --type-policy a:row-worth=-1":          `row-worth "-1" is no size`,
		"sweep everything":                          `unknown command "everything"`,
	} {
		s.fail(t, line, app.ExitUsage, says)
	}
}
