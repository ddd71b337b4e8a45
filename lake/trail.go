package lake

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
)

// trail follows the writing of blocks. They are read back and checked, and on their way
// to the disk, while more is being made or copied: after the last one little is left to
// do. Methods are for one goroutine.
type trail struct {
	file *os.File
	work errgroup.Group

	mu      sync.Mutex
	checked map[int64]block // that are as they must be, by where they begin in the partition
}

func newTrail(file *os.File) *trail {
	t := &trail{file: file, checked: map[int64]block{}}
	t.work.SetLimit(processors)
	return t
}

// follow checks blocks that stand side by side, from an offset in the file and another
// in the partition. It waits for earlier ones if these are many.
func (t *trail) follow(from, at int64, blocks []block) {
	t.work.Go(func() error {
		size := int64(0)
		for i := range blocks {
			size += blocks[i].size()
		}
		if size >= writtenOut {
			writeOut(t.file, from, size)
		}
		buf := make([]byte, min(checkBuffer, size))
		for _, b := range blocks {
			if err := b.check(t.file, from, buf); err != nil {
				return err
			}
			t.mu.Lock()
			t.checked[at] = b
			t.mu.Unlock()
			from, at = from+b.size(), at+b.size()
		}
		return nil
	})
}

// wait waits for all that is being checked.
func (t *trail) wait() error { return t.work.Wait() }

// has reports whether a block was found to be as it must be. All must have been waited
// for.
func (t *trail) has(at int64, b *block) bool {
	c, ok := t.checked[at]
	return ok && b.sameBytes(&c)
}

const (
	// checkBuffer is how much is checked at once: what a processor's own cache holds.
	checkBuffer = 256 << 10

	// writtenOut is what the disk begins to write before the sync. Less may lie on a
	// page with what comes next, which would be written twice.
	writtenOut = 1 << 20
)

// check makes sure that a block is as it was written. It reads into the buffer.
func (b *block) check(r io.ReaderAt, at int64, buf []byte) error {
	for _, p := range []part{b.Head, b.Payload, b.Filter} {
		var got part
		for got.Size < p.Size {
			next := buf[:min(int64(len(buf)), p.Size-got.Size)]
			if err := readAt(r, next, at+got.Size); err != nil {
				return err
			}
			got.add(next)
		}
		if got != p {
			return p.damaged(at)
		}
		at += p.Size
	}
	return nil
}
