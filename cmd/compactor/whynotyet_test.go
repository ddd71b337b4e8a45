package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/store"
)

// longAgo is an hour that is over whatever the clock says.
const longAgo = "purchase/2020-01-02T10"

// TestWhyNotYet follows an hour from its first late event to its last publish: the
// first line is the answer.
func TestWhyNotYet(t *testing.T) {
	s := newSite(t)
	why := func(flags, answer string, says ...string) {
		t.Helper()
		out := s.run(t, "why-not-yet "+longAgo+" --age-share 0 "+flags, says...)
		if first, _, _ := strings.Cut(out, "\n"); !strings.HasPrefix(first, longAgo+": "+answer) {
			t.Errorf("%s: the answer is %q, want %q", flags, first, answer)
		}
	}
	const sooner = "sooner\tcompactor backfill --event-type purchase --from 2020-01-02T10 --to 2020-01-02T11\n"
	s.fail(t, "why-not-yet "+longAgo, app.ExitFailed, longAgo, "is the name right?")
	s.ingest(t, "2020-01-02T10", 3)
	why("--quiet 1h", "waits until ", "more may come, and 1 h is to be quiet\n", "waiting\t3 late rows, ", "decides: nothing more for 1 h,", sooner)
	why("--quiet 0", "is due since ", sooner)
	s.run(t, strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(sooner, "sooner\t")), "compactor "), "1 hours rewritten")
	why("", "nothing waits but a mark, ", "as generation 1 with 3 rows\n")
	s.run(t, "once")
	why("", "nothing waits; last published ", "partition\t3 rows, ")
	s.ingest(t, "2020-01-02T10", 1)
	why("--quiet 1s --row-worth 1B", "waits until ", "): 1 late row, ", ", not yet worth rewriting ", "decides: waits of the rows add up to ", sooner)
	why("--quiet 1s --row-worth 1B --max-delay 20m", "waits until ", ", the longest delay): 1 late row, ", "decides: 20 min after the first mark")
	why("--quiet 1s --type-policy purchase:row-worth=0,quiet=2h", "waits until ", "2 h is to be quiet")
}

// TestWhyNotYetOfARunningHour: it is waited for until it is over.
func TestWhyNotYetOfARunningHour(t *testing.T) {
	s := newSite(t)
	h := afterhours.HourOf("purchase", afterhours.MicrosOf(time.Now().Add(time.Hour)))
	s.ingest(t, h.Span(), 1)
	s.run(t, "why-not-yet "+h.String()+" --grace 5m", "waits until ", "after a grace of 5 min\n", "decides: 5 min after the hour's end")
}

// TestWhyNotYetOfAnUnmarkedHour: a mark may have been lost.
func TestWhyNotYetOfAnUnmarkedHour(t *testing.T) {
	s := newSite(t)
	s.ingest(t, "2020-01-02T10", 1)
	s.loseQueue(t)
	s.run(t, "why-not-yet "+longAgo, "neither a partition nor a mark", "'compactor sweep'")
}

// TestWhyNotYetOfAStuckHour has the reason and the remedy.
func TestWhyNotYetOfAStuckHour(t *testing.T) {
	s := newSite(t)
	s.damage(t)
	s.fail(t, "once", app.ExitFailed, "hour is stuck")
	s.run(t, "why-not-yet "+theHour, theHour+": is stuck since ", "must not be rewritten", "'compactor rebuild "+theHour+" --discard-base'")
}

// TestWhyNotYetInJSON has the same answer, the numbers, and lists that are never null.
func TestWhyNotYetInJSON(t *testing.T) {
	s := newSite(t)
	s.ingest(t, "2020-01-02T10", 2)
	s.onBoard(t, func(b store.Board) error {
		h, err := afterhours.ParseHour(longAgo)
		if err != nil {
			return err
		}
		return b.PutRequest(t.Context(), store.Request{Hour: h, ID: "r", Made: h.Start, Rebuild: true})
	})
	var why whyJSON
	if err := json.Unmarshal([]byte(s.run(t, "why-not-yet --json --quiet 1h "+longAgo)), &why); err != nil {
		t.Fatal(err)
	}
	if why.State != compact.Requested || why.Until == nil || why.First == nil || why.Rows != 2 || why.Partition != nil || why.Stuck == nil ||
		len(why.Requests) != 1 || !why.Requests[0].Rebuild || !strings.Contains(why.Answer, "asked for at 2020-01-02T10:00:00Z") {
		t.Errorf("%+v", why)
	}
	if len(why.Terms) != 4 || why.Terms[1].Name != "quiet" || !why.Terms[2].At.Equal(why.First.Add(24*time.Hour)) || why.Sooner == "" {
		t.Errorf("terms %+v, sooner %q", why.Terms, why.Sooner)
	}
	s.run(t, "once")
	if out := s.run(t, "why-not-yet --json "+longAgo, `"until": null`, `"marked_first": null`, `"terms": []`, `"requests": []`); strings.Contains(out, "sooner") {
		t.Errorf("something is to be sooner of an hour that waits for nothing: %s", out)
	}
}

// TestLength: two units, rounded.
func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "0s",
		1500 * time.Millisecond:         "1.5s",
		90 * time.Second:                "1 min 30 s",
		3*time.Hour + 12*time.Minute:    "3 h 12 min",
		24 * time.Hour:                  "1 d",
		50*time.Hour + 40*time.Minute:   "2 d 3 h",
		2*time.Hour + 20*time.Second:    "2 h",
		59*time.Minute + 59*time.Second: "59 min 59 s",
	} {
		if got := length(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}
