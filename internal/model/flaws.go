package model

// flaws are mechanisms taken out, each of them tempting. The zero value is the
// protocol.
type flaws struct {
	// At ingest.
	indexAfterMark  bool // the index row is written after the acknowledgement
	indexShortLived bool // an index row lives as long as a row
	noRenewal       bool // an index row is never written again
	segmentReused   bool // a restarted process numbers the rows of its old segment again
	closedEarly     bool // a lane is closed while rows are on their way to it
	markSuppressed  bool // no mark, since there was one a moment ago
	rideInFlight    bool // rows ride on a call that has begun
	settledAcked    bool // nobody looks whether a row came too late for its shared lane

	// In the queue.
	floorOfHighest            bool // the floor is the highest of the hours' last marks
	deferredDoneFirst         bool // a waiting hour's mark is done before its copy is durable
	committedFirst            bool // the offset is committed before the publish
	marksDuringRewriteDropped bool // a rewrite serves the marks that came during it, too

	// In a rewrite.
	boardAfterBase  bool // the board is read after the base
	indexBeforeBase bool // the index is read before the base
	settledEarly    bool // no day is left for the difference of clocks
	tailOnly        bool // rows below the largest that is merged are not read
	vanishedIgnored bool // a partition that has vanished is made anew

	// In a publish.
	rangeRecorded         bool // the manifest records everything up to the largest row
	unreadRecorded        bool // the manifest records what is there, not what was read
	anyNoted              bool // rows are noted that are not all copies
	boardGoesBack         bool // a slow rewrite tells the board of an older version than it knows
	notedFirst            bool // copies are noted before the board knows of what they are copies
	unlistedFolded        bool // notes of lanes that are not listed are folded in
	notesKeptWhenWentBack bool // notes are believed although the object went back
	lineageKept           bool // restoration begins no new lineage
	unconditional         bool // the object is replaced, whatever it is by now
	versionAfterContent   bool // the version is read after the rows
	republished           bool // after a conflict the same bytes are published on the new version
	replaced              bool // the raw rows replace the base
	uncoveredRebuilt      bool // a rebuild does not look whether the raw rows cover the base
	erasureForgotten      bool // erased events are not remembered
	prunedClosed          bool // the manifest forgets closed lanes
	prunedByAge           bool // the manifest forgets expired rows, listed or not
	prunedByIndex         bool // the manifest forgets rows of lanes not listed, expired or not

	// In repairs and sweeps.
	restoredUnmarked  bool // a restored hour is not marked
	restoredUnerased  bool // a restored version brings back what was erased since
	restoredSettled   bool // a restoration moves the watermark without reading lanes
	restoredToldFirst bool // a restoration tells the board before it marks the hour
	sweepToldFirst    bool // a sweep tells the board before it marks the hour
	sweptByCount      bool // the sweep compares numbers of rows
	sweptByPresence   bool // the sweep looks for lanes of which nothing is merged
	sweptByBoard      bool // the sweep believes the board whatever the object's version
	sweptBlindly      bool // the sweep passes over old shared lanes whatever the object's version
	sweptInPart       bool // after the loss of the queue, the sweep passes over them, too
}
