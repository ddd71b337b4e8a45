package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/jsonfield"
)

// The accept window that the commands offer.
const (
	DefaultAcceptPast   = 87600 * time.Hour // ten years
	DefaultAcceptFuture = 24 * time.Hour
)

// Mapping says where in a record's JSON object the parts of an event stand.
// Fields are dotted paths.
type Mapping struct {
	// IDField holds a string or a number. Where it is absent, null or empty, and
	// for every record if it is not given, the payload's SHA-256 is the ID.
	IDField string

	// TypeField holds the event type, unless all records have the same: Type.
	TypeField, Type string

	TimeField     string // event time: RFC 3339 or epoch seconds, ms or µs
	ReceivedField string // received time; now where it is absent or not given

	// Columns of the events, declared by the Writer; see [Options].
	Columns []afterhours.Column

	// Event times are accepted from AcceptPast before to AcceptFuture after
	// now, received times to AcceptFuture after now.
	AcceptPast, AcceptFuture time.Duration
}

// Validate reports every fault of the mapping, joined.
func (m Mapping) Validate() error {
	_, err := m.compile()
	return err
}

// compile returns a mapper, or every fault of the mapping, joined.
func (m Mapping) compile() (*mapper, error) {
	c := &compiler{m: &mapper{Mapping: m}}
	c.m.id = c.field("ID", m.IDField, false)
	c.m.kind = c.field("event type", m.TypeField, false)
	c.m.time = c.field("event time", m.TimeField, true)
	c.m.received = c.field("received time", m.ReceivedField, false)
	c.checkType(m)
	c.checkColumns(m.Columns)
	if m.AcceptPast < 0 || m.AcceptFuture < 0 {
		c.fault("accept window: %v before and %v after now: want no negative durations", m.AcceptPast, m.AcceptFuture)
	}
	c.m.fields = jsonfield.New(c.paths...)
	if err := errors.Join(c.faults...); err != nil {
		return nil, err
	}
	return c.m, nil
}

// compiler collects the paths and the faults of a mapping.
type compiler struct {
	m      *mapper
	paths  []jsonfield.Path
	faults []error
}

func (c *compiler) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

// field returns the number of a field among the extracted ones, -1 if it is not
// given.
func (c *compiler) field(what, field string, required bool) int {
	if field == "" {
		if required {
			c.fault("no field for the %s", what)
		}
		return -1
	}
	p, err := jsonfield.ParsePath(field)
	if err != nil {
		c.fault("%s: %w", what, err)
		return -1
	}
	c.paths = append(c.paths, p)
	return len(c.paths) - 1
}

func (c *compiler) checkType(m Mapping) {
	if (m.Type == "") == (m.TypeField == "") {
		c.fault("event type: want either a field or one type for all records")
	}
	if m.Type == "" {
		return
	}
	if err := outsideType(m.Type); err != nil {
		c.faults = append(c.faults, err)
	}
}

func (c *compiler) checkColumns(cols []afterhours.Column) {
	seen := map[string]bool{}
	for _, col := range cols {
		if err := col.Validate(); err != nil {
			c.faults = append(c.faults, err)
		}
		if _, err := jsonfield.ParsePath(col.Field); err != nil && col.Field != "" {
			c.fault("column %q: %w", col.Name, err)
		}
		if seen[col.Name] {
			c.fault("column %q is declared twice", col.Name)
		}
		seen[col.Name] = true
	}
}

// outsideType is [afterhours.ValidateType] for types that come from outside:
// nobody but us may put events into quarantine.
func outsideType(name string) error {
	if name == afterhours.QuarantineType {
		return fmt.Errorf("event type %q is reserved", name)
	}
	return afterhours.ValidateType(name)
}

// mapper turns records into events. It may be used by several goroutines at once.
type mapper struct {
	Mapping
	fields                   *jsonfield.Extractor
	id, kind, time, received int // where their values are among fields; -1: not given
}

// event returns the record's event, or the quarantine event that keeps it.
func (m *mapper) event(r Record, now time.Time) afterhours.Event {
	received := afterhours.MicrosOf(now)
	e, err := m.read(r, now)
	if err != nil {
		return quarantine(r, err.Error(), received)
	}
	return e
}

// maxFields is how many fields a mapping has.
const maxFields = 4

func (m *mapper) read(r Record, now time.Time) (afterhours.Event, error) {
	if r.Cut != nil {
		return afterhours.Event{}, fmt.Errorf("record has %d bytes, the limit is %d", r.Cut.Size, afterhours.MaxPayload)
	}
	var all [maxFields]jsonfield.Value
	values := all[:m.count()]
	if err := m.fields.Extract(r.Bytes, values); err != nil {
		return afterhours.Event{}, fmt.Errorf("not a JSON object: %w", err)
	}
	e := afterhours.Event{Payload: r.Bytes}
	var errs [4]error
	e.ID, errs[0] = m.readID(get(values, m.id), r.Bytes)
	e.Type, errs[1] = m.readType(get(values, m.kind))
	e.Time, errs[2] = m.readTime(get(values, m.time), now)
	e.Received, errs[3] = m.readReceived(get(values, m.received), now)
	if err := errors.Join(errs[:]...); err != nil {
		return e, err
	}
	return e, e.Validate()
}

func (m *mapper) count() int { return 1 + max(m.id, m.kind, m.time, m.received) }

// get returns the i-th value, an absent one if the mapping has no such field.
func get(values []jsonfield.Value, i int) jsonfield.Value {
	if i < 0 {
		return jsonfield.Value{}
	}
	return values[i]
}

func (m *mapper) readID(v jsonfield.Value, payload []byte) (string, error) {
	switch v.Kind {
	case jsonfield.Absent, jsonfield.Null:
	case jsonfield.String, jsonfield.Number:
		if id := v.Text(); id != "" {
			return id, nil
		}
	default:
		return "", fmt.Errorf("ID field %q is %.60s: want a string or a number", m.IDField, v.Raw)
	}
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:]), nil
}

func (m *mapper) readType(v jsonfield.Value) (string, error) {
	if m.Type != "" {
		return m.Type, nil
	}
	switch v.Kind {
	case jsonfield.String:
		t := v.Text()
		return t, outsideType(t)
	case jsonfield.Absent:
		return "", fmt.Errorf("event type field %q is absent", m.TypeField)
	}
	return "", fmt.Errorf("event type field %q is %.60s: want a string", m.TypeField, v.Raw)
}

func (m *mapper) readTime(v jsonfield.Value, now time.Time) (afterhours.Micros, error) {
	if v.Kind == jsonfield.Absent {
		return 0, fmt.Errorf("event time field %q is absent", m.TimeField)
	}
	us, err := jsonfield.ParseTime(v)
	if err != nil {
		return 0, fmt.Errorf("event time field %q: %w", m.TimeField, err)
	}
	t := afterhours.Micros(us)
	switch {
	case t < afterhours.MicrosOf(now.Add(-m.AcceptPast)):
		return 0, fmt.Errorf("event time %s is more than %v past", t, m.AcceptPast)
	case t > afterhours.MicrosOf(now.Add(m.AcceptFuture)):
		return 0, fmt.Errorf("event time %s is more than %v ahead", t, m.AcceptFuture)
	}
	return t, nil
}

func (m *mapper) readReceived(v jsonfield.Value, now time.Time) (afterhours.Micros, error) {
	if v.Kind == jsonfield.Absent {
		return afterhours.MicrosOf(now), nil
	}
	us, err := jsonfield.ParseTime(v)
	if err != nil {
		return 0, fmt.Errorf("received time field %q: %w", m.ReceivedField, err)
	}
	if t := afterhours.Micros(us); t <= afterhours.MicrosOf(now.Add(m.AcceptFuture)) {
		return t, nil
	}
	return 0, fmt.Errorf("received time %s is more than %v ahead", afterhours.Micros(us), m.AcceptFuture)
}
