package lake

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/jsonfield"
)

// Positions of the partition's own columns. The declared ones stand between the
// payload and the conflict flag.
const (
	colID = iota
	colTime
	colReceived
	colPayload
	colDeclared
)

// userColumn is what a partition is sorted by first, if it is declared.
const userColumn = "user_id"

// sortOf returns what a partition with these declared columns is sorted by. The
// event ID at the end makes the order total.
func sortOf(cols []afterhours.Column) []string {
	if slices.ContainsFunc(cols, isUser) {
		return []string{userColumn, "event_time", "event_id"}
	}
	return []string{"event_time", "event_id"}
}

func isUser(c afterhours.Column) bool { return c.Name == userColumn }

// cell is one value of a declared column.
type cell struct {
	set   bool
	bits  int64 // an integer, microseconds, 0 or 1, or the bits of a double
	bytes []byte
}

// record is a row of a partition. Its bytes belong to whoever made it and last
// until that makes the next one.
type record struct {
	id       []byte
	time     afterhours.Micros
	received afterhours.Micros
	payload  []byte
	cells    []cell // of the declared columns, in order
	conflict bool
}

// copies returns the record as an event that shares nothing with it.
func (r *record) copies(eventType string) afterhours.Copies {
	return afterhours.Copies{Conflict: r.conflict, Event: afterhours.Event{
		ID: string(r.id), Type: eventType, Time: r.time, Received: r.received, Payload: bytes.Clone(r.payload),
	}}
}

// layout is what the declared columns make of a partition: its schema, and how
// rows get their cells and their place in the order. It is shared by all partitions
// that have these columns, and safe for concurrent use.
type layout struct {
	columns []afterhours.Column
	user    int // index of the user column, or -1
	paths   []jsonfield.Path

	cols     []column               // of the file, in the order of the schema
	physical []int                  // the same in the order of a block: payloads last
	heads    []int                  // all but the payload
	sorting  []format.SortingColumn // the order as Parquet's metadata says it

	template   func() (*format.FileMetaData, error) // of a file without rows
	writers    sync.Pool                            // of *stripWriter
	readers    sync.Pool                            // of *stripReader
	extractors sync.Pool                            // of *extractor
}

// layouts are the layouts by the text of their columns. There are as many as
// declarations; what they hold is costly to make for a partition of a few rows.
var layouts sync.Map

func layoutOf(cols []afterhours.Column) (*layout, error) {
	var key []byte
	for _, c := range cols {
		key = append(append(key, c.String()...), '\n')
	}
	if l, ok := layouts.Load(string(key)); ok {
		return l.(*layout), nil
	}
	l, err := newLayout(slices.Clone(cols))
	if err != nil {
		return nil, err
	}
	known, _ := layouts.LoadOrStore(string(key), l)
	return known.(*layout), nil
}

func newLayout(cols []afterhours.Column) (*layout, error) {
	l := &layout{columns: cols, user: slices.IndexFunc(cols, isUser), paths: make([]jsonfield.Path, len(cols))}
	for i, c := range cols {
		var err error
		if l.paths[i], err = jsonfield.ParsePath(c.Field); err != nil {
			return nil, err
		}
	}
	l.cols = []column{
		colID:       {"event_id", format.ByteArray, false, true},
		colTime:     {"event_time", format.Int64, false, true},
		colReceived: {"received_at", format.Int64, false, true},
		colPayload:  {"payload", format.ByteArray, false, false},
	}
	for _, c := range cols {
		l.cols = append(l.cols, column{c.Name, kindOf(c.Type), true, true})
	}
	l.cols = append(l.cols, column{"conflict", format.Boolean, false, true})
	for i := range l.cols {
		if i != colPayload {
			l.heads = append(l.heads, i)
		}
	}
	l.physical = append(slices.Clone(l.heads), colPayload)
	for _, name := range sortOf(cols) {
		i := slices.IndexFunc(l.cols, func(c column) bool { return c.name == name })
		l.sorting = append(l.sorting, format.SortingColumn{ColumnIdx: int32(i), NullsFirst: true})
	}
	l.template = sync.OnceValues(l.empty)
	l.writers.New = func() any { return &stripWriter{layout: l} }
	l.readers.New = func() any { return &stripReader{layout: l} }
	l.extractors.New = func() any { return &extractor{jsonfield.New(l.paths...), make([]jsonfield.Value, len(cols))} }
	return l, nil
}

// extractor takes the declared columns out of payloads, one at a time.
type extractor struct {
	fields *jsonfield.Extractor
	values []jsonfield.Value
}

// empty returns the footer that parquet-go gives a file without rows.
func (l *layout) empty() (meta *format.FileMetaData, err error) {
	defer guard(&err)
	var b bytes.Buffer
	w := parquet.NewGenericWriter[any](&b, l.schema(), parquet.CreatedBy("Afterhours", "1", ""))
	if err := w.Close(); err != nil {
		return nil, err
	}
	n, err := footerSize(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		return nil, err
	}
	meta = &format.FileMetaData{}
	return meta, decodeThrift(b.Bytes()[b.Len()-int(n):b.Len()-footerEnd], meta)
}

// footer returns the footer of a file with these row groups.
func (l *layout) footer(groups []format.RowGroup) (*format.FileMetaData, error) {
	template, err := l.template()
	if err != nil {
		return nil, err
	}
	meta := *template
	meta.RowGroups = groups
	for i := range groups {
		meta.NumRows += groups[i].NumRows
	}
	return &meta, nil
}

// extract sets the record's cells from its payload. A payload that is not one
// strict JSON object has no values.
func (l *layout) extract(r *record) {
	r.cells = append(r.cells[:0], make([]cell, len(l.columns))...)
	if len(l.columns) == 0 {
		return
	}
	x := l.extractors.Get().(*extractor)
	defer l.extractors.Put(x)
	if x.fields.Extract(r.payload, x.values) != nil {
		return
	}
	for i, c := range l.columns {
		r.cells[i] = convert(c.Type, x.values[i])
	}
}

func convert(t afterhours.ColumnType, v jsonfield.Value) (c cell) {
	switch t {
	case afterhours.String:
		var s string
		s, c.set = v.String()
		c.bytes = []byte(s)
	case afterhours.Int64:
		c.bits, c.set = v.Int64()
	case afterhours.Double:
		var f float64
		f, c.set = v.Double()
		c.bits = int64(math.Float64bits(f))
	case afterhours.Boolean:
		var b bool
		if b, c.set = v.Bool(); b {
			c.bits = 1
		}
	case afterhours.Timestamp:
		var err error
		c.bits, err = jsonfield.ParseTime(v)
		c.set = err == nil
	}
	return c
}

// appendKey appends the record's place in the order: keys compare as bytes just
// as their records do. The key ends with the event ID.
func (l *layout) appendKey(dst []byte, r *record) []byte {
	if l.user >= 0 {
		dst = appendCellKey(dst, l.columns[l.user].Type, r.cells[l.user])
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.time)^1<<63)
	return append(dst, r.id...)
}

// appendCellKey puts nulls first. Strings end with 00 01 and have 00 FF for
// every 00, so that none is the beginning of another.
func appendCellKey(dst []byte, t afterhours.ColumnType, c cell) []byte {
	if !c.set {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	switch t {
	case afterhours.String:
		for rest := c.bytes; ; {
			i := bytes.IndexByte(rest, 0)
			if i < 0 {
				return append(append(dst, rest...), 0, 1)
			}
			dst = append(append(dst, rest[:i]...), 0, 0xFF)
			rest = rest[i+1:]
		}
	case afterhours.Double:
		u := uint64(c.bits)
		if u>>63 != 0 {
			u = ^u
		} else {
			u |= 1 << 63
		}
		return binary.BigEndian.AppendUint64(dst, u)
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(c.bits)^1<<63)
	}
}

// group is the root of a schema whose columns have an order of their own;
// [parquet.Group] sorts them by name.
type group struct {
	parquet.Group
	fields []parquet.Field
}

// Fields returns the columns in order.
func (g *group) Fields() []parquet.Field { return g.fields }

// field is a column of a group.
type field struct {
	parquet.Node
	name string
}

// Name returns the column's name.
func (f *field) Name() string { return f.name }

// Value is what parquet-go calls to write Go structs, which the lake does not.
func (f *field) Value(base reflect.Value) reflect.Value { return base.FieldByName(f.name) }

func (l *layout) schema() *parquet.Schema { return parquet.NewSchema("event", newGroup(l.columns)) }

func newGroup(cols []afterhours.Column) *group {
	g := &group{Group: parquet.Group{}}
	add := func(name string, n parquet.Node) {
		g.fields = append(g.fields, &field{n, name})
		g.Group[name] = n
	}
	text := parquet.Encoded(parquet.String(), &parquet.Plain)
	micros := parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.Plain)
	add("event_id", text)
	add("event_time", micros)
	add("received_at", micros)
	add("payload", text)
	for _, c := range cols {
		add(c.Name, parquet.Optional(nodeOf(c.Type)))
	}
	add("conflict", parquet.Encoded(parquet.Leaf(parquet.BooleanType), &parquet.Plain))
	return g
}

// kindOf returns what values of a declared column are stored as.
func kindOf(t afterhours.ColumnType) format.Type {
	switch t {
	case afterhours.String:
		return format.ByteArray
	case afterhours.Double:
		return format.Double
	case afterhours.Boolean:
		return format.Boolean
	default:
		return format.Int64
	}
}

// nodeOf returns the Parquet type of a declared column.
func nodeOf(t afterhours.ColumnType) parquet.Node {
	switch t {
	case afterhours.Int64:
		return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.Plain)
	case afterhours.Double:
		return parquet.Encoded(parquet.Leaf(parquet.DoubleType), &parquet.Plain)
	case afterhours.Boolean:
		return parquet.Encoded(parquet.Leaf(parquet.BooleanType), &parquet.Plain)
	case afterhours.Timestamp:
		return parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.Plain)
	default:
		return parquet.Encoded(parquet.String(), &parquet.Plain)
	}
}

// notNil makes of an empty string what tells it from a number.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
