package model

// variant is a world with a mechanism taken out, and what that breaks.
type variant struct {
	name   string
	world  world
	flaw   flaws
	breaks string
}

var variants = []variant{
	{"index row after ack and mark", pair, flaws{indexAfterMark: true}, "has no index row"},
	{"index TTL is row TTL", pair, flaws{indexShortLived: true}, "has no index row"},
	{"index row never renewed", renewal, flaws{noRenewal: true}, "has no index row"},
	{"segment name reused after a restart", restarted.with(1, ingestDie), flaws{segmentReused: true}, "gone from the store"},
	{"manifest records everything up to the largest row", pair, flaws{rangeRecorded: true}, "recorded as merged but not in the lake"},
	{"manifest records rows not read", pair, flaws{unreadRecorded: true}, "recorded as merged but not in the lake"},
	{"reader reads only beyond the largest row", pair, flaws{tailOnly: true}, "has no mark"},
	{"lane closed while a batch is in flight", pair, flaws{closedEarly: true}, "no rewrite reads"},
	{"mark suppressed", pair, flaws{markSuppressed: true}, "has no mark"},
	{"ride on a call in flight", pair, flaws{rideInFlight: true}, "has no mark"},
	{"unconditional publish", pair.with(1, rebalance), flaws{unconditional: true}, "shrank"},
	{"version read after the content", pair.with(1, rebalance), flaws{versionAfterContent: true}, "shrank"},
	{"same bytes published after a conflict", pair.with(1, rebalance), flaws{republished: true}, "shrank"},
	{"offset committed before the publish", pair.with(1, kill), flaws{committedFirst: true}, "has no mark"},
	{"marks during a rewrite dropped", pair, flaws{marksDuringRewriteDropped: true}, "has no mark"},
	{"replace instead of merge after TTL", pair, flaws{replaced: true}, "shrank"},
	{"prune closed lanes", pair, flaws{prunedClosed: true}, "books"},
	{"prune what has expired although it is listed", inTurn.with(1, timeout), flaws{prunedByAge: true}, "books"},
	{"index read before the base, pruned by it alone", quick(inTurn).with(1, rebalance), flaws{indexBeforeBase: true, prunedByIndex: true}, "books"},
	{"sweep compares row counts", pair.with(1, loss), flaws{sweptByCount: true}, "no sweep sees it"},
	{"sweep compares presence of lanes", pair.with(1, loss), flaws{sweptByPresence: true}, "no sweep sees it"},
	{"erasure without memory", segments.with(1, erasure), flaws{erasureForgotten: true}, "came back"},
	{"notes of rows that are not all copies", pair, flaws{anyNoted: true}, "recorded as merged but not in the lake"},

	{"settled a day early", stragglers, flaws{settledEarly: true}, "no rewrite reads"},
	{"late row of a shared lane acknowledged", stragglers, flaws{settledAcked: true}, "no rewrite reads"},
	{"notes believed though the object went back", line.with(1, wentBack), flaws{notesKeptWhenWentBack: true}, "recorded as merged but not in the lake"},
	{"board told of an older version than it knows", line.with(2, rebalance|wentBack), flaws{boardGoesBack: true}, "recorded as merged but not in the lake"},
	{"notes before the board", line.with(2, kill|wentBack), flaws{notedFirst: true}, "recorded as merged but not in the lake"},
	{"lineage kept over a restoration", line.with(1, restoring), flaws{lineageKept: true}, "recorded as merged but not in the lake"},
	{"deferred mark done before its copy is durable", hours.with(1, kill), flaws{deferredDoneFirst: true}, "has no mark"},
	{"floor of the highest mark", hours.with(1, kill), flaws{floorOfHighest: true}, "has no mark"},
	{"vanished object made anew", line.with(1, vanish), flaws{vanishedIgnored: true}, "shrank"},
	{"notes of unlisted lanes folded in", copies, flaws{unlistedFolded: true}, "books"},
	{"board read after the base", versions.with(1, rebalance), flaws{boardAfterBase: true}, "false alarm"},
	{"restored hour not marked", line.with(1, restoring), flaws{restoredUnmarked: true}, "has no mark"},
	{"restoration forgets erasures", pairVersions.with(2, restoring|erasure), flaws{restoredUnerased: true}, "came back"},
	{"restoration moves the watermark", lone.with(1, restoring), flaws{restoredSettled: true}, "no rewrite reads"},
	{"sweep believes the board of another version", line.with(1, wentBack), flaws{sweptByBoard: true}, "no sweep sees it"},
	{"sweep passes over old lanes of another version", lone.with(1, wentBack), flaws{sweptBlindly: true}, "no sweep sees it"},
	{"sweep in part after the loss of the queue", lone.with(1, loss), flaws{sweptInPart: true}, "no sweep sees it"},
	{"restoration tells the board before it marks", quick(lone).with(2, restoring|operatorDie), flaws{restoredToldFirst: true}, "no sweep sees it"},
	{"sweep tells the board before it marks", quick(lone).with(2, restoring|operatorDie), flaws{sweepToldFirst: true}, "no sweep sees it"},
}

var pairVersions = func() world { w := pair; w.board = true; return w }()

// quick is a world in which nothing expires.
func quick(w world) world { w.short = true; return w }
