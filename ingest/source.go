package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"

	"github.com/afterhours/afterhours"
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

// keepable returns what is kept of the bytes of a record: all of them, or if no
// event may have as many, the beginning, which shares no memory with them.
func keepable(b []byte) ([]byte, *Cut) {
	if len(b) <= afterhours.MaxPayload {
		return b, nil
	}
	return bytes.Clone(b[:maxKept]), &Cut{Size: int64(len(b)), SHA256: sha256.Sum256(b)}
}

// Put hands a record on. It blocks while too much is in flight. After nil, ack
// is called once, from any goroutine, when the record is kept: the store holds
// it and its index row, and its hour is marked. After an error of Put nothing of
// the record is acknowledged, and the source should return that error.
//
// Put is called by any number of goroutines. Records are acknowledged in any
// order. ack does not block: everything else waits for it.
type Put func(ctx context.Context, r Record, ack func()) error

// Source is where records come from.
type Source interface {
	// Run puts every record and returns nil at the end of the input. When ctx ends
	// it stops reading and returns ctx's error. No Put is under way when it returns.
	//
	// Acknowledgements arrive while Run lasts, also after ctx has ended, and after
	// it. A source that commits them may wait for those that are missing, but not
	// for ever: if the store or the marks fail, they never arrive.
	Run(ctx context.Context, put Put) error
}
