package jsonfield

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
)

func paths(t testing.TB, names ...string) []Path {
	t.Helper()
	var ps []Path
	for _, n := range names {
		p, err := ParsePath(n)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

// An empty part of a path is a mistake, not a member named "".
func TestParsePathRefusesEmptyParts(t *testing.T) {
	for _, s := range []string{"", ".", "a.", ".a", "a..b"} {
		if _, err := ParsePath(s); err == nil {
			t.Errorf("ParsePath(%q) = nil error", s)
		}
	}
	if p := paths(t, "a.b c.d")[0]; p.String() != "a.b c.d" {
		t.Errorf("String() = %q", p)
	}
}

// One walk finds fields at every depth, a field and a part of it, and one field twice.
func TestExtractFindsSeveralFieldsInOneWalk(t *testing.T) {
	payload := `{"id": "é\n\ud83d\ude00", "n":12345678901234567890.10, "b":true, "nil":null, "arr":[1,{"id":2}],
		"o" : {"p" : {"q": 1e3}, "id": "x"}, "a.b": 7, "str": "plain", "\u0065sc": false}`
	names := []string{"id", "n", "b", "nil", "arr", "o", "o.p.q", "o.id", "a.b", "str", "id", "none", "id.x", "arr.id", "esc", "o.none"}
	want := []Value{
		{String, []byte(`"é\n\ud83d\ude00"`)}, {Number, []byte("12345678901234567890.10")}, {Bool, []byte("true")}, {Null, []byte("null")},
		{Array, []byte(`[1,{"id":2}]`)}, {Object, []byte(`{"p" : {"q": 1e3}, "id": "x"}`)}, {Number, []byte("1e3")}, {String, []byte(`"x"`)},
		{}, {String, []byte(`"plain"`)}, {String, []byte(`"é\n\ud83d\ude00"`)}, {}, {}, {}, {Bool, []byte("false")}, {},
	}
	out := make([]Value, len(names))
	if err := New(paths(t, names...)...).Extract([]byte(payload), out); err != nil {
		t.Fatal(err)
	}
	for i, v := range out {
		if v.Kind != want[i].Kind || !bytes.Equal(v.Raw, want[i].Raw) {
			t.Errorf("%s = %d %s, want %d %s", names[i], v.Kind, v.Raw, want[i].Kind, want[i].Raw)
		}
	}
	if got := out[0].Text(); got != "é\n😀" {
		t.Errorf("text = %q", got)
	}
	if got := out[1].Text(); got != "12345678901234567890.10" {
		t.Errorf("text of a number = %q, want its own digits", got)
	}
}

// Whatever is not exactly one strict object is an error, also where no field is wanted.
func TestExtractIsStrict(t *testing.T) {
	bad := []string{
		``, ` `, `null`, `7`, `"s"`, `[{}]`, `{`, `{}x`, `{} {}`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{"a":1 "b":2}`,
		`{"z":1,"z":2}`, `{"z":{"a":1,"\u0061":2}}`, `{"z":[{"a":1,"a":1}]}`, "{\"z\":\"\xff\"}", `{"z":"\ud800"}`,
		`{"z":01}`, `{"z":1.0.1}`, `{"z":+1}`, `{"z":.5}`, `{"z":NaN}`, `{"z":tru}`, "{\"z\":\"\n\"}", "\ufeff{}",
	}
	x := New(paths(t, "a.b")...)
	for _, p := range bad {
		if err := x.Extract([]byte(p), make([]Value, 1)); err == nil {
			t.Errorf("Extract(%q) = nil error", p)
		}
	}
}

// Nesting is limited where fields are looked for and where they are not.
func TestExtractLimitsDepth(t *testing.T) {
	x := New(paths(t, "a.a.b")...)
	nested := func(open, end string, n int) []byte {
		return []byte(`{"a":{"a":{"x":` + strings.Repeat(open, n) + "1" + strings.Repeat(end, n) + `}}}`)
	}
	for _, kind := range [][2]string{{`{"a":`, `}`}, {`[`, `]`}} {
		if err := x.Extract(nested(kind[0], kind[1], MaxDepth-3), make([]Value, 1)); err != nil {
			t.Errorf("depth %d: %v", MaxDepth, err)
		}
		if err := x.Extract(nested(kind[0], kind[1], MaxDepth-2), make([]Value, 1)); !errors.Is(err, errTooDeep) {
			t.Errorf("depth %d: %v, want too deep", MaxDepth+1, err)
		}
	}
	brackets := []byte(`{"s":["` + strings.Repeat(`[{\"`, MaxDepth) + `"]}`)
	if err := x.Extract(brackets, make([]Value, 1)); err != nil {
		t.Errorf("brackets within a string: %v", err)
	}
}

// An Extractor is shared by goroutines without their values mixing.
func TestExtractIsSafeForConcurrentUse(t *testing.T) {
	x := New(paths(t, "a.b")...)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				out := make([]Value, 1)
				want := fmt.Sprint(g*1000 + i)
				if err := x.Extract([]byte(`{"a":{"b":`+want+`}}`), out); err != nil || out[0].Text() != want {
					t.Errorf("got %q, %v; want %s", out[0].Raw, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What Extract accepts, encoding/json accepts, with the same values.
func FuzzExtract(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":{"c":"x\u0041"}}`, `{"b":{"c":[1,2,{"d":null}]},"a":-0.5e-7}`, `{"a":"\ud83d\ude00"}`, `{}`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		out := make([]Value, 3)
		err := New(paths(t, "a", "b.c", "b")...).Extract(payload, out)
		if !bytes.Equal(before, payload) {
			t.Fatalf("payload was changed to %q", payload)
		}
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(payload, &want); err != nil {
			t.Fatalf("encoding/json refuses what was accepted: %v", err)
		}
		check(t, "a", out[0], want["a"])
		check(t, "b", out[2], want["b"])
		var b map[string]json.RawMessage
		if json.Unmarshal(want["b"], &b) == nil {
			check(t, "b.c", out[1], b["c"])
		}
	})
}

func check(t *testing.T, name string, got Value, want json.RawMessage) {
	t.Helper()
	if !bytes.Equal(got.Raw, want) || (want == nil) != (got.Kind == Absent) {
		t.Fatalf("%s = %d %q, want %q", name, got.Kind, got.Raw, want)
	}
	var s string
	if got.Kind == String && (json.Unmarshal(want, &s) != nil || got.Text() != s) {
		t.Fatalf("text of %s = %q, want %q", name, got.Text(), s)
	}
}

// Times are told apart by size and read without rounding.
func TestParseTime(t *testing.T) {
	good := map[string]int64{
		`"1970-01-01T00:00:01Z"`:                1e6,
		`"2021-01-14T02:56:37.123456789+01:00"`: 1610589397123456,
		`1700000000`:                            1700000000e6,
		`1700000000.123456`:                     1700000000123456,
		`1700000000.1234569`:                    1700000000123456,
		`1700000000123`:                         1700000000123e3,
		`1700000000123.4567`:                    1700000000123456,
		`1700000000123456`:                      1700000000123456,
		`1700000000123456.9`:                    1700000000123456,
		`"1700000000.25"`:                       1700000000250000,
		`1.7e9`:                                 1700000000e6,
		`0`:                                     0,
		`-1`:                                    -1e6,
		`-0.0000001`:                            -1,
		`99999999999.999999`:                    99999999999999999,
		`100000000000`:                          100000000000e3,
		`99999999999999`:                        99999999999999e3,
		`100000000000000`:                       100000000000000,
		`99999999999999999`:                     99999999999999999,
		`1e-400000000000000000000`:              0,
		`"0001-01-01T00:00:00Z"`:                -62135596800e6,
		`"9999-12-31T23:59:59.999999Z"`:         253402300799999999,
	}
	for in, want := range good {
		if got, err := ParseTime(value(t, in)); err != nil || got != want {
			t.Errorf("ParseTime(%s) = %d, %v; want %d", in, got, err, want)
		}
	}
	bad := []string{`null`, `true`, `{}`, `[]`, `""`, `"yesterday"`, `"2021-01-14"`, `"2021-01-14 02:56:37"`, `"2021-01-14T02:56:37"`,
		`"2021-01-14T2:56:37Z"`, `"2021-01-14T02:56:37,5Z"`, `"2021-01-14T02:56:37+24:00"`, `"2021-01-14T02:56:37-00:60"`, `"2021-01-14T02:56:60Z"`, `"2021-01-14t02:56:37Z"`, `"2021-01-14T02:56:37.Z"`, `"1e"`, `"+1"`, `"01"`, `" 1"`, `1e17`, `1e400000000000000000000`, `1700000000000000000`,
		`"0000-12-31T23:59:59Z"`, `"9999-12-31T23:59:59-01:00"`, `-99999999999`}
	for _, in := range bad {
		if got, err := ParseTime(value(t, in)); err == nil {
			t.Errorf("ParseTime(%s) = %d, want an error", in, got)
		}
	}
	if _, err := ParseTime(Value{}); err == nil {
		t.Error("an absent field is a time")
	}
}

// value extracts a JSON text as a field.
func value(t testing.TB, text string) Value {
	t.Helper()
	out := make([]Value, 1)
	if err := New(paths(t, "v")...).Extract([]byte(`{"v":`+text+`}`), out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// A number is an int64 if it is whole and fits, in whatever way it is written.
func TestInt64IsExactOrNothing(t *testing.T) {
	good := map[string]int64{
		"0": 0, "-0": 0, "0.0": 0, "0e99999999999": 0, "1.0": 1, "1e3": 1000, "1E+3": 1000, "120e-1": 12, "-7": -7, "9007199254740993": 9007199254740993,
		"9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63, "0.0000001e7": 1, "92233720368547758.07e2": 1<<63 - 1,
	}
	for in, want := range good {
		if got, ok := value(t, in).Int64(); !ok || got != want {
			t.Errorf("%s = %d, %t; want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"0.5", "1e-1", "9223372036854775808", "-9223372036854775809", "1e19", "1e999999999999", "-9223372036854775808.5", `"1"`, "true", "null"} {
		if got, ok := value(t, in).Int64(); ok {
			t.Errorf("%s = %d, want no value", in, got)
		}
	}
}

// The other conversions take their own JSON type and nothing else.
func TestConversionsTakeTheirOwnTypeOnly(t *testing.T) {
	for _, in := range []string{`"s"`, `1.5`, `true`, `false`, `null`, `{}`, `[]`} {
		v := value(t, in)
		s, isString := v.String()
		f, isDouble := v.Double()
		b, isBool := v.Bool()
		if isString != (in == `"s"`) || isString && s != "s" {
			t.Errorf("String of %s = %q, %t", in, s, isString)
		}
		if isDouble != (in == `1.5`) || isDouble && f != 1.5 {
			t.Errorf("Double of %s = %v, %t", in, f, isDouble)
		}
		if isBool != (v.Kind == Bool) || b != (in == "true") {
			t.Errorf("Bool of %s = %t, %t", in, b, isBool)
		}
	}
	if f, ok := value(t, "1e999").Double(); ok {
		t.Errorf("1e999 = %v, want no value", f)
	}
	if f, ok := value(t, "-0.0").Double(); !ok || 1/f < 0 {
		t.Errorf("-0.0 = %v, %t; want the one zero", f, ok)
	}
}

// Decimals agree with exact rational arithmetic.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "-1.5", "12e3", "99999999999.9999995", "1e-7", "-0.001e3"} {
		f.Add(s, 6)
	}
	f.Fuzz(func(t *testing.T, s string, by int) {
		if !isNumber([]byte(s)) || json.Valid([]byte(s)) != isNumber([]byte(s)) || len(s) > 40 || by < 0 || by > 6 {
			if json.Valid([]byte(s)) && strings.Trim(s, "-0123456789.eE+") == "" && s != "" && !isNumber([]byte(s)) {
				t.Fatalf("isNumber(%q) = false", s)
			}
			return
		}
		if _, e, ok := strings.Cut(strings.ToLower(s), "e"); ok && len(e) > 4 {
			parseDecimal([]byte(s)).shifted(by) // must not hang or panic
			return
		}
		r, _ := new(big.Rat).SetString(s)
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(by)), nil)))
		floor := new(big.Int).Div(r.Num(), r.Denom()) // Euclidean: towards the past for positive denominators
		n, exact, ok := parseDecimal([]byte(s)).shifted(by)
		if ok != floor.IsInt64() || ok && (n != floor.Int64() || exact != r.IsInt()) {
			t.Fatalf("%s × 10^%d = %d, exact %t, fits %t; want %s, %t, %t", s, by, n, exact, ok, floor, r.IsInt(), floor.IsInt64())
		}
	})
}

var sample = []byte(`{"event_id": "3843432ec68ab610bf51a6e6980eb7cf3933b902", "event_type": "commit.perkeep", "event_time": "2021-01-14T02:56:37Z", "received_at": "2021-01-14T02:56:37Z", "user_id": "79c833a51916", "files": 0, "added": 0, "deleted": 0, "context": {"page": {"url": "https://example.com/a/b", "n": [1, 2, 3]}}}`)

func BenchmarkExtract(b *testing.B) {
	x := New(paths(b, "event_id", "event_type", "event_time", "user_id", "context.page.url")...)
	out := make([]Value, 5)
	b.SetBytes(int64(len(sample)))
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Extract(sample, out); err != nil {
			b.Fatal(err)
		}
	}
}
