// Package model is the protocol as a state machine small enough to be explored
// exhaustively: every order in which writers, the store, the queue, compactors,
// sweeps, operators and faults can take their steps. In every state the promises
// are checked. A test explores the protocol as it is built, and then once more for
// each mechanism with that mechanism taken out, which must break a promise: so
// every mechanism is shown to be needed, and the model to see it missing.
//
//	go test ./internal/model                     variants, and small worlds
//	go test ./internal/model -run Variants -v    and the trace of each
//	go test ./internal/model -full -v -timeout 60m   every world, pairs of faults, and a table
//
// # What is modelled
//
// A [world] says who writes which row of which event into which lane of which hour,
// and which faults may strike. Its steps are those that others can see:
//
//   - ingest.go: a batch and its index row are sent in parallel and acknowledged, in
//     any order, or time out, are repeated and land once more at any time; index
//     rows grow old and are renewed; a row that is too late for its shared lane is
//     written again elsewhere; one call of Mark a process, with the rows that were
//     kept before it began; lanes are closed with their count; the process dies.
//   - queue.go: marks are taken one by one; log compaction may have dropped a mark
//     that a later one of its hour follows; the ledger's floor is committed, late, or
//     by a member that does not own the log any more; an hour that waits is marked
//     again at the end; a rebalance, a death, the loss of all marks.
//   - compact.go, read.go, judge.go, publish.go: a rewrite reads the board, the base, the index with the
//     notes, and row after row of several lanes at once; then it publishes on the
//     condition of the version it read, or notes copies, or finds nothing new; it
//     tells the board; its marks are done. Watermarks of shared lanes, with clocks
//     that differ; rebuilds; pruning.
//   - operators.go: erasure, an older object in the place of the present one, an
//     object that is gone, a restoration with its new lineage.
//   - sweep.go: what a sweep reads, believes, marks and tells.
//   - store.go: rows and index rows expire.
//   - promises.go: what must hold in every state, and in those in which nothing is
//     left to do.
//
// # What is left out
//
// Payloads: of two copies the one that is read later is always the losing one, as in
// nearly every delivery. Columns, sizes, classes of workers and policies: no result
// depends on them, so an hour may be rewritten at any time. Pages: rows are read one
// by one. A put whose answer is lost is the death of a process after it. The feed.
//
// # What is assumed
//
//   - The store is linearizable for what it acknowledged.
//   - A row that is to be acknowledged does not expire before it is merged: the TTL
//     is longer than it takes to serve a mark or to find that it is lost. An index
//     row lives twice as long.
//   - Clocks of compactors are ahead of those of ingest by less than a day.
//   - Objects are replaced on the condition of their version, and no two versions of
//     an object are taken for one.
//   - An object does not vanish before the board knows its hour.
//   - Whoever puts an older object back decides that what neither it nor the store
//     has is given up, and that what was erased since is there again.
//   - When marks are lost, the next sweep passes over nothing (the queue tells of
//     gaps).
//
// # How it is explored
//
// Breadth first, so a trace is as short as any. Of a state that was visited a
// fingerprint of 64 bits is kept, and the step that led there: about 20 bytes. What
// joins states is in reduce.go, and sound; besides, a mark that log compaction may
// drop is dropped when a member comes to it, or not at all. Each world is small, and there are many:
// what two faults in two hours, or three in one, would show is left to chance, which
// is the simulation's part.
package model
