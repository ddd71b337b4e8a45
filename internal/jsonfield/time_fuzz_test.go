package jsonfield

import (
	"encoding/json"
	"math/big"
	"regexp"
	"testing"
	"time"
)

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// A text is a time only if it is RFC 3339 by the book, or a number, which counts
// from 1970 without rounding, in the unit that its size says.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{
		"2026-11-20T10:00:00Z", "2026-11-20T10:00:00.1234567+14:00", "2026-11-20T10:00:00+24:00", "2026-11-20T1:00:00Z", "2026-11-20T10:00:00,5Z", "2026-11-20T10:00:60Z",
		"1795168800", "1795168800.123456789", "-1.5", "99999999999.9999999", "1e11", "1.5e-7", "-0", "9e16", "1e17", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.9999999Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseTime(Value{String, quoted})
		if err != nil {
			return
		}
		if got < minMicros || got > maxMicros {
			t.Fatalf("%q is %d, outside the years 1 to 9999", text, got)
		}
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			if !rfc3339.MatchString(text) || at.UnixMicro() != got {
				t.Fatalf("%q is %d, want %d, and only if it is RFC 3339", text, got, at.UnixMicro())
			}
			return
		}
		if !isNumber([]byte(text)) {
			t.Fatalf("%q is %d", text, got)
		}
		number(t, text, got)
	})
}

// number checks a time that was given as a number, if that is short enough to be
// calculated with.
func number(t *testing.T, text string, got int64) {
	t.Helper()
	n, ok := new(big.Rat).SetString(text)
	if !ok || regexp.MustCompile(`[eE][+-]?\d{4}`).MatchString(text) {
		return
	}
	abs := new(big.Rat).Abs(n)
	unit := int64(1e6)
	for _, bound := range []int64{1e11, 1e14} {
		if abs.Cmp(new(big.Rat).SetInt64(bound)) >= 0 {
			unit /= 1000
		}
	}
	n.Mul(n, new(big.Rat).SetInt64(unit))
	floor := new(big.Int).Div(n.Num(), n.Denom()) // Euclid's, which is the floor
	if !floor.IsInt64() || floor.Int64() != got {
		t.Fatalf("%q is %d, want %s", text, got, floor)
	}
}
