package ingest

import (
	"context"
	"time"
)

// Record is one piece of input: a line of a file or a message of a topic.
type Record struct {
	Bytes    []byte    // belongs to the receiver; without a line end
	Source   string    // stable name of where it came from: an absolute path, a URL, a topic
	Position string    // place within the source: "line 12", or "3@4711" (partition@offset)
	Time     time.Time // the source's time: a file's modification time, a message's timestamp

	// Cut is set by a source that could not hand over the whole record; Bytes is
	// then only its beginning. Such a record always goes to quarantine.
	Cut *Cut
}

// Cut describes the whole of a record of which only the beginning was kept.
type Cut struct {
	Size   int64    // bytes of the whole
	SHA256 [32]byte // of the whole
}

// Put hands a record on. It blocks while too much is in flight. After nil, ack
// is called once, from any goroutine, when the record is kept: the store holds
// it and its index row, and its hour is marked. After an error of Put nothing of
// the record is acknowledged, and the source should return that error.
//
// Put is called by any number of goroutines. Records may be acknowledged in any
// order, and a record that was put but not yet acknowledged when the source
// returned is acknowledged later or never.
type Put func(ctx context.Context, r Record, ack func()) error

// Source is where records come from.
type Source interface {
	// Run puts every record and returns nil at the end of the input, after which
	// acknowledgements still arrive. When ctx ends it stops reading and returns
	// ctx's error.
	Run(ctx context.Context, put Put) error
}
