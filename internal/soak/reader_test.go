package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
)

// stored is a row as a partition has it.
type stored struct {
	EventID  string `parquet:"event_id"`
	Time     int64  `parquet:"event_time,timestamp(microsecond)"`
	Received int64  `parquet:"received_at,timestamp(microsecond)"`
	Payload  string `parquet:"payload"`
	Amount   *int64 `parquet:"amount,optional"`
	Conflict bool   `parquet:"conflict"`
}

// partition returns an object of noon with the events of the given numbers.
func partition(t *testing.T, serials ...int) []byte {
	t.Helper()
	var rows []stored
	for _, s := range serials {
		b := payloadOf(record{serial: s}, noon)
		rows = append(rows, stored{EventID: eventID(s), Time: int64(noon.Start) + int64(s), Payload: string(b)})
	}
	n := int64(len(rows))
	manifest, err := json.Marshal(books{Hour: noon.String(), Generation: n, Rows: n, Seen: n})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[stored](&out, parquet.KeyValueMetadata("afterhours.manifest", string(manifest)))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var noonKey = "event_type=purchase/dt=2026-11-20/hour=12/events.parquet"

// shelf is a lake of one object; nil: of none.
type shelf struct {
	data   []byte
	listed bool
	down   bool
}

func (s *shelf) list(context.Context) (map[string]string, error) {
	if s.down {
		return nil, errors.New("down")
	}
	if !s.listed {
		return map[string]string{}, nil
	}
	return map[string]string{noonKey: fmt.Sprint(digest(s.data))}, nil
}

func (s *shelf) get(context.Context, string) ([]byte, string, error) {
	if s.data == nil {
		return nil, "", errAbsent
	}
	return s.data, fmt.Sprint(digest(s.data)), nil
}

// readAll lets a reader see one state after the other, and returns what was wrong.
func readAll(t *testing.T, states ...shelf) (*reader, []string) {
	t.Helper()
	var wrong []string
	s := &shelf{}
	r := newReader(s, &ledger{}, func(f string, a ...any) { wrong = append(wrong, fmt.Sprintf(f, a...)) })
	for _, *s = range states {
		if err := r.pass(t.Context()); (err != nil) != s.down {
			t.Fatal(err)
		}
	}
	return r, wrong
}

// An hour that grows, a store that is down for a while, and an object that a
// listing misses are nothing wrong. What has not changed is not read again.
func TestReaderPasses(t *testing.T) {
	first, second := partition(t, 1, 2), partition(t, 2, 3, 1)
	r, wrong := readAll(t, shelf{}, shelf{data: first, listed: true}, shelf{data: first, listed: true},
		shelf{down: true}, shelf{data: first}, shelf{data: second, listed: true})
	if len(wrong) > 0 {
		t.Errorf("found %q", wrong)
	}
	if n := r.objects.Load(); n != 3 {
		t.Errorf("%d objects read, want 3: two versions, and the one that was not listed", n)
	}
}

// A reader finds everything that it must never see.
func TestReaderFinds(t *testing.T) {
	whole := partition(t, 1, 2, 3)
	foreign := bytes.Replace(whole, []byte(noon.String()), []byte(one.String()), 1)
	for want, states := range map[string][]shelf{
		"the hour shrank":                  {{data: whole, listed: true}, {data: partition(t, 1, 3, 4, 5), listed: true}},
		"generation 2 follows 3":           {{data: whole, listed: true}, {data: partition(t, 1, 2), listed: true}},
		"vanished":                         {{data: whole, listed: true}, {}},
		"ID e000000002 is there twice":     {{data: partition(t, 2, 2), listed: true}},
		"not whole":                        {{data: whole[:len(whole)-9], listed: true}},
		"the manifest is of hour":          {{data: foreign, listed: true}},
		"not whole: the footer has no man": {{data: bytes.Replace(whole, []byte("afterhours.manifest"), []byte("somebody's manifest"), 1), listed: true}},
	} {
		if _, wrong := readAll(t, states...); !strings.Contains(strings.Join(wrong, "\n"), want) {
			t.Errorf("found %q, want %q", wrong, want)
		}
	}
}

// A page that cannot be decoded makes an object that is not whole.
func TestDecodeReadsEveryPage(t *testing.T) {
	whole := partition(t, 1, 2, 3)
	if o, err := decode(whole, false); err != nil || len(o.rows) != 3 || len(o.faults(noon)) > 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	broken := bytes.Clone(whole)
	at := bytes.Index(broken, []byte(`"event_id":"e000000002"`))
	broken[at-4]++ // the length of a payload
	if _, err := decode(broken, false); err == nil {
		t.Error("a damaged page was read")
	}
}

// Partitions are told from other objects by their keys.
func TestHourOf(t *testing.T) {
	if h, ok := hourOf("lake/" + noonKey); !ok || h != noon {
		t.Errorf("%v, %t", h, ok)
	}
	for _, key := range []string{"_proof/x", "event_type=a/dt=2026-11-20/hour=12/other.parquet", "event_type=a/dt=yesterday/hour=12/events.parquet"} {
		if h, ok := hourOf(key); ok {
			t.Errorf("%s is of %v", key, h)
		}
	}
	if _, ok := hourOf("event_type=" + afterhours.QuarantineType + "/dt=2026-11-20/hour=12/events.parquet"); !ok {
		t.Error("quarantine is not of the lake")
	}
}
