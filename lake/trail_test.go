package lake

import (
	"os"
	"path/filepath"
	"testing"
)

// What the disk has of a block is compared with what was written, every part of it.
func TestTrailFindsDamage(t *testing.T) {
	const front = "what comes before"
	var b block
	content := []byte(front)
	for i, p := range []*part{&b.Head, &b.Payload, &b.Filter} {
		text := make([]byte, 3+i*checkBuffer) // the last ones are not read at once
		text[len(text)-1] = byte(i)
		p.add(text)
		content = append(content, text...)
	}
	for what, damaged := range map[string]int64{
		"nothing": -1, "head": 0, "payload": b.Head.Size + b.Payload.Size - 1, "filter": b.size() - 1,
	} {
		t.Run(what, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "partition"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(content); err != nil {
				t.Fatal(err)
			}
			if damaged >= 0 {
				if _, err := f.WriteAt([]byte{0xff}, int64(len(front))+damaged); err != nil {
					t.Fatal(err)
				}
			}
			trail := newTrail(f)
			trail.follow(int64(len(front)), 100, []block{b})
			if err := trail.wait(); (err != nil) != (damaged >= 0) {
				t.Errorf("%v", err)
			}
			if found := trail.has(100, &b); found != (damaged < 0) {
				t.Errorf("found as it must be: %t", found)
			}
			other := b
			other.Filter.Sum++
			if trail.has(100, &other) || trail.has(int64(len(front)), &b) {
				t.Error("another block, or in another place, is taken for it")
			}
		})
	}
}
