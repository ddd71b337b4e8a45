package lake

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/afterhours/afterhours"
)

// manifestKey is where a partition's footer has the manifest, as JSON.
const manifestKey = "afterhours.manifest"

const (
	// partitionFormat is the partition format this build writes, and the newest it reads.
	partitionFormat = 1

	// historyLength is how many publishes a manifest remembers.
	historyLength = 16
)

// ManifestLimit is the size in bytes above which a manifest is too large. It is
// published all the same, as nothing may be lost, and reported: its hour has far
// more segments than it should.
const ManifestLimit = 64 << 10

// Manifest is what a partition knows of itself.
type Manifest struct {
	Format     int
	Hour       afterhours.Hour
	Lineage    string // random; a partition that was not made from its predecessor begins a new one
	Generation int64  // number of publishes of the hour

	// The books: Seen = Rows + Duplicates + Erased, all cumulative.
	Rows       int64
	Seen       int64 // raw rows merged
	Duplicates int64 // raw rows that were further copies of an event
	Erased     int64 // raw rows of events that were erased

	Conflicts int64 // rows whose copies came with differing payloads
	Late      int64 // rows received after their hour had ended

	// Content is the same for the same rows, in 32 hexadecimal digits: the sum of
	// 128-bit hashes (XXH3) of all columns of each row. So two partitions can be
	// compared by their manifests. It is no defence against somebody who chooses
	// rows to collide.
	Content string

	Columns []afterhours.Column // the declared columns, in order of name
	Sort    []string            // what the rows are sorted by, ascending, nulls first

	Merged  afterhours.RowSet                        // the raw rows merged, save for pruned ones
	Origins map[afterhours.Segment]afterhours.Origin // where the rows of each segment of Merged lie
	Pruned  int64                                    // raw rows merged whose ranges were dropped from Merged
	Settled afterhours.Day                           // all that shared lanes before this day will ever have is merged

	ErasedIDs []string  // digests of erased event IDs, sorted
	History   []Publish // the last publishes, oldest first
}

// Publish is one entry of a partition's history.
type Publish struct {
	Generation int64             `json:"generation"`
	At         afterhours.Micros `json:"at"`
	Cause      string            `json:"cause"`
	Added      int64             `json:"added"`      // raw rows merged
	Duplicates int64             `json:"duplicates"` // of these, dropped as copies
}

// wire is a manifest as it is written.
type wire struct {
	Format     int       `json:"format"`
	Hour       string    `json:"hour"`
	Lineage    string    `json:"lineage"`
	Generation int64     `json:"generation"`
	Rows       int64     `json:"rows"`
	Seen       int64     `json:"seen"`
	Duplicates int64     `json:"duplicates"`
	Erased     int64     `json:"erased"`
	Conflicts  int64     `json:"conflicts"`
	Late       int64     `json:"late"`
	Content    content   `json:"content"`
	Columns    []string  `json:"columns"`
	Sort       []string  `json:"sort"`
	Merged     string    `json:"merged"`
	Pruned     int64     `json:"pruned"`
	Settled    string    `json:"settled"`
	ErasedIDs  []string  `json:"erased_ids"`
	History    []Publish `json:"history"`
}

// encode returns the manifest's text.
func (m *Manifest) encode() (string, error) {
	if err := m.validate(); err != nil {
		return "", fmt.Errorf("encode manifest: %w", err)
	}
	var sum content
	if err := sum.UnmarshalText([]byte(m.Content)); err != nil {
		return "", fmt.Errorf("encode manifest: content %q: %w", m.Content, err)
	}
	w := wire{
		Format: m.Format, Hour: m.Hour.String(), Lineage: m.Lineage, Generation: m.Generation,
		Rows: m.Rows, Seen: m.Seen, Duplicates: m.Duplicates, Erased: m.Erased, Conflicts: m.Conflicts, Late: m.Late, Content: sum,
		Sort: m.Sort, Merged: formatMerged(m.Merged, m.Origins), Pruned: m.Pruned, Settled: m.Settled.String(),
		ErasedIDs: m.ErasedIDs, History: m.History,
	}
	for _, c := range m.Columns {
		w.Columns = append(w.Columns, c.String())
	}
	b, err := json.Marshal(w, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("encode manifest: %w", err)
	}
	return string(b), nil
}

// decodeManifest reads what encode returned, and nothing else.
func decodeManifest(text string) (*Manifest, error) {
	// A newer format may have members this build does not know: say so first.
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if head.Format != partitionFormat {
		return nil, fmt.Errorf("partition has format %d, this build reads up to %d: use a newer build", head.Format, partitionFormat)
	}
	var w wire
	if err := json.Unmarshal([]byte(text), &w, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	m := &Manifest{
		Format: w.Format, Lineage: w.Lineage, Generation: w.Generation,
		Rows: w.Rows, Seen: w.Seen, Duplicates: w.Duplicates, Erased: w.Erased, Conflicts: w.Conflicts, Late: w.Late, Content: w.Content.String(),
		Sort: w.Sort, Pruned: w.Pruned, ErasedIDs: w.ErasedIDs, History: w.History,
	}
	err := m.parse(w)
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	return m, nil
}

// parse sets what has a text form of its own.
func (m *Manifest) parse(w wire) (err error) {
	if m.Hour, err = afterhours.ParseHour(w.Hour); err != nil {
		return err
	}
	if m.Settled, err = afterhours.ParseDay(w.Settled); err != nil {
		return err
	}
	if m.Merged, m.Origins, err = parseMerged(w.Merged); err != nil {
		return err
	}
	for _, s := range w.Columns {
		c, err := afterhours.ParseColumn(s)
		if err != nil {
			return err
		}
		m.Columns = append(m.Columns, c)
	}
	return nil
}

// validate reports why the manifest cannot be right, joined.
func (m *Manifest) validate() error {
	var errs []error
	for _, n := range []int64{m.Rows, m.Seen, m.Duplicates, m.Erased, m.Conflicts, m.Late, m.Pruned} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("a count is negative: %d", n))
		}
	}
	if m.Seen != m.Rows+m.Duplicates+m.Erased {
		errs = append(errs, fmt.Errorf("the books do not balance: %d rows seen, but %d published + %d duplicates + %d erased", m.Seen, m.Rows, m.Duplicates, m.Erased))
	}
	if n := m.Merged.Count(); m.Seen != n+m.Pruned {
		errs = append(errs, fmt.Errorf("the books do not balance: %d rows seen, but %d merged + %d pruned", m.Seen, n, m.Pruned))
	}
	if m.Conflicts > m.Rows || m.Late > m.Rows {
		errs = append(errs, fmt.Errorf("%d conflicts and %d late of only %d rows", m.Conflicts, m.Late, m.Rows))
	}
	if len(m.Lineage) != 32 || m.Generation < 1 {
		errs = append(errs, fmt.Errorf("lineage %q, generation %d", m.Lineage, m.Generation))
	}
	if !slices.Equal(m.Sort, sortOf(m.Columns)) {
		errs = append(errs, fmt.Errorf("sorted by %q, which this build does not do", m.Sort))
	}
	if d, err := afterhours.ParseDay(m.Settled.String()); err != nil || d != m.Settled {
		errs = append(errs, fmt.Errorf("settled day %d is outside the years 1 to 9999", m.Settled))
	}
	return errors.Join(append(errs, m.validateOrigins(), validateErased(m.ErasedIDs), validateColumns(m.Columns))...)
}

// validateOrigins demands an origin for every segment merged, and for no other.
func (m *Manifest) validateOrigins() error {
	segments := m.Merged.Segments()
	if len(segments) != len(m.Origins) {
		return fmt.Errorf("%d segments are merged, but %d have an origin", len(segments), len(m.Origins))
	}
	for _, seg := range segments {
		o, ok := m.Origins[seg]
		if d, err := afterhours.ParseDay(o.Day.String()); !ok || err != nil || d != o.Day {
			return fmt.Errorf("segment %s has no origin, or day %d, which is none", seg, o.Day)
		}
	}
	return nil
}

// validateErased demands digests in strict order, as they are searched.
func validateErased(ids []string) error {
	for i, id := range ids {
		if b, err := hex.DecodeString(id); err != nil || len(b) != digestSize || hex.EncodeToString(b) != id {
			return fmt.Errorf("erased ID %.40q is no digest", id)
		}
		if i > 0 && ids[i-1] >= id {
			return fmt.Errorf("erased IDs %s and %s are out of order", ids[i-1], id)
		}
	}
	return nil
}

// validateColumns demands valid columns in strict order of name.
func validateColumns(cols []afterhours.Column) error {
	var errs []error
	for i, c := range cols {
		errs = append(errs, c.Validate())
		if i > 0 && cols[i-1].Name >= c.Name {
			errs = append(errs, fmt.Errorf("columns %q and %q are out of order", cols[i-1].Name, c.Name))
		}
	}
	return errors.Join(errs...)
}

// newManifest returns the manifest of an hour's partition before anything was
// counted, of a new lineage.
func newManifest(h afterhours.Hour, cols []afterhours.Column) *Manifest {
	return &Manifest{
		Format: partitionFormat, Hour: h, Lineage: newLineage(), Generation: 1, Content: content{}.String(), Columns: cols, Sort: sortOf(cols),
		Merged: afterhours.RowSet{}, Origins: map[afterhours.Segment]afterhours.Origin{},
	}
}

func (m *Manifest) remember(p Publish) {
	m.History = append(m.History, p)
	if n := len(m.History) - historyLength; n > 0 {
		m.History = slices.Delete(m.History, 0, n)
	}
}

func newLineage() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// digestSize is how many bytes of a SHA-256 name an erased event.
const digestSize = 16

// digest is how an erased event's ID is remembered.
func digest(id []byte) string {
	sum := sha256.Sum256(id)
	return hex.EncodeToString(sum[:digestSize])
}
