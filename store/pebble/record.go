package pebble

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// renewal is how long a lane record covers what is written after it.
const renewal = afterhours.Micros(store.Renewal / time.Microsecond)

var errRecord = errors.New("decode lane record: malformed")

// laneRecord is what is stored under a lane's key. It is a byte of flags and
// varints, not JSON: there are many, and the sweeper reads them all.
type laneRecord struct {
	Listed bool // it was put: this is an index row
	Closed bool
	Purged bool // no row of the lane is stored

	Put    afterhours.Micros // when it was last put: the index row's time starts here
	Newest afterhours.Micros // no row of the lane was written later
	Rows   int64
	Bytes  int64
}

// cover makes the record that of a lane with rows which were written at the time,
// and leaves room for later ones.
func (r *laneRecord) cover(at afterhours.Micros) {
	r.Newest = max(r.Newest, at+renewal)
	r.Purged = false
}

// covers reports whether a row that was written at the time may be stored without
// a change of the record.
func (r *laneRecord) covers(at afterhours.Micros) bool { return !r.Purged && at <= r.Newest }

// isListed reports whether the record is an index row that was put after expired.
func (r *laneRecord) isListed(expired afterhours.Micros) bool { return r.Listed && r.Put > expired }

// The flags.
const (
	listedFlag = 1 << iota
	closedFlag
	purgedFlag
	unknownFlags
)

func (r *laneRecord) encode() []byte {
	value := []byte{flag(r.Listed, listedFlag) | flag(r.Closed, closedFlag) | flag(r.Purged, purgedFlag)}
	for _, n := range []int64{int64(r.Put), int64(r.Newest), r.Rows, r.Bytes} {
		value = binary.AppendVarint(value, n)
	}
	return value
}

func flag(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

func decodeLane(value []byte) (r laneRecord, err error) {
	if len(value) == 0 || value[0] >= unknownFlags {
		return r, errRecord
	}
	flags, rest := value[0], value[1:]
	r.Listed, r.Closed, r.Purged = flags&listedFlag != 0, flags&closedFlag != 0, flags&purgedFlag != 0
	var n [4]int64
	for i := range n {
		v, size := binary.Varint(rest)
		if size <= 0 {
			return r, errRecord
		}
		n[i], rest = v, rest[size:]
	}
	if len(rest) > 0 {
		return r, errRecord
	}
	r.Put, r.Newest, r.Rows, r.Bytes = afterhours.Micros(n[0]), afterhours.Micros(n[1]), n[2], n[3]
	return r, nil
}
