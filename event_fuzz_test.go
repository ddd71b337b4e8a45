package afterhours_test

import (
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
)

// TestLongTypesFitTheLake shows that a type whose directory would have a name that
// no file system takes is refused at the door: its hours could never be published.
func TestLongTypesFitTheLake(t *testing.T) {
	for name, valid := range map[string]bool{
		strings.Repeat("x", 200):                                    true,
		strings.Repeat(".", 200):                                    true, // of which only the last is escaped
		strings.Repeat("/", 81):                                     true, // 243 bytes of 244
		strings.Repeat("/", 82):                                     false,
		strings.Repeat("x", 200-23) + strings.Repeat("%", 22):       true,
		strings.Repeat("x", 200-23) + strings.Repeat("%", 22) + ".": false,
	} {
		err := afterhours.ValidateType(name)
		if (err == nil) != valid || err != nil && !strings.Contains(err.Error(), "as the name of a directory") {
			t.Errorf("%q: %v, want valid %t", name, err, valid)
		}
	}
}

// FuzzEvent shows that an event that passes has an hour whose text is read back
// as that hour, and times and days that are printed and read back.
func FuzzEvent(f *testing.F) {
	f.Add("id", "purchase", int64(1_795_000_000e6), int64(1_795_000_000e6), []byte("{}"))
	f.Add("", "", int64(0), int64(0), []byte{0xff})
	f.Add("\x00", "../a", int64(-62135596800e6), int64(253402300799999999), []byte(nil))
	f.Add(strings.Repeat("x", 1025), strings.Repeat("/", 100), int64(-1)<<63, int64(1<<63-1), []byte("\x00"))
	f.Fuzz(func(t *testing.T, id, eventType string, at, received int64, payload []byte) {
		e := afterhours.Event{ID: id, Type: eventType, Time: afterhours.Micros(at), Received: afterhours.Micros(received), Payload: payload}
		h := e.Hour() // of any event, valid or not
		if e.Validate() != nil {
			return
		}
		if back, err := afterhours.ParseHour(h.String()); err != nil || back != h || !h.Contains(e.Time) {
			t.Fatalf("the hour of %+v is %s, read back as %+v, error %v", e, h, back, err)
		}
		for _, m := range []afterhours.Micros{e.Time, e.Received} {
			d := afterhours.DayOf(m)
			if back, err := afterhours.ParseDay(d.String()); err != nil || back != d || m < d.Start() || m >= d.End() {
				t.Fatalf("the day of %s is %s, read back as %s, error %v", m, d, back, err)
			}
		}
	})
}

// FuzzParseDay shows that what is accepted is printed as it was.
func FuzzParseDay(f *testing.F) {
	for _, s := range []string{"2026-11-20", "0001-01-01", "0000-12-31", "9999-12-31", "2026-02-29", "+026-11-20", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := afterhours.ParseDay(text)
		if err == nil && d.String() != text {
			t.Fatalf("%q was read as %d, which prints as %q", text, d, d)
		}
	})
}

// FuzzParseSegment shows that what is accepted is printed as it was.
func FuzzParseSegment(f *testing.F) {
	for _, s := range []string{"00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF", "00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := afterhours.ParseSegment(text)
		if err == nil && s.String() != text {
			t.Fatalf("%q was read as %s", text, s)
		}
	})
}
