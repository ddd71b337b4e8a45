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
// # Lanes
//
// An hour with traffic gets a lane of its own, which is closed when it is full or
// idle. Stragglers, which come one by one for very many hours, go to a lane that
// all processes share, one a day; see [Trickle]. What the store acknowledges only a
// day after that day has ended is written again, into the lane of today, since
// compactors take the old one for complete by then.
//
// # Guards
//
// A sender that makes up event types or times harms the others only as far as the
// guards of [Options] allow: what is beyond them is kept in quarantine. The budgets
// are each process's own, and begin anew when it starts.
//
// # Memory
//
// What is read but not yet acknowledged is bounded by [Options].InHand, and 8 MiB
// that wait to be mapped. An hour in traffic costs some hundred bytes more, until it
// was idle for ten minutes; one that had stragglers about 75 for an hour or two, and
// all of these no more than 80 MiB. A Kafka partition costs 16 messages.
package ingest
