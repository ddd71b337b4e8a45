package lake

import (
	"bufio"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/minio/crc64nvme"
)

// Sizes of the parts of an upload, in bytes. Stores of S3's kind take parts of
// minPart to 5 GiB, of which the last one may be smaller, and up to 10,000.
const (
	minPart  = 5 << 20
	sentPart = 8 << 20 // what is sent; such parts get up to twice as large
	copyPart = 128 << 20

	// copyWorth is what the store must be able to copy before it is asked to:
	// less is sent again.
	copyWorth = 8 << 20
)

// streamBuffer is how much of a draft is read at once if it is sent as a whole.
const streamBuffer = 8 << 20

// draft is a partition on its way to be published: pieces of a file and, of a base
// in a bucket, stretches that nobody has fetched.
type draft struct {
	file   *os.File
	base   *remote // nil if the file has all
	pieces []piece // in order, without gaps
	size   int64

	verified *partition // what it was verified as
	sum      checksum   // of all; set by who sends it
}

// piece is a stretch of a draft.
type piece struct {
	at, size int64
	from     int64 // where it begins in the file, or in the base
	base     bool
}

func (p piece) end() int64 { return p.at + p.size }

// newDraft returns the draft of a partition that was written to a file.
func newDraft(file *os.File, f *partitionFile) *draft {
	return &draft{file: file, base: f.remote, pieces: f.pieces, size: f.at}
}

// piece returns the index of the piece that has an offset.
func (d *draft) piece(off int64) int {
	i, _ := slices.BinarySearchFunc(d.pieces, off, func(p piece, off int64) int {
		if p.end() <= off {
			return -1
		}
		return 1
	})
	return i
}

// ReadAt fetches what the file does not have.
func (d *draft) ReadAt(b []byte, off int64) (n int, err error) {
	for i := d.piece(off); n < len(b); i++ {
		if i == len(d.pieces) {
			return n, io.EOF
		}
		p := d.pieces[i]
		in := off + int64(n) - p.at
		part := b[n:][:min(int64(len(b)-n), p.size-in)]
		var from io.ReaderAt = d.file
		if p.base {
			from = d.base
		}
		if err := readAt(from, part, p.from+in); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// stream reads all of the draft, of the base a good deal at once. It fails at its end
// if that is not what was verified.
func (d *draft) stream() io.Reader {
	var in io.Reader = io.NewSectionReader(d, 0, d.size)
	if d.base != nil {
		in = bufio.NewReaderSize(in, streamBuffer)
	}
	return &summed{in: in, want: d.sum}
}

// errOtherBytes says that what was sent or copied does not match the draft's checksum.
var errOtherBytes = errors.New("other bytes were to be published than were verified")

// summed is a stream of bytes with a checksum.
type summed struct {
	in        io.Reader
	want, got checksum
}

// Read returns errOtherBytes instead of io.EOF if the checksum is another.
func (s *summed) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	s.got = checksum(crc64nvme.Update(uint64(s.got), p[:n]))
	if err == io.EOF && s.got != s.want {
		err = errOtherBytes
	}
	return n, err
}

// leaves reports whether block i of the draft, opened as p, is left to the store to
// copy: if it is where the base has one of which every byte is the same.
func (d *draft) leaves(p *partition, i int, base *partition) bool {
	b, at := &p.table.Blocks[i], p.starts[i]
	in := d.pieces[d.piece(at)]
	if !in.base || at+b.size() > in.end() {
		return false
	}
	j, found := slices.BinarySearch(base.starts, in.from+at-in.at)
	if !found || j == len(base.table.Blocks) {
		return false
	}
	return b.sameBytes(&base.table.Blocks[j])
}

// parts divides the draft into the parts of an upload in which the store copies
// those of the base, and nil if that is not worth it. What is sent between two of
// them takes as much of what follows as it needs to be a part.
func (d *draft) parts() (parts []piece) {
	var at, copied int64
	for _, run := range d.runs() {
		start := run.at
		if start > at {
			start = max(start, at+minPart)
		}
		if run.end()-start < minPart {
			continue
		}
		parts = divideParts(parts, piece{at: at, size: start - at}, sentPart)
		parts = divideParts(parts, piece{at: start, size: run.end() - start, from: run.from + start - run.at, base: true}, copyPart)
		copied += run.end() - start
		at = run.end()
	}
	if copied < copyWorth {
		return nil
	}
	return divideParts(parts, piece{at: at, size: d.size - at}, sentPart)
}

// runs returns the pieces of the base. The mark that every partition begins with is
// the base's too.
func (d *draft) runs() (runs []piece) {
	for _, p := range d.pieces {
		if !p.base {
			continue
		}
		if mark := int64(len(parquetMark)); p.at == mark && p.from == mark {
			p.at, p.from, p.size = 0, 0, p.size+mark
		}
		runs = append(runs, p)
	}
	return runs
}

// divideParts appends a stretch in equal parts of at least the given size.
func divideParts(parts []piece, p piece, size int64) []piece {
	for n := max(1, p.size/size); p.size > 0; n-- {
		part := p
		part.size = p.size / n
		parts = append(parts, part)
		p.at, p.from, p.size = p.at+part.size, p.from+part.size, p.size-part.size
	}
	return parts
}
