package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mutationsFlag = flag.Bool("mutations", false, "TestMutations breaks the real code in every way it knows")
	mutationFlag  = flag.String("mutation", "", "the mutations that are tried, as a regular expression")
	budgetFlag    = flag.Int("budget", 120, "seconds that are tried for each mutation")
)

// edit replaces a text that is there once by another.
type edit struct{ file, old, new string }

// mutation takes a mechanism out of the real code.
type mutation struct {
	name  string
	edits []edit
}

var mutations = []mutation{
	{"acknowledge before the mark", []edit{
		{"ingest/marker.go", "	hours := slices.Collect(maps.Keys(riders))\n", "	hours := slices.Collect(maps.Keys(riders))\n	for _, batches := range riders {\n		for _, b := range batches {\n			m.w.acknowledge(b)\n		}\n	}\n"},
		{"ingest/marker.go", "	m.w.counts.marked(m.w.seed, hours)\n", "	m.w.counts.marked(m.w.seed, hours)\n	riders = nil\n"},
	}},
	{"acknowledge before the index row", []edit{
		{"ingest/worker.go", "	if l.indexed == 0 || l.indexing {\n		return\n	}\n", ""},
		{"ingest/worker.go", "case l.stale(b.acked):", "case false:"},
	}},
	{"rows ride on a mark in flight", []edit{
		{"ingest/marker.go", "	m.w.counts.marked(m.w.seed, hours)\n", "	m.w.counts.marked(m.w.seed, hours)\n	m.mu.Lock()\n	for h := range riders {\n		riders[h] = append(riders[h], m.pending[h]...)\n		delete(m.pending, h)\n	}\n	m.mu.Unlock()\n"},
	}},
	{"a segment is named again after a restart", []edit{
		{"ingest/lane.go", "	s := afterhours.NewSegment()\n", "	s := afterhours.Segment{1}\n"},
	}},
	{"done before the publish", []edit{
		{"compact/run.go", "	v.running++\n", "	v.running++\n	for _, m := range w.marks {\n		v.marks.Done(m)\n	}\n"},
	}},
	{"the index is read before the base", []edit{
		{"compact/rewrite.go", "	base, err := c.base(ctx, h, m)\n", "	lanes, err := c.store.Lanes(ctx, h)\n	if err != nil {\n		return Outcome{}, err\n	}\n	base, err := c.base(ctx, h, m)\n"},
		{"compact/rewrite.go", "class: of, known: known, base: base}\n	out, err := r.run(ctx)\n", "class: of, known: known, base: base, lanes: lanes}\n	out, err := r.run(ctx)\n"},
		{"compact/rewrite.go", "	g.Go(func() (err error) { r.lanes, err = r.store.Lanes(ctx, r.hour); return err })\n", ""},
	}},
	{"an upload without a condition", []edit{
		{"lake/publish.go", "	version, err := r.lake.objects.put(", "	if now, err := r.lake.objects.stat(ctx, keyOf(r.base.Hour)); err == nil {\n		r.base.object = now\n	}\n	version, err := r.lake.objects.put("},
	}},
	{"the version is taken after the content", []edit{
		{"lake/base.go", "	b.object = o\n", "	if now, err := l.objects.stat(ctx, keyOf(h)); err == nil && now != nil {\n		o.version = now.version\n	}\n	b.object = o\n"},
	}},
	{"a conflict is answered by the same upload again", []edit{
		{"lake/publish.go", "	version, err := r.lake.objects.put(ctx, keyOf(r.base.Hour), d, r.base.object)\n", "	version, err := r.lake.objects.put(ctx, keyOf(r.base.Hour), d, r.base.object)\n	if err != nil {\n		g, _ := r.lake.objects.create()\n		src, _ := os.Open(fmt.Sprintf(\"/proc/self/fd/%d\", f.Fd()))\n		_, _ = io.Copy(g, src)\n		_ = src.Close()\n		r.files = append(r.files, g)\n		var now *object\n		if now, err = r.lake.objects.stat(ctx, keyOf(r.base.Hour)); err == nil {\n			d.file = g\n			version, err = r.lake.objects.put(ctx, keyOf(r.base.Hour), d, now)\n		}\n	}\n"},
		{"lake/publish.go", "	\"fmt\"\n", "	\"fmt\"\n	\"io\"\n	\"os\"\n"},
	}},
	{"only rows beyond the largest number are read", []edit{
		{"compact/read.go", "				if r.have.Has(row.ID) {\n", "				if rs := r.have[row.ID.Segment]; len(rs) > 0 && row.ID.Seq <= rs[len(rs)-1].Last {\n"},
	}},
	{"a lane is closed before its last row is acknowledged", []edit{
		{"ingest/lane.go", "return l.retired && !l.holed && !l.busy()", "return l.retired && !l.holed"},
	}},
	{"a mark of an hour being rewritten is served with it", []edit{
		{"compact/schedule.go", "	if busy {\n		in = s.next\n	}\n", "	if busy {\n		s.busy[m.Hour].marks[m.Partition] = m\n		return\n	}\n"},
	}},
	{"the floor is the highest mark", []edit{
		{"dirty/ledger.go", "		return first.Value.(*Mark).Offset\n", "		_ = first\n"},
	}},
	{"the floor goes by an hour's first mark", []edit{
		{"dirty/ledger.go", "		*e.Value.(*Mark) = m\n		l.order.MoveToBack(e)\n", "		_ = e\n"},
	}},
	{"ingest acknowledges rows of a settled lane", []edit{
		{"ingest/worker.go", "		case l.settled(now):\n			k.again(b)\n", ""},
	}},
	{"the compactor takes lanes for settled too early", []edit{
		{"store/times.go", "SettledAfter afterhours.Day = 2", "SettledAfter afterhours.Day = -1"},
	}},
	{"notes hold over a lineage", []edit{
		{"compact/rewrite.go", "notes, err = r.store.Notes(ctx, r.hour, m.Lineage)", "_ = m; notes, err = r.store.Notes(ctx, r.hour, \"all\")"},
		{"compact/rewrite.go", "r.store.PutNotes(ctx, r.hour, r.base.Manifest.Lineage, notes)", "r.store.PutNotes(ctx, r.hour, \"all\", notes)"},
		{"compact/rewrite.go", "&& r.mode != restore && !r.wentBack() {", "&& r.mode != restore {"},
		{"lake/rewrite.go", "if r.inherited() == nil || r.opt.NewLineage {", "if r.inherited() == nil {"},
	}},
	{"rows are noted that change the partition", []edit{
		{"lake/publish.go", "m.idle != r.Added()", "m.duplicates != r.Added()"},
	}},
	{"segments are pruned although their lane is listed", []edit{
		{"compact/rewrite.go", "return !r.listed[name] && o.Day.End()+ttl <= r.now()", "_ = name\n	return o.Day.End()+ttl <= r.now()"},
	}},
	{"an object that went back is taken for the newest", []edit{
		{"compact/rewrite.go", "return r.base.Manifest != nil && r.base.Manifest.Generation < r.known.Generation", "return false"},
	}},
	{"a vanished object is made anew", []edit{
		{"compact/rewrite.go", "if r.base.Manifest == nil && r.known.Generation > 0 && r.mode != discard {", "if false {"},
	}},
	{"a merge that loses a row is not verified", []edit{
		{"lake/merge.go", "	if blocks.Rows != want {\n", "	if blocks.Rows > want {\n"},
		{"lake/merge.go", "	if m.written != m.undone", "	if false && m.written != m.undone"},
		{"lake/build.go", "	l := b.m.layout\n", "	if len(rows) > 1 {\n		rows = rows[1:]\n		b.m.mu.Lock()\n		b.m.duplicates++\n		b.m.mu.Unlock()\n	}\n	l := b.m.layout\n"},
	}},
	{"of two copies the one that came first survives", []edit{
		{"dedup.go", "	if c > 0 {\n		win = b\n	}\n", "	_ = c\n"},
	}},
	{"conflicts are forgotten", []edit{
		{"dedup.go", "a.Conflict || b.Conflict || !bytes.Equal(a.Payload, b.Payload)", "!bytes.Equal(a.Payload, b.Payload)"},
	}},
	{"ingest drops what it has in hand when it is told to stop", []edit{
		{"ingest/run.go", "outlive(ctx, w.o.ShutdownGrace)", "outlive(ctx, 0)"},
	}},
	{"the compactor drops rewrites when it is told to stop", []edit{
		{"compact/run.go", "context.WithCancel(context.WithoutCancel(ctx))", "context.WithCancel(ctx)"},
	}},
	{"the feed is not told when nothing is new", []edit{
		{"compact/rewrite.go", "	return out, r.tell(ctx, r.known, notice{m, r.base.Version(), r.base.Size(), r.base.ManifestSize(), r.have})\n", "	return out, nil\n"},
	}},
	{"a sweep trusts lanes that are not closed", []edit{
		{"compact/sweep.go", "own && l.Closed && done {", "own && done {"},
	}},
	{"a sweep trusts the number of rows", []edit{
		{"compact/sweep.go", "		if found || complete(l, have) {\n", "		if found || have.Count() >= l.Rows {\n"},
	}},
	{"deferred marks are not made again", []edit{
		{"compact/run.go", "	go func() { done <- v.marks.Defer(ctx, marks...) }()\n", "	for _, m := range marks {\n		v.marks.Done(m)\n	}\n	go func() { done <- nil }()\n"},
	}},
	{"an hour that is not worth a rewrite yet is done", []edit{
		{"compact/run.go", "		v.schedule.notYet(f.w, v.cfg.Now(), wait.Until)\n", "		for _, m := range f.w.marks {\n			v.marks.Done(m)\n		}\n		v.schedule.served(f.w)\n"},
	}},
	{"a failed rewrite is done", []edit{
		{"compact/run.go", "	if f.out.Err != nil {\n		v.failed(ctx, f)\n		return\n	}\n", "	if f.out.Err != nil && v.schedule.now {\n		v.failed(ctx, f)\n		return\n	}\n"},
	}},
	{"a daemon that stops spins while a rewrite is under way", []edit{
		{"compact/run.go", "any && !stopping && v.running", "any && v.running"},
	}},
}

var violation = regexp.MustCompile(`(?m)^seed (\d+): (.*)$|^panic: (seed \d+ hangs)$`)
var counted = regexp.MustCompile(`(?m)^schedules (\d+),`)

// TestMutations breaks the real code, one mechanism at a time, and demands that
// the simulation finds it out.
func TestMutations(t *testing.T) {
	if !*mutationsFlag {
		for _, m := range mutations {
			overlay(t, m) // every text to replace must still be there
		}
		return
	}
	only := regexp.MustCompile(*mutationFlag)
	for _, m := range mutations {
		if !only.MatchString(m.name) {
			continue
		}
		binary := filepath.Join(t.TempDir(), "sim.test")
		build := exec.Command("go", "test", "-c", "-o", binary, "-overlay", overlay(t, m), ".")
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", m.name, err, out)
			continue
		}
		run := exec.Command(binary, "-test.run", "^TestSim$", "-stop", "-seconds", fmt.Sprint(*budgetFlag))
		out, _ := run.CombinedOutput()
		found, n := violation.FindStringSubmatch(string(out)), counted.FindStringSubmatch(string(out))
		if found == nil {
			t.Errorf("NOT FOUND  %s (%v)", m.name, n)
			continue
		}
		if n == nil {
			n = []string{"", "?"}
		}
		fmt.Printf("found after %6s schedules: %s\n             seed %s: %s%s\n", n[1], m.name, found[1], found[2], found[3])
	}
}

// overlay writes the mutated files and returns what tells go to use them.
func overlay(t *testing.T, m mutation) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, text, replace := t.TempDir(), map[string]string{}, map[string]string{}
	for _, e := range m.edits {
		if text[e.file] == "" {
			b, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			text[e.file] = string(b)
		}
		if n := strings.Count(text[e.file], e.old); n != 1 {
			t.Errorf("%s: %s has %q %d times, want once", m.name, e.file, e.old, n)
		}
		text[e.file] = strings.Replace(text[e.file], e.old, e.new, 1)
	}
	for file, s := range text {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(to, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
