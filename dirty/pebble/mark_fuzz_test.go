package pebble

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/afterhours/afterhours"
)

// FuzzDecodeMark shows that any bytes in a mark's place are refused or read as a
// mark of a valid hour, which is read the same from its own encoding.
func FuzzDecodeMark(f *testing.F) {
	f.Add(markKey(7), []byte(`{"Hour":"purchase/2026-11-20T10","Time":1795168800000000,"Since":5}`))
	f.Add(markKey(-1), []byte(`{"Hour":"_x/2026-11-20T10"}`))
	f.Add([]byte("m"), []byte(`null`))
	f.Add(markKey(0), []byte(`{"Hour":"a/2026-11-20","Time":1e30}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 || key[0] != 'm' {
			return // not among the keys that are read
		}
		m, err := decodeMark(key, value)
		if err != nil {
			return
		}
		if err := afterhours.ValidateType(m.Hour.Type); err != nil || !bytes.Equal(markKey(m.Offset), key) {
			t.Fatalf("%q at %x was read as %+v: %v", value, key, m, err)
		}
		again, err := json.Marshal(markValue{m.Hour.String(), m.Time, m.Since})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeMark(key, again); err != nil || back != m {
			t.Fatalf("%q was read as %+v, and that as %+v, %v", value, m, back, err)
		}
	})
}
