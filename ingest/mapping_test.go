package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
)

// noon is now in the mapping's tests.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

var fullMapping = Mapping{
	IDField:       "event_id",
	TypeField:     "event_type",
	TimeField:     "meta.time",
	ReceivedField: "received_at",
	AcceptPast:    DefaultAcceptPast,
	AcceptFuture:  DefaultAcceptFuture,
}

func compiled(t testing.TB, m Mapping) *mapper {
	t.Helper()
	c, err := m.compile()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func line(text string) Record {
	return Record{Bytes: []byte(text), Source: "/in.jsonl", Position: "line 7", Time: noon.Add(-time.Hour)}
}

func hexHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// A record whose fields can be read is an event with the record's bytes.
func TestMapping(t *testing.T) {
	m := compiled(t, fullMapping)
	base := `{"event_id":"a","event_type":"purchase","meta":{"time":"2026-11-20T10:00:00Z"}}`
	ten := afterhours.MicrosOf(noon.Add(-2 * time.Hour))
	for name, c := range map[string]struct {
		text string
		want afterhours.Event
	}{
		"plain":        {base, afterhours.Event{ID: "a", Type: "purchase", Time: ten, Received: afterhours.MicrosOf(noon)}},
		"number as ID": {strings.Replace(base, `"a"`, `1e3`, 1), afterhours.Event{ID: "1e3"}},
		"escaped ID":   {strings.Replace(base, `"a"`, `"\u00e4"`, 1), afterhours.Event{ID: "ä"}},
		"empty ID":     {strings.Replace(base, `"a"`, `""`, 1), afterhours.Event{ID: hexHash(strings.Replace(base, `"a"`, `""`, 1))}},
		"null ID":      {strings.Replace(base, `"a"`, `null`, 1), afterhours.Event{ID: hexHash(strings.Replace(base, `"a"`, `null`, 1))}},
		"no ID":        {strings.Replace(base, `event_id`, `x`, 1), afterhours.Event{ID: hexHash(strings.Replace(base, `event_id`, `x`, 1))}},
		"seconds":      {strings.Replace(base, `"2026-11-20T10:00:00Z"`, `1795168800`, 1), afterhours.Event{Time: ten}},
		"micros":       {strings.Replace(base, `"2026-11-20T10:00:00Z"`, `"1795168800000001"`, 1), afterhours.Event{Time: ten + 1}},
		"oldest":       {strings.Replace(base, `"2026-11-20T10:00:00Z"`, `"2016-11-22T12:00:00Z"`, 1), afterhours.Event{}},
		"newest":       {strings.Replace(base, `"2026-11-20T10:00:00Z"`, `"2026-11-21T12:00:00Z"`, 1), afterhours.Event{}},
		"received":     {strings.Replace(base, `{`, `{"received_at":"2020-01-01T00:00:00Z",`, 1), afterhours.Event{Received: 1577836800e6}},
		"spaces":       {" " + base + "\t", afterhours.Event{ID: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := m.event(line(c.text), noon)
			if got.Type != "purchase" || string(got.Payload) != c.text {
				t.Fatalf("event is %s %s", got.Type, got.Payload)
			}
			if c.want.ID != "" && got.ID != c.want.ID {
				t.Errorf("ID is %q, want %q", got.ID, c.want.ID)
			}
			if c.want.Time != 0 && got.Time != c.want.Time {
				t.Errorf("time is %v, want %v", got.Time, c.want.Time)
			}
			if c.want.Received != 0 && got.Received != c.want.Received {
				t.Errorf("received is %v, want %v", got.Received, c.want.Received)
			}
		})
	}
}

// A record that is no event is kept as a quarantine event that says why, where
// it came from, and has its bytes.
func TestMappingQuarantines(t *testing.T) {
	m := compiled(t, fullMapping)
	base := `{"event_id":"a","event_type":"purchase","meta":{"time":"2026-11-20T10:00:00Z"}}`
	swap := func(old, with string) string { return strings.Replace(base, old, with, 1) }
	at := `"2026-11-20T10:00:00Z"`
	for name, c := range map[string]struct{ text, reason string }{
		"no JSON":            {"oops", "not a JSON object"},
		"half an object":     {base[:40], "not a JSON object"},
		"array":              {`[1]`, "not a JSON object"},
		"two objects":        {base + base, "more follows"},
		"duplicate name":     {swap(`{`, `{"event_id":"b",`), "duplicate"},
		"bad UTF-8":          {swap(`"a"`, "\"\xff\""), "UTF-8"},
		"object as ID":       {swap(`"a"`, `{}`), `ID field "event_id" is {}: want a string or a number`},
		"boolean as ID":      {swap(`"a"`, `true`), "want a string or a number"},
		"long ID":            {swap(`"a"`, `"`+strings.Repeat("a", 1025)+`"`), "event ID has 1025 bytes"},
		"no type":            {swap(`event_type`, `x`), `event type field "event_type" is absent`},
		"number as type":     {swap(`"purchase"`, `3`), "want a string"},
		"empty type":         {swap(`purchase`, ``), "event type is empty"},
		"reserved type":      {swap(`purchase`, `_x`), "begins with an underscore"},
		"quarantine as type": {swap(`purchase`, `_quarantine`), "reserved"},
		"newline in type":    {swap(`purchase`, `a\nb`), "control character"},
		"no time":            {swap(`meta`, `x`), `event time field "meta.time" is absent`},
		"null as time":       {swap(at, `null`), "no time"},
		"words as time":      {swap(at, `"soon"`), "no time"},
		"too old":            {swap(at, `"2016-11-22T11:59:59Z"`), "more than 87600h0m0s past"},
		"too new":            {swap(at, `"2026-11-21T12:00:01Z"`), "more than 24h0m0s ahead"},
		"bad received":       {swap(`{`, `{"received_at":"soon",`), `received time field "received_at"`},
		"received ahead":     {swap(`{`, `{"received_at":"2026-11-22T12:00:00Z",`), "received time 2026-11-22T12:00:00Z is more than"},
		"two faults":         {`{"event_type":"_x"}`, `event time field "meta.time" is absent`},
		"too large":          {swap(`{`, `{"pad":"`+strings.Repeat("x", 1<<20)+`",`), "payload has 10486"},
	} {
		t.Run(name, func(t *testing.T) {
			r := line(c.text)
			e := m.event(r, noon)
			env := checkEnvelope(t, e, r)
			if !strings.Contains(env.Reason, c.reason) {
				t.Errorf("reason is %q, want %q", env.Reason, c.reason)
			}
			if e.Time != afterhours.MicrosOf(r.Time) {
				t.Errorf("its time is %v, want the source's %v", e.Time, r.Time)
			}
		})
	}
}

// checkEnvelope checks everything a quarantine event promises of its record.
func checkEnvelope(t *testing.T, e afterhours.Event, r Record) envelope {
	t.Helper()
	if err := e.Validate(); err != nil || e.Type != afterhours.QuarantineType {
		t.Fatalf("%s event: %v", e.Type, err)
	}
	var env envelope
	if err := json.Unmarshal(e.Payload, &env); err != nil {
		t.Fatal(err)
	}
	var kept []byte
	switch {
	case env.Text != nil && env.Base64 == nil:
		var text string
		if err := json.Unmarshal(env.Text, &text); err != nil {
			t.Fatal(err)
		}
		kept = []byte(text)
	case env.Base64 != nil && env.Text == nil:
		b, err := base64.StdEncoding.DecodeString(*env.Base64)
		if err != nil {
			t.Fatal(err)
		}
		kept = b
	default:
		t.Fatalf("envelope holds text or base64, one of them: %.200s", e.Payload)
	}
	if !bytes.Equal(kept, r.Bytes[:min(len(r.Bytes), maxKept)]) {
		t.Errorf("envelope keeps %d bytes, not those of the record, %d", len(kept), len(r.Bytes))
	}
	size := int64(len(r.Bytes))
	if r.Cut != nil {
		size = r.Cut.Size
	}
	if env.Truncated != (size > int64(len(kept))) || env.Truncated != (env.SHA256 != "") || env.Size != size {
		t.Errorf("envelope of %d bytes says size %d, truncated %v, hash %q", size, env.Size, env.Truncated, env.SHA256)
	}
	return env
}

// Whatever the bytes are, up to 1 MiB of them fit into an envelope.
func TestEnvelopeHoldsWorstBytes(t *testing.T) {
	for name, b := range map[string][]byte{
		"text":     bytes.Repeat([]byte("x"), 1<<20),
		"quotes":   bytes.Repeat([]byte(`"`), 1<<20),
		"controls": bytes.Repeat([]byte{1}, 1<<20),
		"markup":   bytes.Repeat([]byte("<&>"), 1<<18),
		"bytes":    bytes.Repeat([]byte{0xff}, 1<<20),
		"more":     bytes.Repeat([]byte("é"), 1<<20),
		"none":     {},
	} {
		t.Run(name, func(t *testing.T) {
			r := Record{
				Bytes:    b,
				Source:   "/" + strings.Repeat("\x01", 10_000),
				Position: strings.Repeat("\xff", 5000),
				Time:     noon,
			}
			checkEnvelope(t, quarantine(r, strings.Repeat("\"", 1<<20), 0), r)
		})
	}
}

// A redelivered record lands on its first copy in quarantine: same ID, same
// hour. Another record never does, nor the same position with changed bytes.
func TestQuarantineIdentity(t *testing.T) {
	first := quarantine(line("oops"), "why", 1)
	again := quarantine(line("oops"), "another reason", 2)
	if first.ID != again.ID || first.Hour() != again.Hour() {
		t.Errorf("a redelivery is %s in %s, first was %s in %s", again.ID, again.Hour(), first.ID, first.Hour())
	}
	seen := map[string]Record{first.ID: {}}
	for _, r := range []Record{
		{Bytes: []byte("oops!"), Source: "/in.jsonl", Position: "line 7"},
		{Bytes: []byte("oops"), Source: "/in.jsonl", Position: "line 8"},
		{Bytes: []byte("oops"), Source: "/in.json", Position: "lline 7"},
		{Bytes: []byte("oops"), Source: "/in.jsonll", Position: "ine 7"},
		{Bytes: []byte("oops"), Source: "/in.jsonl", Position: "line 7", Cut: &Cut{Size: 9}},
	} {
		id := quarantine(r, "why", 1).ID
		if _, twice := seen[id]; twice {
			t.Errorf("%+v shares its ID", r)
		}
		seen[id] = r
	}
}

// A source whose time cannot be printed still gets its records kept.
func TestQuarantineWithoutSourceTime(t *testing.T) {
	for _, at := range []time.Time{time.UnixMilli(-1), time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<60, 0)} {
		r := Record{Bytes: []byte("oops"), Time: at}
		checkEnvelope(t, quarantine(r, "why", 1), r)
	}
}

// All faults of a mapping are reported at once.
func TestMappingValidate(t *testing.T) {
	for name, c := range map[string]struct {
		m    Mapping
		want []string
	}{
		"empty": {Mapping{}, []string{"no field for the event time", "either a field or one type"}},
		"all": {
			Mapping{
				IDField: "a..b", TypeField: "t", Type: "_x", TimeField: ".", ReceivedField: "r.", AcceptPast: -1,
				Columns: []afterhours.Column{
					{Name: "HOUR", Field: "x", Type: "int"},
					{Name: "a", Field: "x..y", Type: afterhours.String},
					{Name: "a", Field: "x", Type: afterhours.String},
				},
			},
			[]string{`"a..b"`, "either a field or one type", `begins with`, `"."`, `"r."`, "accept window", `"HOUR"`, `type "int"`, `"x..y"`, `column "a" is declared twice`},
		},
		"quarantine": {Mapping{Type: "_quarantine", TimeField: "t"}, []string{"reserved"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.m.Validate()
			if err == nil {
				t.Fatal("no fault found")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in:\n%v", w, err)
				}
			}
		})
	}
	if err := fullMapping.Validate(); err != nil {
		t.Error(err)
	}
}

// Every record becomes exactly one valid event: one with the record's bytes, or
// a quarantine event from which they can be recovered.
func FuzzMapping(f *testing.F) {
	f.Add([]byte(`{"event_id":"a","event_type":"purchase","meta":{"time":"2026-11-20T10:00:00Z"}}`))
	f.Add([]byte(`{"event_id":12,"event_type":"_x","meta":{"time":1795168800}}`))
	f.Add([]byte("\xff\x00{}"))
	m := compiled(f, fullMapping)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Record{Bytes: b, Source: "f", Position: "line 1", Time: noon}
		e := m.event(r, noon)
		if e.Type == afterhours.QuarantineType {
			checkEnvelope(t, e, r)
			return
		}
		if err := e.Validate(); err != nil || !bytes.Equal(e.Payload, b) {
			t.Errorf("event %+v: %v", e, err)
		}
		if again := m.event(r, noon); again.ID != e.ID || again.Hour() != e.Hour() {
			t.Errorf("the same bytes are %s in %s and %s in %s", e.ID, e.Hour(), again.ID, again.Hour())
		}
	})
}
