package lake

import (
	"fmt"
	"strings"

	"github.com/afterhours/afterhours"
)

// fileName is the name of every partition's object within its directory.
const fileName = "events.parquet"

// keyOf returns where an hour's partition lies below the lake's root:
// event_type=T/dt=YYYY-MM-DD/hour=HH/events.parquet, for a day without the hour.
func keyOf(h afterhours.Hour) string {
	dt, hour, hourly := strings.Cut(h.Span(), "T")
	key := "event_type=" + escape(h.Type) + "/dt=" + dt
	if hourly {
		key += "/hour=" + hour
	}
	return key + "/" + fileName
}

// hourOf is the inverse of keyOf. It reports false for every other key: the lake
// may hold objects of others.
func hourOf(key string) (afterhours.Hour, bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return afterhours.Hour{}, false
	}
	eventType, ok1 := strings.CutPrefix(parts[0], "event_type=")
	span, ok2 := strings.CutPrefix(parts[1], "dt=")
	if !ok1 || !ok2 {
		return afterhours.Hour{}, false
	}
	if len(parts) == 4 {
		hour, ok := strings.CutPrefix(parts[2], "hour=")
		if !ok {
			return afterhours.Hour{}, false
		}
		span += "T" + hour
	}
	h, err := afterhours.ParseSpan(unescape(eventType), span)
	if err != nil || afterhours.ValidateType(h.Type) != nil || keyOf(h) != key {
		return afterhours.Hour{}, false
	}
	return h, true
}

// hiveSpecial are the characters that Hive writes as %XX in a partition's
// directory (org.apache.hadoop.hive.common.FileUtils), besides control
// characters, which event types do not have.
const hiveSpecial = "\"#%'*/:=?\\{[]^"

// escape writes an event type as Hive does. A dot at the end is escaped as well:
// object stores and file systems give "…/" after dots a meaning of their own.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(hiveSpecial, c) >= 0 || c == '.' && i == len(s)-1 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape undoes escape. Whatever escape does not print comes out as something
// that escape does not turn back into s.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if s[i] == '%' && len(s) >= i+3 {
			if _, err := fmt.Sscanf(s[i+1:i+3], "%02X", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
