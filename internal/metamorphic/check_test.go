package metamorphic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/lake"
)

// result is what a run has left.
type result struct {
	rows   map[afterhours.Hour][]row
	hashes map[afterhours.Hour]string // lake.Manifest.Content
	books  map[afterhours.Hour]compact.Verified
	broken map[string]kept // what is in quarantine, by position
}

// kept is a record in quarantine. Its received time is the clock's, and so is not
// compared.
type kept struct{ id, bytes string }

// look reads what is in the lake, and has it verified.
func look(s *site) (result, error) {
	res := result{map[afterhours.Hour][]row{}, map[afterhours.Hour]string{}, map[afterhours.Hour]compact.Verified{}, map[string]kept{}}
	err := s.visit(func(o lake.Object, file []byte) error {
		if o.Hour.Type == afterhours.QuarantineType {
			return res.addQuarantine(s.lake, o.Hour)
		}
		rows, err1 := rowsOf(file)
		m, err2 := s.lake.Manifest(context.Background(), o)
		if err2 == nil {
			res.rows[o.Hour], res.hashes[o.Hour] = rows, m.Content
		}
		return errors.Join(err1, err2)
	})
	if err != nil {
		return res, err
	}
	_, err = s.compactor(s.config()).Verify(context.Background(), s.queue, func(v compact.Verified) error {
		res.books[v.Hour] = v
		return nil
	})
	return res, err
}

// rowsOf reads a partition as any reader of Parquet does.
func rowsOf(file []byte) (rows []row, err error) {
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	in := parquet.NewReader(f)
	defer in.Close()
	for buf := make([]parquet.Row, 64); ; {
		n, err := in.ReadRows(buf)
		for _, v := range buf[:n] {
			if len(v) != 4+4+1 {
				return nil, fmt.Errorf("a row of %d columns: %v", len(v), v)
			}
			rows = append(rows, row{
				id: v[0].String(), time: afterhours.Micros(v[1].Int64()), received: afterhours.Micros(v[2].Int64()), payload: v[3].String(),
				cells: [4]string{word(v[4]), word(v[5]), word(v[6]), word(v[7])}, conflict: v[8].Boolean(),
			})
		}
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// word is a cell as the oracle writes it.
func word(v parquet.Value) string {
	switch {
	case v.IsNull():
		return null
	case v.Kind() == parquet.Double:
		return fmt.Sprint(v.Double())
	}
	return v.String()
}

// addQuarantine takes the rows of a quarantine partition.
func (res *result) addQuarantine(l *lake.Lake, h afterhours.Hour) error {
	b, err := l.Base(context.Background(), h)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Rows(func(c afterhours.Copies) error {
		var env struct {
			Position, Text string
			Base64         []byte
		}
		if err := json.Unmarshal(c.Payload, &env); err != nil {
			return err
		}
		if _, twice := res.broken[env.Position]; twice {
			return fmt.Errorf("the record at %s is in quarantine twice", env.Position)
		}
		res.broken[env.Position] = kept{c.ID, env.Text + string(env.Base64)}
		return nil
	})
}

// delivered is how many raw rows of each hour were delivered.
type delivered struct {
	rows map[afterhours.Hour]int64

	// atLeast: ingest was stopped and did the same again. It is not known how many
	// rows it had written.
	atLeast bool

	// expired: raw rows are gone, and perhaps notes with them. Copies that were only
	// noted leave the books with their notes, unless a publish came before.
	expired bool
}

// check compares what a run has left with what must be.
func (w *world) check(res result, d delivered) error {
	errs := []error{}
	for h, want := range w.want {
		if err := w.checkHour(h, want, res, d); err != nil {
			errs = append(errs, fmt.Errorf("hour %s: %w", h, err))
		}
	}
	if len(res.rows) != len(w.want) {
		errs = append(errs, fmt.Errorf("%d hours, want %d", len(res.rows), len(w.want)))
	}
	for at, text := range w.broken {
		if got, ok := res.broken[at]; !ok || got.bytes != text {
			errs = append(errs, fmt.Errorf("the record at %s is in quarantine as %q, %t; it was %q", at, got.bytes, ok, text))
		}
	}
	if len(res.broken) != len(w.broken) {
		errs = append(errs, fmt.Errorf("%d records in quarantine, want %d", len(res.broken), len(w.broken)))
	}
	return errors.Join(errs...)
}

func (w *world) checkHour(h afterhours.Hour, want []row, res result, d delivered) error {
	if got := res.rows[h]; !slices.Equal(got, want) {
		return errors.New(difference(got, want))
	}
	v, n := res.books[h], int64(len(want))
	switch {
	case v.Problem != "" || v.Missing > 0 || v.Lost > 0 || v.Erased > 0:
		return fmt.Errorf("verified as %+v", v)
	case v.Rows != n || v.Conflicts != w.conflicts(h) || v.Seen != n+v.Duplicates:
		return fmt.Errorf("books %+v, want %d rows and %d conflicts", v, n, w.conflicts(h))
	case !d.expired && v.Seen != v.Raw:
		return fmt.Errorf("books %+v of %d raw rows", v, v.Raw)
	case !d.expired && v.Seen < d.rows[h] || !d.atLeast && v.Seen > d.rows[h]:
		return fmt.Errorf("books %+v, but %d rows were delivered", v, d.rows[h])
	}
	return nil
}

// checkSame demands the same content of two runs of one world, and the same IDs in
// quarantine.
func checkSame(a, b result) error {
	for h, hash := range a.hashes {
		if hash != b.hashes[h] {
			return fmt.Errorf("hour %s: the same rows have content %s and %s", h, hash, b.hashes[h])
		}
	}
	for at, k := range a.broken {
		if k != b.broken[at] {
			return fmt.Errorf("the record at %s is in quarantine as %v and as %v", at, k, b.broken[at])
		}
	}
	return nil
}

// difference tells where two lists of rows part.
func difference(got, want []row) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("row %d of %d is\n%.300s\nwant, of %d,\n%.300s", i, len(got), got[i], len(want), want[i])
		}
	}
	return fmt.Sprintf("%d rows, want %d", len(got), len(want))
}
