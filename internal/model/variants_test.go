package model

import (
	"strings"
	"testing"
)

// variant is a world with a mechanism taken out, and the promise that this breaks.
type variant struct {
	name   string
	world  world
	flaw   flaws
	breaks string
}

// variantLimit bounds the search of a variant: each is found long before.
const variantLimit = 1_000_000

// TestVariants: each mechanism of the protocol is needed, since without it some
// interleaving breaks a promise. With -v every variant prints the shortest.
func TestVariants(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			r := explore(newModel(v.world.but(v.flaw)), variantLimit)
			t.Logf("%s\n%s%s", r, v.world.cast(), r.story())
			if r.violation == "" || !strings.Contains(r.violation, v.breaks) {
				t.Errorf("broken is %q, want %q", r.violation, v.breaks)
			}
		})
	}
}

var variants = []variant{
	// Ingest.
	{"index row written after acknowledgement and mark", pair, flaws{indexAfterMark: true}, "has no index row"},
	{"index row lives as long as a row", pair, flaws{indexShortLived: true}, "has no index row"},
	{"index row never renewed", renewal, flaws{noRenewal: true}, "has no index row"},
	{"segment name reused after a restart", restarted.with(1, ingestDie), flaws{segmentReused: true}, "gone from the store"},
	{"lane closed while a batch is in flight", pair, flaws{closedEarly: true}, "no rewrite reads"},
	{"mark suppressed since one was just sent", pair, flaws{markSuppressed: true}, "has no mark"},
	{"ride on a call of Mark that is in flight", pair, flaws{rideInFlight: true}, "has no mark"},
	{"late row of a settled shared lane acknowledged", stragglers.quick(), flaws{settledAcked: true}, "no rewrite reads"},

	// Offsets.
	{"offset committed before the publish", pair.with(1, kill), flaws{committedFirst: true}, "has no mark"},
	{"marks that come during a rewrite are done with it", pair, flaws{marksDuringRewriteDropped: true}, "has no mark"},
	{"floor is the highest of the last marks", hours.with(1, kill), flaws{floorOfHighest: true}, "has no mark"},
	{"deferred mark done before the new one is durable", hours.with(1, kill), flaws{deferredDoneFirst: true}, "has no mark"},

	// What is read.
	{"board read after the base", versions.with(1, rebalance), flaws{boardAfterBase: true}, "false alarm"},
	{"index read before the base, and pruned by it alone", inTurn.quick().with(1, rebalance), flaws{indexBeforeBase: true, prunedByIndex: true}, "books"},
	{"only rows beyond the largest read", pair, flaws{tailOnly: true}, "has no mark"},
	{"shared lane settled a day early", stragglers.quick(), flaws{settledEarly: true}, "no rewrite reads"},
	{"vanished partition made anew", line.unclosed().with(1, vanish), flaws{vanishedIgnored: true}, "shrank"},

	// What is recorded.
	{"everything up to the largest row recorded", pair, flaws{rangeRecorded: true}, "recorded as merged but not in the lake"},
	{"rows recorded that were not read", pair, flaws{unreadRecorded: true}, "recorded as merged but not in the lake"},
	{"rows noted that are not all copies", pair, flaws{anyNoted: true}, "recorded as merged but not in the lake"},
	{"notes of lanes that are not listed folded in", copies.unclosed(), flaws{unlistedFolded: true}, "books"},
	{"closed lanes pruned", pair, flaws{prunedClosed: true}, "books"},
	{"lanes pruned that read empty", inTurn.unclosed().with(1, timeout), flaws{prunedByAge: true}, "books"},

	// The publish.
	{"unconditional publish", pair.with(1, rebalance), flaws{unconditional: true}, "shrank"},
	{"version read after the content", pair.with(1, rebalance), flaws{versionAfterContent: true}, "shrank"},
	{"same bytes published after a conflict", pair.with(1, rebalance), flaws{republished: true}, "shrank"},
	{"raw rows replace the base", pair, flaws{replaced: true}, "shrank"},
	{"rebuild of a base that the raw rows do not cover", pair.unclosed().with(1, rebuilding), flaws{uncoveredRebuilt: true}, "shrank"},
	{"erasure without memory", segments.unclosed().with(1, erasure), flaws{erasureForgotten: true}, "came back"},

	// Older versions.
	{"notes believed although the object went back", line.unclosed().with(1, wentBack), flaws{notesKeptWhenWentBack: true}, "recorded as merged but not in the lake"},
	{"copies noted before the board knows of what", line.unclosed().with(2, kill|wentBack), flaws{notedFirst: true}, "recorded as merged but not in the lake"},
	{"board told of an older version than it knows", line.unclosed().with(2, rebalance|wentBack), flaws{boardGoesBack: true}, "recorded as merged but not in the lake"},
	{"lineage kept over a restoration", line.unclosed().with(1, restoring), flaws{lineageKept: true}, "recorded as merged but not in the lake"},
	{"restored hour not marked", line.unclosed().with(1, restoring), flaws{restoredUnmarked: true}, "has no mark"},
	{"restoration forgets erasures", known.with(2, restoring|erasure), flaws{restoredUnerased: true}, "came back"},
	{"restoration moves the watermark", lone.quick().with(1, restoring), flaws{restoredSettled: true}, "no rewrite reads"},
	{"restoration tells the board before it marks", lone.quick().with(2, restoring|operatorDie), flaws{restoredToldFirst: true}, "no sweep sees it"},

	// Sweeps.
	{"sweep compares numbers of rows", pair.with(1, loss), flaws{sweptByCount: true}, "no sweep sees it"},
	{"sweep compares presence of lanes", pair.with(1, loss), flaws{sweptByPresence: true}, "no sweep sees it"},
	{"sweep believes the board of another version", line.unclosed().with(1, wentBack), flaws{sweptByBoard: true}, "no sweep sees it"},
	{"sweep passes over old lanes of another version", lone.quick().with(1, wentBack), flaws{sweptBlindly: true}, "no sweep sees it"},
	{"sweep passes over old lanes after a loss of marks", lone.quick().with(1, loss), flaws{sweptInPart: true}, "no sweep sees it"},
	{"sweep tells the board before it marks", lone.quick().with(2, restoring|operatorDie), flaws{sweepToldFirst: true}, "no sweep sees it"},
}
