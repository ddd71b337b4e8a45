// Package ingest takes records from a source and has every event kept before it
// acknowledges the record.
//
//	Source -> Record -> Mapping -> event or quarantine event
//	       -> Writer -> batches -> Store (rows, index) -> Marks -> ack
//
// [Run] wires the whole path. The sources are [Files] (JSON lines in files,
// objects and standard input) and [Kafka]; a [Mapping] says where in a record an
// event's ID, type and times stand.
//
// # Promise
//
// A record is acknowledged only after the store holds its event and the index
// row of the event's lane, and its hour was marked after both. A crash anywhere
// before leads to a redelivery, never to a loss. A record that is no event is
// kept all the same: as an event of type [afterhours.QuarantineType].
//
// # Memory
//
// What is read but not yet acknowledged is bounded by [Options].InHand. An hour
// in traffic costs some hundred bytes more, until it was idle for ten minutes.
package ingest
