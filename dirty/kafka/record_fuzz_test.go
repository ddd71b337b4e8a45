package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
)

// FuzzMarkOf shows that a record that anybody may have written is refused for its
// key only; that a mark of it has a valid hour; that its hint is never later than
// the mark, nor before 1970; and that what we write is read as it was.
func FuzzMarkOf(f *testing.F) {
	f.Add([]byte("purchase/2026-11-20T10"), []byte(`{"since":5}`), int64(1_795_168_800_000))
	f.Add([]byte("purchase/2026-11-20T10"), []byte(nil), int64(-1))
	f.Add([]byte("a/2026-11-20"), []byte(`{"since":-5}`), int64(1<<62))
	f.Add([]byte("../2026-11-20"), []byte(`{"since":1e400}`), int64(0))
	f.Add([]byte("\xff"), []byte(`[`), int64(0))
	f.Fuzz(func(t *testing.T, key, value []byte, millis int64) {
		r := &kgo.Record{Key: key, Value: value, Timestamp: time.UnixMilli(millis), Partition: 3, Offset: 9}
		m, err := markOf(r)
		h, wrong := afterhours.ParseHour(string(key))
		if (err != nil) != (wrong != nil) {
			t.Fatalf("key %q: %v, the hour is %v", key, err, wrong)
		}
		if err != nil {
			return
		}
		if m.Hour != h || m.Since < 0 || m.Since > max(m.Time, 0) || m.Partition != 3 || m.Offset != 9 {
			t.Fatalf("%q %q was read as %+v", key, value, m)
		}
		r.Value = encodeValue(m.Mark)
		if back, err := markOf(r); err != nil || back != m || r.Value == nil {
			t.Fatalf("%+v was written as %q and read as %+v, %v", m, r.Value, back, err)
		}
	})
}
