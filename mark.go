package afterhours

// Mark says that an hour has something new. It carries no instruction: a
// log-compacted topic keeps only the newest mark of an hour, so whatever else a
// compactor must know is read from the store after the mark was taken.
type Mark struct {
	Hour Hour
	Time Micros // when the queue appended it
}
