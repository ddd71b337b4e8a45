package afterhours

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ColumnType is the type of a declared column.
type ColumnType string

// The column types there are, as they are written in --column NAME=FIELD:TYPE.
const (
	String    ColumnType = "string"
	Int64     ColumnType = "int64"
	Double    ColumnType = "double"
	Boolean   ColumnType = "boolean"
	Timestamp ColumnType = "timestamp" // microseconds, UTC
)

// ColumnTypes lists the column types there are.
var ColumnTypes = []ColumnType{String, Int64, Double, Boolean, Timestamp}

// Column is a typed column of an event type's partitions, filled from the
// payload. The value is a pure function of the payload, so that a partition does
// not depend on when a column was declared; a payload whose field is absent or
// of another type has no value in it.
type Column struct {
	Name  string // lower case, as the lake shows it
	Field string // dotted path into the JSON payload
	Type  ColumnType
}

// reserved are the names a declared column cannot have: the partition's own
// columns and the Hive partition keys. Readers fold case, and so do we.
var reserved = []string{"event_id", "event_time", "received_at", "payload", "conflict", "event_type", "dt", "hour"}

var columnName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Validate reports every reason why the column cannot be declared, joined.
func (c Column) Validate() error {
	var errs []error
	if !columnName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("column name %q: want a lower-case letter, then up to 62 letters, digits or underscores", c.Name))
	}
	if slices.Contains(reserved, c.Name) {
		errs = append(errs, fmt.Errorf("column name %q is one of the lake's own", c.Name))
	}
	if c.Field == "" {
		errs = append(errs, fmt.Errorf("column %q has no field", c.Name))
	}
	if !slices.Contains(ColumnTypes, c.Type) {
		errs = append(errs, fmt.Errorf("column %q: type %q is none of string, int64, double, boolean, timestamp", c.Name, c.Type))
	}
	return errors.Join(errs...)
}

// String prints the declaration as NAME=FIELD:TYPE, the inverse of [ParseColumn].
func (c Column) String() string { return c.Name + "=" + c.Field + ":" + string(c.Type) }

// ParseColumn reads a declaration NAME=FIELD[:TYPE]; the type is string unless
// it is given.
func ParseColumn(s string) (Column, error) {
	name, field, ok := strings.Cut(s, "=")
	if !ok {
		return Column{}, fmt.Errorf("column %q: want NAME=FIELD[:TYPE]", s)
	}
	c := Column{Name: name, Field: field, Type: String}
	if i := strings.LastIndexByte(field, ':'); i >= 0 {
		c.Field, c.Type = field[:i], ColumnType(field[i+1:])
	}
	if err := c.Validate(); err != nil {
		return Column{}, fmt.Errorf("column %q: %w", s, err)
	}
	return c, nil
}
