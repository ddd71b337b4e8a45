package afterhours

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of one event, in bytes.
const (
	MaxPayload = 1 << 20
	MaxID      = 1 << 10
	MaxType    = 200

	// MaxEnvelope limits the payload of a quarantine event instead, so that the
	// original bytes of a record fit into it whatever they are.
	MaxEnvelope = 2 << 20
)

// Event types are the names of directories in the lake, where Hive writes each of
// these characters in three bytes, and file systems take 255 bytes in all. A dot
// at the end takes three bytes as well.
const (
	typeSpecial   = "\"#%'*/:=?\\{[]^"
	maxTypeAsName = 255 - len("event_type=")
)

// QuarantineType is the event type of everything that could not be an event.
// It is the only type with a leading underscore that may be stored.
const QuarantineType = "_quarantine"

// Micros is an instant in microseconds since the Unix epoch: the precision in
// which times are compared, stored and published.
type Micros int64

// The instants that every reader of the lake can print.
const (
	minMicros Micros = -62135596800e6       // 0001-01-01T00:00:00Z
	maxMicros Micros = 253402300800e6 - 1e0 // 9999-12-31T23:59:59.999999Z
)

// MicrosOf truncates t to microseconds, towards the past.
func MicrosOf(t time.Time) Micros { return Micros(t.UnixMicro()) }

// Time returns the instant in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// String prints the instant in RFC 3339.
func (m Micros) String() string { return m.Time().Format(time.RFC3339Nano) }

// Event is one thing that happened.
type Event struct {
	ID       string // unique within the hour; copies of an event share it
	Type     string // what kind of event, such as "purchase"
	Time     Micros // event time: when it happened
	Received Micros // received time: when ingest took it
	Payload  []byte // the original bytes, UTF-8; never changed once the event exists
}

// NewEvent makes an event, with both times truncated to microseconds.
// The payload is kept, not copied.
func NewEvent(id, eventType string, at, received time.Time, payload []byte) Event {
	return Event{ID: id, Type: eventType, Time: MicrosOf(at), Received: MicrosOf(received), Payload: payload}
}

// Hour returns the hour the event belongs to.
func (e Event) Hour() Hour { return HourOf(e.Type, e.Time) }

// Late reports whether the event was received after its hour had ended.
func (e Event) Late() bool { return e.Received >= e.Hour().End() }

// Validate reports every reason why e cannot be stored, joined.
func (e Event) Validate() error {
	return errors.Join(
		validateID(e.ID),
		ValidateType(e.Type),
		validateTime("event time", e.Time),
		validateTime("received time", e.Received),
		validatePayload(e.Type, e.Payload),
	)
}

func validateID(id string) error {
	switch {
	case id == "":
		return errors.New("event ID is empty")
	case len(id) > MaxID:
		return fmt.Errorf("event ID has %d bytes, the limit is %d", len(id), MaxID)
	case !utf8.ValidString(id):
		return errors.New("event ID is not valid UTF-8")
	}
	return nil
}

// ValidateType reports why name cannot be an event type. Type names become
// Kafka keys, Cassandra keys and directory names, so they carry no control
// characters; a leading underscore is reserved.
func ValidateType(name string) error {
	switch {
	case name == "":
		return errors.New("event type is empty")
	case len(name) > MaxType:
		return fmt.Errorf("event type has %d bytes, the limit is %d", len(name), MaxType)
	case typeAsName(name) > maxTypeAsName:
		return fmt.Errorf("event type %q has %d bytes as the name of a directory, where any of %s takes three; the limit is %d",
			name, typeAsName(name), typeSpecial, maxTypeAsName)
	case !utf8.ValidString(name):
		return errors.New("event type is not valid UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("event type %q has a control character", name)
	case name[0] == '_' && name != QuarantineType:
		return fmt.Errorf("event type %q begins with an underscore, which is reserved", name)
	}
	return nil
}

// typeAsName returns the most bytes that a type has in a path.
func typeAsName(name string) int {
	n := len(name)
	for i := range len(name) {
		if strings.IndexByte(typeSpecial, name[i]) >= 0 || name[i] == '.' && i == len(name)-1 {
			n += len("%XX") - 1
		}
	}
	return n
}

func validateTime(what string, m Micros) error {
	if m < minMicros || m > maxMicros {
		return fmt.Errorf("%s %d is outside the years 1 to 9999", what, int64(m))
	}
	return nil
}

func validatePayload(eventType string, b []byte) error {
	limit := MaxPayload
	if eventType == QuarantineType {
		limit = MaxEnvelope
	}
	switch {
	case len(b) > limit:
		return fmt.Errorf("payload has %d bytes, the limit is %d", len(b), limit)
	case !utf8.Valid(b):
		return errors.New("payload is not valid UTF-8")
	}
	return nil
}
