package kafka

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/internal/testenv"
)

var (
	tortureTime = flag.Duration("torture", 10*time.Second, "how long the queue is tortured")
	tortureSeed = flag.Uint64("torture.seed", 0, "what happens in the torture; 0: something new")
)

// codecs are the compressions that other producers may use.
var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// Whatever happens to a topic, the last mark of every hour is handed out, and
// again until it is done; or if it is gone, the group is told of a gap. Members
// come, go and crash; other producers write marks in every compression,
// tombstones and nonsense; the cleaner is at work; marks are deleted, partitions
// added, offsets set to nonsense, and the topic is deleted and made again. What is
// left to chance goes by a seed.
func TestTorture(t *testing.T) {
	t.Parallel()
	r := newTorture(t)
	// Each of the rare things happens, in any order, and more often by chance.
	rare := r.rng.Perm(len(r.rare()))
	for begun, n := time.Now(), 0; time.Since(begun) < *tortureTime; r.step++ {
		if n < len(rare) && time.Since(begun) > time.Duration(n+1)**tortureTime/time.Duration(len(rare)+1) {
			r.do(r.rare()[rare[n]])
			n++
			continue
		}
		r.act()
	}
	r.finish()
	t.Logf("%d steps: %v; %d marks handed out, %d done, %d gaps told, %d marks gone",
		r.step, r.acts, len(r.handed), len(r.done), r.gapsTold, len(r.gone))
}

// place is where a mark lies. The topic is counted anew each time it is made.
type place struct {
	topic     int
	partition int32
	offset    int64
}

// slot is what log compaction keeps one mark of.
type slot struct {
	partition int32
	hour      afterhours.Hour
}

// loss is a last mark that was deleted.
type loss struct {
	place
	step int
}

type torture struct {
	*testing.T
	rng   *rand.Rand
	step  int
	acts  map[string]int
	topic string
	made  int // how often the topic was made

	q          *Queue
	foreign    map[string]*kgo.Client // by codec
	members    []*Consumer
	partitions int32

	mu   sync.Mutex
	last map[slot]int64 // the last mark of each, as far as it is known to be there

	handed   map[place]bool
	done     map[place]bool
	gaps     map[int32]int // when a gap was last told, by partition
	gapsTold int
	audits   int
	gone     map[afterhours.Hour]loss // by hours that were not marked again
}

func newTorture(t *testing.T) *torture {
	seed := *tortureSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-torture.seed %d", seed)
	r := &torture{
		T: t, rng: rand.New(rand.NewPCG(seed, 0)), acts: map[string]int{}, topic: testenv.Topic(t, "torture"),
		handed: map[place]bool{}, done: map[place]bool{}, gaps: map[int32]int{}, gone: map[afterhours.Hour]loss{},
	}
	r.make()
	t.Cleanup(func() {
		for _, c := range r.members {
			c.client.CloseAllowingRebalance()
			c.stop()
		}
	})
	return r
}

// make makes the topic, with producers and a queue that know it.
func (r *torture) make() {
	r.made++
	r.partitions, r.last = 1+r.rng.Int32N(3), map[slot]int64{}
	create(r.T, r.topic, r.partitions, restless...)
	r.q, _ = open(r.T, r.topic, "")
	r.q.stallAfter = patience
	made := r.made
	r.q.writer.Completion = func(ms []kafkago.Message, err error) {
		for _, m := range ms {
			if err == nil {
				r.wrote(made, string(m.Key), int32(m.Partition), m.Offset)
			}
		}
	}
	r.foreign = map[string]*kgo.Client{}
	for name, codec := range codecs {
		r.foreign[name] = producer(r.T, r.topic, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond),
			kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.RecordDeliveryTimeout(patience))
	}
}

// wrote records where a mark was written.
func (r *torture) wrote(made int, key string, partition int32, offset int64) {
	h, err := afterhours.ParseHour(key)
	if err != nil || made != r.made {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := slot{partition, h}
	r.last[s] = max(r.last[s], offset)
	delete(r.gone, h)
}

// action is something that may happen.
type action struct {
	name   string
	weight int
	do     func()
}

func (r *torture) usual() []action {
	return []action{
		{"mark", 20, r.mark}, {"foreign marks", 15, r.foreignMarks}, {"tombstone", 3, r.tombstone}, {"nonsense", 3, r.nonsense},
		{"poll", 40, r.poll}, {"join", 8, r.join}, {"leave", 3, r.leave}, {"crash", 3, r.crash}, {"let it be cleaned", 6, r.rest},
	}
}

func (r *torture) rare() []action {
	return []action{
		{"delete marks", 1, r.deleteMarks}, {"add a partition", 1, r.addPartition}, {"set offsets", 1, r.setOffsets},
		{"make the topic again", 1, r.makeAgain},
	}
}

// act does one thing.
func (r *torture) act() {
	all := append(r.usual(), r.rare()...)
	sum := 0
	for _, a := range all {
		sum += a.weight
	}
	n := r.rng.IntN(sum)
	for _, a := range all {
		if n -= a.weight; n < 0 {
			r.do(a)
			return
		}
	}
}

func (r *torture) do(a action) {
	r.acts[a.name]++
	a.do()
}

// hours are some of those that are tortured, of which few are marked often.
func (r *torture) hours(most int) []afterhours.Hour {
	hs := make([]afterhours.Hour, 1+r.rng.IntN(most))
	for i := range hs {
		hs[i] = hour(int(300 * r.rng.Float64() * r.rng.Float64() * r.rng.Float64()))
	}
	return hs
}

func (r *torture) mark() { mark(r.T, r.q, r.hours(30)...) }

// foreignMarks writes a burst as one batch or a few.
func (r *torture) foreignMarks() {
	name := slices.Sorted(maps.Keys(codecs))[r.rng.IntN(len(codecs))]
	var rs []*kgo.Record
	for _, h := range r.hours(200) {
		value := fmt.Appendf(nil, `{"since":%q,"by":"%x"}`, "nonsense", r.rng.Uint64())
		if r.rng.IntN(20) == 0 {
			value = []byte(strings.Repeat("x", r.rng.IntN(4000)))
		}
		rs = append(rs, kgo.KeySliceRecord([]byte(h.String()), value))
	}
	r.produce(r.foreign[name], rs...)
}

func (r *torture) produce(c *kgo.Client, rs ...*kgo.Record) {
	for _, p := range c.ProduceSync(r.Context(), rs...) {
		if p.Err != nil {
			r.Fatal(p.Err)
		}
		r.wrote(r.made, string(p.Record.Key), p.Record.Partition, p.Record.Offset)
	}
}

// tombstone takes a mark away: nobody is owed it any more.
func (r *torture) tombstone() {
	h := r.hours(1)[0]
	got := r.foreign["none"].ProduceSync(r.Context(), &kgo.Record{Key: []byte(h.String())})
	if err := got.FirstErr(); err != nil {
		r.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, slot{got[0].Record.Partition, h})
}

// nonsense writes keys that are no hours. The broker refuses records without a key,
// unless it has just been told that the topic is log-compacted.
func (r *torture) nonsense() {
	r.produce(r.foreign["zstd"], kgo.KeySliceRecord([]byte{}, nil), kgo.KeyStringRecord("purchase/yesterday", "{}"))
	err := r.foreign["lz4"].ProduceSync(r.Context(), kgo.StringRecord("no key")).FirstErr()
	if err != nil && !errors.Is(err, kerr.InvalidRecord) {
		r.Fatal(err)
	}
}

// rest gives the cleaner time; what is written next is another segment.
func (r *torture) rest() { <-time.After(time.Duration(100+r.rng.IntN(400)) * time.Millisecond) }

func (r *torture) join() {
	if len(r.members) < 3 {
		r.members = append(r.members, join(r.T, r.q, "g", false))
	}
}

// pick takes a member out, nil if there is none.
func (r *torture) pick() *Consumer {
	if len(r.members) == 0 {
		return nil
	}
	i := r.rng.IntN(len(r.members))
	c := r.members[i]
	r.members = slices.Delete(r.members, i, i+1)
	return c
}

func (r *torture) leave() {
	if c := r.pick(); c != nil {
		closeOf(r.T, c)
	}
}

// crash ends a member that commits nothing more.
func (r *torture) crash() {
	if c := r.pick(); c != nil {
		c.stop()
		<-c.ended
		c.mu.Lock()
		clear(c.assigned)
		c.mu.Unlock()
		c.client.CloseAllowingRebalance()
	}
}

// poll has every member look for marks, and serve or defer some.
func (r *torture) poll() {
	for _, c := range r.members {
		c.client.ForceMetadataRefresh()
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(20+r.rng.IntN(300))*time.Millisecond)
		p, err := c.Poll(ctx)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			r.Fatalf("step %d: poll: %v", r.step, err)
		}
		r.took(c, p)
	}
}

// took records what a member was handed, and serves some of it.
func (r *torture) took(c *Consumer, p dirty.Polled) {
	for _, id := range p.Gaps {
		r.gaps[id] = r.step
		r.gapsTold++
	}
	var again []dirty.Mark
	for _, m := range p.Marks {
		at := place{r.made, m.Partition, m.Offset}
		r.handed[at] = true
		switch n := r.rng.IntN(10); {
		case n < 6:
			r.done[at] = true
			c.Done(m)
		case n == 6:
			again = append(again, m)
		}
	}
	if len(again) > 0 {
		deferAll(r.T, c, again...)
		for _, m := range again {
			r.done[place{r.made, m.Partition, m.Offset}] = true
		}
	}
}

// deleteMarks deletes the first marks of a partition.
func (r *torture) deleteMarks() {
	id := r.rng.Int32N(r.partitions)
	logs, err := r.q.bounds(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	log := logs[id]
	below := log.start + r.rng.Int64N(log.end-log.start+1)
	deleteRecords(r.T, r.topic, id, below)
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, offset := range r.last {
		if s.partition == id && offset < below {
			r.gone[s.hour] = loss{place{r.made, id, offset}, r.step}
			delete(r.last, s)
		}
	}
}

func (r *torture) addPartition() {
	if r.partitions >= 5 {
		return
	}
	r.partitions++
	widen(r.T, r.q, int(r.partitions))
}

// setOffsets commits offsets beyond the ends of the logs, as somebody may who
// mirrors a cluster. A group that has members refuses that.
func (r *torture) setOffsets() {
	for len(r.members) > 0 {
		r.leave()
	}
	os := kadm.Offsets{}
	for id := range r.partitions {
		os.AddOffset(r.topic, id, 1_000_000, -1)
	}
	if err := r.q.admin.CommitAllOffsets(r.Context(), named(r.q, "g"), os); err != nil {
		r.Fatal(err)
	}
}

// makeAgain deletes the topic, at most twice, with members that live on or after an
// audit. Each member must tell when it comes to the new topic, and end.
func (r *torture) makeAgain() {
	if r.made > 2 {
		return
	}
	if r.rng.IntN(2) == 0 {
		r.audit()
	}
	for s, offset := range r.last {
		r.gone[s.hour] = loss{place{r.made, 0, offset}, r.step} // the new topic has a partition 0
	}
	deleteTopic(r.T, r.topic)
	members := r.members
	r.members = nil
	r.make()
	r.mark()
	r.awaitEnds(members)
}

// awaitEnds polls members whose topic is gone. They say done to what they were handed
// before, and commit, all of which must mean nothing.
func (r *torture) awaitEnds(members []*Consumer) {
	for end := time.Now().Add(patience); len(members) > 0; {
		members = slices.DeleteFunc(members, r.ended)
		if time.Now().After(end) {
			r.Errorf("step %d: %d consumers of a topic that is gone do not tell", r.step, len(members))
			return
		}
	}
}

// ended polls a member once and reports whether it told that its topic is gone. One
// that has no partition of it tells when it gets one.
func (r *torture) ended(c *Consumer) bool {
	ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
	defer cancel()
	p, err := c.Poll(ctx)
	for _, m := range p.Marks {
		c.Done(m)
	}
	if !errors.Is(err, kerr.UnknownTopicID) {
		if err != nil && ctx.Err() == nil {
			r.Errorf("step %d: a consumer of a topic that is gone: %v", r.step, err)
		}
		return false
	}
	if err := c.Close(); err != nil {
		r.Logf("step %d: close: %v", r.step, err)
	}
	return true
}

// finish tears the log once more, in a way that is known, and has a last look.
func (r *torture) finish() {
	r.tear()
	r.step++
	r.audit()
	for h, l := range r.gone {
		if told, ok := r.gaps[l.partition]; !r.done[l.place] && (!ok || told < l.step) {
			r.Errorf("%s at %+v was deleted in step %d, the last gap of its partition was told in step %d", h, l.place, l.step, told)
		}
	}
}

// audit reads all there is, as the group and as one that is new, and looks whether
// they are handed what they are owed.
func (r *torture) audit() {
	for len(r.members) > 0 {
		r.leave()
	}
	r.audits++
	fresh := r.drain(fmt.Sprint("new", r.audits))
	group := r.drain("g")
	for s, offset := range r.last {
		at := place{r.made, s.partition, offset}
		if !fresh[at] {
			r.Errorf("step %d: %s at %+v was not handed to a new group", r.step, s.hour, at)
		}
		if !r.handed[at] && !group[at] {
			r.Errorf("step %d: %s at %+v was never handed out", r.step, s.hour, at)
		}
		if !r.done[at] && !group[at] {
			r.Errorf("step %d: %s at %+v is not done and did not come again", r.step, s.hour, at)
		}
	}
	maps.Copy(r.handed, group)
}

// drain returns what a drain of a group is handed.
func (r *torture) drain(group string) map[place]bool {
	got := map[place]bool{}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	c := join(r.T, r.q, group, true)
	defer closeOf(r.T, c)
	for {
		p, err := c.Poll(ctx)
		if err != nil {
			if ctx.Err() != nil {
				r.Fatalf("the drain of group %s does not end: %v", group, err)
			}
			return got
		}
		for _, m := range p.Marks {
			got[place{r.made, m.Partition, m.Offset}] = true
		}
		if group == "g" {
			for _, id := range p.Gaps {
				r.gaps[id] = r.step
			}
		}
	}
}

// tear has the cleaner tear batches of every compression, and waits until it did:
// a torture without is none.
func (r *torture) tear() {
	names := slices.Sorted(maps.Keys(codecs))
	for n, name := range names { // a batch that will lose its tail, in the partition of hour 2000
		var rs []*kgo.Record
		for i := range 40 {
			rs = append(rs, kgo.KeyStringRecord(hour(1000+40*n+i).String(), "{}"))
		}
		r.produce(r.foreign[name], append(rs, kgo.KeyStringRecord(hour(2000).String(), "{}"))...)
	}
	for _, name := range names { // the last of each producer, which will be empty
		r.produce(r.foreign[name], kgo.KeyStringRecord(hour(2000).String(), "{}"))
	}
	r.roll()
	r.produce(r.foreign["none"], kgo.KeyStringRecord(hour(2000).String(), "{}"))
	r.roll()
	var seen batches
	defer func() { r.Logf("torn: %+v", seen) }()
	eventually(r.T, "the cleaner has torn batches of every compression", func() bool {
		seen = batches{tails: map[string]int{}}
		for id := range r.partitions {
			seen.read(r.T, r.q, id)
		}
		return len(seen.tails) == len(codecs) && seen.adjacent > 0
	})
}

// roll has what is written next to any partition lie in another segment: the last
// one is never cleaned.
func (r *torture) roll() {
	<-time.After(200 * time.Millisecond) // segment.ms
	var hs []afterhours.Hour
	for n := range 200 {
		hs = append(hs, hour(3000+n))
	}
	mark(r.T, r.q, hs...)
}
