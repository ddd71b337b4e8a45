// Package afterhours is the domain of a late-event compaction service: events,
// the hours they belong to, the marks that call for a rewrite, the identity of
// stored rows, and the rule that decides which copy of an event survives.
//
// It has no I/O and depends on the standard library only. Everything in it is a
// value that may be copied, compared and used by several goroutines, except
// [RowSet], which says so itself.
//
// # Words
//
// An event happened at its event time and was taken by ingest at its received
// time. Its hour is its type and the UTC hour of its event time: the unit of
// storage, of dirtiness and of rewriting. It is late when it was received after
// its hour had ended.
//
// A row is one stored copy of an event. Rows are named by the segment that
// wrote them (128 random bits, one ingest worker incarnation) and their number
// in it. A lane is one of the parts an hour is stored in.
//
// # Limits
//
// Times are whole microseconds between the years 1 and 9999. Payloads are UTF-8
// text of at most [MaxPayload] bytes, IDs have at most [MaxID] bytes and event
// types at most [MaxType].
package afterhours
