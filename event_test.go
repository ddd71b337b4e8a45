package afterhours_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
)

// valid is an event without a fault.
func valid() afterhours.Event {
	return afterhours.Event{ID: "1", Type: "purchase", Time: 0, Received: 1, Payload: []byte("{}")}
}

// TestValidate shows each limit, from both sides.
func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*afterhours.Event)
		fault  string // in the error; none: valid
	}{
		"nothing changed":           {func(*afterhours.Event) {}, ""},
		"no ID":                     {func(e *afterhours.Event) { e.ID = "" }, "event ID is empty"},
		"the longest ID":            {func(e *afterhours.Event) { e.ID = strings.Repeat("x", afterhours.MaxID) }, ""},
		"a longer ID":               {func(e *afterhours.Event) { e.ID = strings.Repeat("x", afterhours.MaxID+1) }, "event ID has 1025 bytes, the limit is 1024"},
		"an ID of any text":         {func(e *afterhours.Event) { e.ID = "\x00 \n é" }, ""},
		"an ID that is no text":     {func(e *afterhours.Event) { e.ID = "\xff" }, "event ID is not valid UTF-8"},
		"the first instant":         {func(e *afterhours.Event) { e.Time = at(t, "0001-01-01T00:00:00Z") }, ""},
		"before the first instant":  {func(e *afterhours.Event) { e.Time = at(t, "0001-01-01T00:00:00Z") - 1 }, "event time -62135596800000001 is outside the years 1 to 9999"},
		"the last instant":          {func(e *afterhours.Event) { e.Time = at(t, "9999-12-31T23:59:59.999999Z") }, ""},
		"after the last instant":    {func(e *afterhours.Event) { e.Time = at(t, "9999-12-31T23:59:59.999999Z") + 1 }, "event time"},
		"received too late":         {func(e *afterhours.Event) { e.Received = at(t, "9999-12-31T23:59:59.999999Z") + 1 }, "received time"},
		"received before it was":    {func(e *afterhours.Event) { e.Received = -1 }, ""},
		"no payload":                {func(e *afterhours.Event) { e.Payload = nil }, ""},
		"the largest payload":       {func(e *afterhours.Event) { e.Payload = bytes.Repeat([]byte("x"), afterhours.MaxPayload) }, ""},
		"a larger payload":          {func(e *afterhours.Event) { e.Payload = bytes.Repeat([]byte("x"), afterhours.MaxPayload+1) }, "payload has 1048577 bytes, the limit is 1048576"},
		"a payload that is no text": {func(e *afterhours.Event) { e.Payload = []byte("{\xc3\x28}") }, "payload is not valid UTF-8"},
		"the largest envelope": {func(e *afterhours.Event) {
			e.Type, e.Payload = afterhours.QuarantineType, bytes.Repeat([]byte("x"), afterhours.MaxEnvelope)
		}, ""},
		"a larger envelope": {func(e *afterhours.Event) {
			e.Type, e.Payload = afterhours.QuarantineType, bytes.Repeat([]byte("x"), afterhours.MaxEnvelope+1)
		}, "payload has"},
	} {
		e := valid()
		c.change(&e)
		err := e.Validate()
		if (c.fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: error %v, want %q", name, err, c.fault)
		}
	}
}

// TestValidateTellsAll shows that one look is enough to mend an event.
func TestValidateTellsAll(t *testing.T) {
	err := afterhours.Event{Time: 1 << 60, Received: -1 << 60, Payload: []byte("\xff")}.Validate()
	for _, part := range []string{"event ID", "event type", "event time", "received time", "payload"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not name the %s: %v", part, err)
		}
	}
}

// TestValidateType shows what a type may be called.
func TestValidateType(t *testing.T) {
	for _, name := range []string{"a", "A b/c", "ünïcode", "..", "a_", "a_b", afterhours.QuarantineType, strings.Repeat("x", 200), "a\u2028", "=%'\""} {
		if err := afterhours.ValidateType(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, fault := range map[string]string{
		"": "empty", strings.Repeat("x", 201): "201 bytes", strings.Repeat("é", 101): "202 bytes", "a\x00b": "control", "a\n": "control", "\t": "control",
		"\u0085": "control", "\x7f": "control", "\xff": "UTF-8", "_": "underscore", "_a": "underscore", "_quarantine2": "underscore",
	} {
		if err := afterhours.ValidateType(name); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: error %v, want one with %q", name, err, fault)
		}
	}
}

// TestLate shows that an event is late from the end of its hour on, and that one
// received before it happened is not.
func TestLate(t *testing.T) {
	for _, c := range []struct {
		happened, received string
		want               bool
	}{
		{"2026-11-20T10:00:00Z", "2026-11-20T10:59:59.999999Z", false},
		{"2026-11-20T10:59:59.999999Z", "2026-11-20T11:00:00Z", true},
		{"2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z", true},
		{"2026-11-20T10:00:00Z", "2029-01-01T00:00:00Z", true},
		{"2026-11-20T10:00:00Z", "2026-11-20T09:00:00Z", false},
		{"1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", true},
	} {
		e := afterhours.Event{Type: "purchase", Time: at(t, c.happened), Received: at(t, c.received)}
		if e.Late() != c.want {
			t.Errorf("happened %s, received %s: late is %v", c.happened, c.received, e.Late())
		}
	}
}

// TestNewEvent shows that an event has no more than microseconds, so that what
// is compared is what is stored.
func TestNewEvent(t *testing.T) {
	payload := []byte("{}")
	e := afterhours.NewEvent("1", "purchase", time.Unix(0, 1_999), time.Unix(0, -1), payload)
	if e.Time != 1 || e.Received != -1 || &e.Payload[0] != &payload[0] || e.Hour() != afterhours.HourOf("purchase", 0) {
		t.Errorf("made %+v", e)
	}
}
