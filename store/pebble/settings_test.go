package pebble

import (
	"strings"
	"testing"
	"time"
)

// TestTTL shows that the TTL is agreed on when the store is made, and that who
// wants another is told both and what to do.
func TestTTL(t *testing.T) {
	for _, made := range []time.Duration{0, time.Hour, 720 * time.Hour} {
		dir, want := t.TempDir(), made
		if made == 0 {
			want = DefaultTTL
		}
		for _, asked := range []time.Duration{made, 0, want} {
			s := open(t, dir, Options{TTL: asked})
			if s.TTL() != want {
				t.Errorf("made with %s and opened with %s: %s, want %s", made, asked, s.TTL(), want)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(dir, Options{TTL: want + time.Second})
		for _, part := range []string{dir, (want + time.Second).String(), "ask for " + want.String() + " or for none"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("opened with another TTL: error %v, want one that says %q", err, part)
			}
		}
		open(t, dir, Options{}) // it was released
	}
}

// TestImpossibleTTL shows that nothing is recorded of a TTL that makes no sense.
func TestImpossibleTTL(t *testing.T) {
	dir := t.TempDir()
	for _, ttl := range []time.Duration{-time.Hour, time.Nanosecond} {
		if _, err := Open(dir, Options{TTL: ttl}); err == nil || !strings.Contains(err.Error(), ttl.String()) {
			t.Errorf("TTL %s: error %v", ttl, err)
		}
	}
	if s := open(t, dir, Options{}); s.TTL() != DefaultTTL {
		t.Errorf("TTL %s, want %s", s.TTL(), DefaultTTL)
	}
}
