package afterhours

// Mark says that an hour has something new. It carries no instruction: a
// log-compacted topic keeps only the newest mark of an hour, so whatever else a
// compactor must know is read from the store after the mark was taken.
type Mark struct {
	Hour Hour
	Time Micros // when the queue appended it

	// Since is when the hour began to wait, on a mark that was made again to
	// move it to the end of the log (dirty.Consumer.Defer); 0 on every other. It
	// is a hint for the order of work: log compaction may drop it.
	Since Micros
}
