package kafka

import (
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// encodeValue returns what the record of a mark says besides its hour. It is
// never null: that would be a tombstone.
func encodeValue(m afterhours.Mark) []byte {
	if m.Since == 0 {
		return []byte("{}")
	}
	return fmt.Appendf(nil, `{"since":%d}`, int64(m.Since))
}

// markOf reads a record. Only its key must be right: others may write marks too,
// and to pass over one of them for its value would lose it.
func markOf(r *kgo.Record) (dirty.Mark, error) {
	h, err := afterhours.ParseHour(string(r.Key))
	at := afterhours.MicrosOf(r.Timestamp)
	m := afterhours.Mark{Hour: h, Time: at, Since: sinceOf(r.Value, at)}
	return dirty.Mark{Mark: m, Partition: r.Partition, Offset: r.Offset}, err
}

// sinceOf returns the hint in the value of a mark of a time, 0 if there is none
// or it cannot be true.
func sinceOf(value []byte, at afterhours.Micros) afterhours.Micros {
	var hint struct {
		Since afterhours.Micros `json:"since"`
	}
	if err := json.Unmarshal(value, &hint); err != nil || hint.Since < 0 || hint.Since > at {
		return 0
	}
	return hint.Since
}
