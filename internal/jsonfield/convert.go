package jsonfield

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Conversions take a value to the type of a column or of a mapped field. They
// depend on nothing but the value. Those that return a bool report whether the
// value is of the type at all: a string is no number, however it looks.

// String returns the text of a JSON string.
func (v Value) String() (string, bool) {
	if v.Kind != String {
		return "", false
	}
	return v.Text(), true
}

// Bool returns a JSON boolean.
func (v Value) Bool() (value, ok bool) {
	return v.Kind == Bool && v.Raw[0] == 't', v.Kind == Bool
}

// Int64 returns a JSON number that is a whole number within int64, however it is
// written: 1000, 1000.0 and 1e3 are the same.
func (v Value) Int64() (int64, bool) {
	if v.Kind != Number {
		return 0, false
	}
	n, exact, ok := parseDecimal(v.Raw).shifted(0)
	return n, exact && ok
}

// Double returns the double nearest to a JSON number. A number beyond the
// largest double is none. There is one zero: -0 is 0.
func (v Value) Double() (float64, bool) {
	if v.Kind != Number {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(v.Raw), 64)
	return f + 0, err == nil
}

// Bounds that tell epoch numbers apart, as digits before the decimal point.
// Seconds reach to the year 5138; milliseconds and microseconds count as such
// from 3 March 1973 on, and before 29 October 1966.
const (
	secondDigits = 11 // |n| < 1e11 are seconds
	milliDigits  = 14 // |n| < 1e14 are milliseconds
	microDigits  = 17 // |n| < 1e17 are microseconds, what is larger is no time
)

var errNoTime = errors.New("no time: want RFC 3339, or epoch seconds, milliseconds or microseconds")

// ParseTime reads a time: a string in RFC 3339, or the seconds, milliseconds or
// microseconds since the Unix epoch as a number or as a string that holds one.
// The unit follows from the size: below 1e11 seconds, below 1e14 milliseconds,
// below 1e17 microseconds. It returns microseconds; what is finer is cut off
// towards the past. Fractions are exact. A time outside the years 1 to 9999 in
// UTC is none: not every reader can print it.
func ParseTime(v Value) (int64, error) {
	micros, err := parseTime(v)
	if err == nil && (micros < minMicros || micros > maxMicros) {
		return 0, fmt.Errorf("%.60q is outside the years 1 to 9999", v.Raw)
	}
	return micros, err
}

// The first and the last microsecond of the years 1 to 9999.
const (
	minMicros = -62135596800e6
	maxMicros = 253402300800e6 - 1
)

func parseTime(v Value) (int64, error) {
	switch v.Kind {
	case Number:
		return parseEpoch(v.Raw)
	case String:
		text := []byte(v.Text())
		if isNumber(text) {
			return parseEpoch(text)
		}
		t, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil || !isRFC3339(text) {
			return 0, fmt.Errorf("%.60q is %w", text, errNoTime)
		}
		return t.UnixMicro(), nil
	}
	return 0, fmt.Errorf("%.60q is %w", v.Raw, errNoTime)
}

// isRFC3339 reports whether what package time has read as RFC 3339 really is: it
// also takes hours of one digit, a comma before the fraction, and zones of more
// than a day.
func isRFC3339(text []byte) bool {
	if len(text) < len("2006-01-02T15:04:05Z") || text[len("2006-01-02T15")] != ':' || bytes.IndexByte(text, ',') >= 0 {
		return false
	}
	if text[len(text)-1] == 'Z' {
		return true
	}
	zone := text[len(text)-len("15:04"):]
	return string(zone[:2]) < "24" && string(zone[3:]) < "60"
}

func parseEpoch(number []byte) (int64, error) {
	d := parseDecimal(number)
	var shift int
	switch {
	case d.point <= secondDigits:
		shift = 6
	case d.point <= milliDigits:
		shift = 3
	case d.point <= microDigits:
	default:
		return 0, fmt.Errorf("%.60s is %w", number, errNoTime)
	}
	n, _, _ := d.shifted(shift) // fits: it has at most 17 digits
	return n, nil
}

// isNumber reports whether text is a number as JSON writes them.
func isNumber(text []byte) bool {
	b := bytes.TrimPrefix(text, []byte{'-'})
	whole := digits(b)
	if whole == 0 || whole > 1 && b[0] == '0' {
		return false
	}
	b = b[whole:]
	if len(b) > 0 && b[0] == '.' {
		n := digits(b[1:])
		if n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		return len(b) > 0 && digits(b) == len(b)
	}
	return len(b) == 0
}

// digits returns how many digits b begins with.
func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

// decimal is the number ±0.DIGITS × 10^point, without zeros at either end of
// the digits. Zero has no digits.
type decimal struct {
	negative bool
	digits   []byte
	point    int
}

// parseDecimal reads a number that is known to be valid JSON.
func parseDecimal(b []byte) decimal {
	var d decimal
	d.negative = b[0] == '-'
	mantissa, exponent, _ := bytes.Cut(bytes.ToLower(bytes.TrimPrefix(b, []byte{'-'})), []byte{'e'})
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	d.digits = append(whole[:len(whole):len(whole)], fraction...)
	d.point = len(whole)
	if len(exponent) > 0 {
		e, err := strconv.Atoi(string(exponent))
		if err != nil { // beyond the range of int: as good as infinite
			e = math.MaxInt32
			if exponent[0] == '-' {
				e = -e
			}
		}
		d.point += min(max(e, -math.MaxInt32), math.MaxInt32)
	}
	n := len(d.digits)
	d.digits = bytes.TrimLeft(d.digits, "0")
	d.point -= n - len(d.digits)
	d.digits = bytes.TrimRight(d.digits, "0")
	if len(d.digits) == 0 {
		d.point = 0
	}
	return d
}

// shifted returns the largest whole number that is not above d × 10^by, whether
// it is exactly that, and whether it fits.
func (d decimal) shifted(by int) (n int64, exact, ok bool) {
	point := d.point + by
	if point > 19 {
		return 0, false, false
	}
	whole := d.digits[:min(max(point, 0), len(d.digits))]
	exact = len(whole) == len(d.digits)
	text := make([]byte, 0, 24)
	if d.negative {
		text = append(text, '-')
	}
	text = append(append(text, '0'), whole...)
	for range point - len(whole) {
		text = append(text, '0')
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, false, false
	}
	if d.negative && !exact {
		if n == math.MinInt64 {
			return 0, false, false
		}
		n--
	}
	return n, exact, true
}
