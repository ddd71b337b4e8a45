package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
)

// object is one version of a partition, as a reader finds it that knows nothing of
// how it came about: what Parquet says, and the books of the manifest.
type object struct {
	rows  []row
	books books
}

type row struct {
	id       string
	time     afterhours.Micros
	payload  uint64   // digest
	envelope envelope // of quarantined ones
	conflict bool
}

// books are the counters of the manifest.
type books struct {
	Hour       string `json:"hour"`
	Generation int64  `json:"generation"`
	Rows       int64  `json:"rows"`
	Seen       int64  `json:"seen"`
	Duplicates int64  `json:"duplicates"`
	Erased     int64  `json:"erased"`
}

// envelope is the payload of a quarantined record.
type envelope struct {
	Reason string  `json:"reason"`
	Text   string  `json:"text"`
	Base64 *string `json:"base64"`
}

// bytes returns what was quarantined.
func (e envelope) bytes() ([]byte, error) {
	if e.Base64 == nil {
		return []byte(e.Text), nil
	}
	return base64.StdEncoding.DecodeString(*e.Base64)
}

var partitionKey = regexp.MustCompile(`(?:^|/)event_type=([^/]+)/dt=([^/]+)/hour=(\d\d)/events\.parquet$`)

// hourOf returns the hour whose partition a key is. The soak's event types need
// no escapes.
func hourOf(key string) (afterhours.Hour, bool) {
	m := partitionKey.FindStringSubmatch(key)
	if m == nil {
		return afterhours.Hour{}, false
	}
	h, err := afterhours.ParseSpan(m[1], m[2]+"T"+m[3])
	return h, err == nil
}

// decode reads every value of every page. It fails if anything of the object
// cannot be read.
func decode(b []byte, quarantine bool) (o object, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parquet: %v", p)
		}
	}()
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return o, err
	}
	text, ok := f.Lookup("afterhours.manifest")
	if !ok {
		return o, errors.New("the footer has no manifest")
	}
	if err := json.Unmarshal([]byte(text), &o.books); err != nil {
		return o, fmt.Errorf("decode manifest: %w", err)
	}
	columns := map[string]int{}
	for i, c := range f.Schema().Columns() {
		columns[c[0]] = i
	}
	for _, name := range []string{"event_id", "event_time", "payload", "conflict"} {
		if _, ok := columns[name]; !ok {
			return o, fmt.Errorf("no column %s", name)
		}
	}
	for _, g := range f.RowGroups() {
		if o.rows, err = appendRows(o.rows, g, columns, quarantine); err != nil {
			return o, err
		}
	}
	if n := int64(len(o.rows)); n != f.NumRows() {
		return o, fmt.Errorf("%d rows can be read, the footer says %d", n, f.NumRows())
	}
	return o, nil
}

func appendRows(rows []row, g parquet.RowGroup, columns map[string]int, quarantine bool) (_ []row, err error) {
	r := g.Rows()
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]parquet.Row, 256)
	for {
		n, err := r.ReadRows(buf)
		for _, values := range buf[:n] {
			made, err := rowOf(values, columns, quarantine)
			if err != nil {
				return rows, err
			}
			rows = append(rows, made)
		}
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
	}
}

// rowOf reads a row, which has one value in each column: none repeats.
func rowOf(values parquet.Row, columns map[string]int, quarantine bool) (r row, err error) {
	if len(values) != len(columns) {
		return r, fmt.Errorf("a row has %d values in %d columns", len(values), len(columns))
	}
	b := values[columns["payload"]].ByteArray()
	r = row{
		id:       string(values[columns["event_id"]].ByteArray()),
		time:     afterhours.Micros(values[columns["event_time"]].Int64()),
		payload:  digest(b),
		conflict: values[columns["conflict"]].Boolean(),
	}
	if quarantine {
		if err := json.Unmarshal(b, &r.envelope); err != nil {
			return r, fmt.Errorf("payload of quarantined %s: %w", r.id, err)
		}
	}
	return r, nil
}

// faults returns everything that a partition of the hour must not be.
func (o object) faults(h afterhours.Hour) []string {
	var found []string
	seen := make(map[string]bool, len(o.rows))
	for _, r := range o.rows {
		if seen[r.id] {
			found = append(found, fmt.Sprintf("ID %s is there twice", r.id))
		}
		seen[r.id] = true
		if !h.Contains(r.time) {
			found = append(found, fmt.Sprintf("ID %s is of another hour: %s", r.id, r.time))
		}
	}
	b := o.books
	if b.Hour != h.String() {
		found = append(found, fmt.Sprintf("the manifest is of hour %q", b.Hour))
	}
	if b.Rows != int64(len(o.rows)) || b.Seen != b.Rows+b.Duplicates+b.Erased || b.Erased != 0 {
		found = append(found, fmt.Sprintf("the books do not balance: %d rows; %d seen = %d published + %d duplicates + %d erased",
			len(o.rows), b.Seen, b.Rows, b.Duplicates, b.Erased))
	}
	return found
}
