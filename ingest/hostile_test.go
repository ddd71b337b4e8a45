package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
	pebblestore "github.com/afterhours/afterhours/store/pebble"
)

// hostileNow is the clock of these tests: the middle of an hour.
var hostileNow = time.Date(2026, 11, 20, 12, 30, 0, 0, time.UTC)

var hostileMapping = Mapping{
	IDField: "id", TypeField: "type", TimeField: "at",
	AcceptPast: 10 * DefaultAcceptPast, AcceptFuture: DefaultAcceptFuture,
}

// hostileOptions bound memory and let a source bring ten types and fifty hours.
func hostileOptions() Options {
	return Options{
		NewTypes: 10, NewHours: 50, InHand: 16 << 20, Log: quiet,
		Now: func() time.Time { return hostileNow },
	}
}

// hostile makes the n-th message of a sender.
func hostile(source string, n int, eventType string, at time.Time, pad int) Record {
	text := fmt.Appendf(nil, `{"id":"%s-%d","type":%q,"at":%q,"pad":"%s"}`, source, n, eventType, at.Format(time.RFC3339), strings.Repeat("x", pad))
	return Record{Bytes: text, Source: source, Position: fmt.Sprint(n), Time: hostileNow}
}

// senders are the senders of these tests, each with what its n-th message is. The
// good one shares its source with the hostile ones while it is in time.
var senders = map[string]func(n int) Record{
	"good": func(n int) Record {
		return hostile("topic", n, "purchase", hostileNow.Add(-time.Duration(n%20)*time.Minute), 100)
	},
	"good and late": func(n int) Record {
		return hostile("another topic", n, "visit", hostileNow.Add(-time.Duration(n%40)*time.Hour), 100)
	},
	"random type": func(n int) Record {
		return hostile("topic", 1e6+n, fmt.Sprintf("random%d", n), hostileNow, 100)
	},
	"clock 20 years off": func(n int) Record {
		return hostile("topic", 2e6+n, "purchase", hostileNow.AddDate(-20, 0, 0).Add(time.Duration(n)*time.Hour), 100)
	},
}

// kept is what a store holds.
type kept struct {
	hours       map[string]map[afterhours.Hour]int // by event ID
	types       map[string]bool
	quarantined map[string]envelope // by position
	quarantine  map[afterhours.Hour]bool
}

func readAll(t *testing.T, s *pebblestore.Store) kept {
	t.Helper()
	k := kept{map[string]map[afterhours.Hour]int{}, map[string]bool{}, map[string]envelope{}, map[afterhours.Hour]bool{}}
	err := s.Index(t.Context(), func(h afterhours.Hour, lanes []store.Lane) error {
		k.types[h.Type] = true
		for _, l := range lanes {
			if err := s.ReadRows(t.Context(), h, l, nil, func(r store.Row) error { return k.add(h, r.Event) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k kept) add(h afterhours.Hour, e afterhours.Event) error {
	if h.Type == afterhours.QuarantineType {
		var env envelope
		err := json.Unmarshal(e.Payload, &env)
		k.quarantined[env.Position], k.quarantine[h] = env, true
		return err
	}
	if k.hours[e.ID] == nil {
		k.hours[e.ID] = map[afterhours.Hour]int{}
	}
	k.hours[e.ID][h]++
	return nil
}

// heapObjects returns the bytes of live and not yet collected objects.
func heapObjects() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Senders with a random type per event, a clock 20 years off, and events of 2 MiB
// harm nobody else: all events of the others are kept in their own hours, whatever
// is beyond a budget is in quarantine, nothing is lost, and memory is bounded.
func TestHostileSendersHarmNobody(t *testing.T) {
	const each, large = 1000, 20
	s, q := embedded(t)
	before, peak := heapObjects(), uint64(0)
	acks := make(chan struct{}, len(senders)*each+large)
	src := sourceFunc(func(ctx context.Context, put Put) error {
		for n := range each {
			for _, make := range senders {
				if err := put(ctx, make(n), func() { acks <- struct{}{} }); err != nil {
					return err
				}
			}
			if n%(each/large) == 0 {
				r := hostile("topic", 3e6+n, "purchase", hostileNow, 2<<20)
				if err := put(ctx, r, func() { acks <- struct{}{} }); err != nil {
					return err
				}
			}
			peak = max(peak, heapObjects())
		}
		return nil
	})
	sum, err := Run(t.Context(), src, hostileMapping, New(s, q, hostileOptions()))
	if err != nil {
		t.Fatal(err)
	}
	if len(acks) != cap(acks) {
		t.Errorf("%d of %d records are acknowledged", len(acks), cap(acks))
	}
	if grown := peak - min(peak, before); grown > 200<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	t.Logf("%+v, heap grew by %d MiB", sum, (peak-min(peak, before))>>20)
	k := readAll(t, s)
	checkSenders(t, k, each)
	if len(k.types) > 2+10+1 {
		t.Errorf("%d types are stored, want purchase, visit, ten new ones and quarantine", len(k.types))
	}
	if len(k.quarantine) != 1 {
		t.Errorf("quarantine lies in %d hours", len(k.quarantine))
	}
	for n := 0; n < each; n += each / large {
		checkLarge(t, k.quarantined[fmt.Sprint(int(3e6)+n)], hostile("topic", 3e6+n, "purchase", hostileNow, 2<<20).Bytes)
	}
}

// checkSenders checks that each good event is in its own hour, once, and each
// hostile one in its own or in quarantine.
func checkSenders(t *testing.T, k kept, each int) {
	t.Helper()
	m := compiled(t, hostileMapping)
	for name, make := range senders {
		written, lost := 0, 0
		for n := range each {
			r := make(n)
			e := m.event(r, hostileNow)
			switch in := k.hours[e.ID]; {
			case len(in) == 1 && in[e.Hour()] == 1:
				written++
			case len(in) != 0 || k.quarantined[r.Position].Reason == "":
				lost++
			}
		}
		good := strings.HasPrefix(name, "good")
		if lost > 0 || good && written != each || !good && (written == 0 || written > each/10) {
			t.Errorf("%s: %d of %d are in their own hours, %d lost", name, written, each, lost)
		}
	}
}

// checkLarge checks that a record that is too large is in quarantine with its
// beginning and the hash of all of it.
func checkLarge(t *testing.T, env envelope, whole []byte) {
	t.Helper()
	sum := sha256.Sum256(whole)
	var text string
	if err := json.Unmarshal(env.Text, &text); err != nil {
		t.Fatalf("%v in %.200s", err, env.Text)
	}
	if !env.Truncated || env.SHA256 != hex.EncodeToString(sum[:]) || env.Size != int64(len(whole)) || text != string(whole[:maxKept]) {
		t.Errorf("a record of %d bytes is kept as %d of %d, hash %s: %s", len(whole), len(text), env.Size, env.SHA256, env.Reason)
	}
}

// Lines of 2 MiB in a file are in quarantine, the lines around them in their hours.
func TestLargeLinesOfAFile(t *testing.T) {
	s, q := embedded(t)
	var text bytes.Buffer
	large := hostile("file", 0, "purchase", hostileNow, 2<<20).Bytes
	for n := range 8 {
		text.Write(hostile("file", n+1, "purchase", hostileNow, 10).Bytes)
		text.WriteString("\n")
		text.Write(large)
		text.WriteString("\r\n")
	}
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := Run(t.Context(), Files{Inputs: []string{path}}, hostileMapping, New(s, q, hostileOptions()))
	if err != nil || sum.Written != 8 || sum.Quarantined != 8 {
		t.Fatalf("%+v, %v", sum, err)
	}
	k := readAll(t, s)
	if len(k.hours) != 8 || len(k.quarantined) != 8 {
		t.Errorf("%d events and %d quarantined lines are stored", len(k.hours), len(k.quarantined))
	}
	for _, env := range k.quarantined {
		checkLarge(t, env, large)
	}
}
