package lake

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// A partition is sealed: right before its footer stand sealMark, the SHA-256 of
// all that is before the mark, and the SHA-256 of all that is after the seal.
// Readers of Parquet go by offsets and never look there.
//
// Parquet's own checksums cover pages only. One flipped bit elsewhere can make
// parquet-go ask for more memory than there is, which ends the process, and a
// flipped bit of a statistic makes readers pass over rows. So nothing of a
// partition is parsed before the seal has shown that it is as it was written.
const (
	sealMark = "AHseal1\n"
	sealSize = len(sealMark) + 2*sha256.Size
)

const (
	// footerEnd is what every Parquet file ends with: the length of the footer
	// before it, in 4 bytes, and parquetMark.
	footerEnd   = 8
	parquetMark = "PAR1"

	// maxFooter is more than any footer has, in bytes: what a length that is wrong
	// can make us read.
	maxFooter = 256 << 20
)

// sealer writes a Parquet file and seals it.
type sealer struct {
	out  io.Writer
	sum  hash.Hash // of what was passed on to out
	hold bool      // nothing is passed on any more
	held []byte
}

func newSealer(out io.Writer) *sealer { return &sealer{out: out, sum: sha256.New()} }

// Write is for the writer of the Parquet file.
func (s *sealer) Write(p []byte) (int, error) {
	if s.hold {
		s.held = append(s.held, p...)
		return len(p), nil
	}
	s.sum.Write(p)
	return s.out.Write(p)
}

// seal writes what was held back, of which the file's footer is the end, with the
// seal before the footer.
func (s *sealer) seal() error {
	n, err := footerSize(bytes.NewReader(s.held), int64(len(s.held)))
	if err != nil {
		return err
	}
	body, footer := s.held[:len(s.held)-int(n)], s.held[len(s.held)-int(n):]
	s.hold = false
	if _, err := s.Write(body); err != nil {
		return err
	}
	last := sha256.Sum256(footer)
	for _, part := range [][]byte{[]byte(sealMark), s.sum.Sum(nil), last[:], footer} {
		if _, err := s.out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// footerSize returns the size of a file's footer, its length and mark included.
func footerSize(f io.ReaderAt, size int64) (int64, error) {
	var end [footerEnd]byte
	if size < footerEnd {
		return 0, fmt.Errorf("not a readable Parquet file: it has %d bytes", size)
	}
	if err := readAt(f, end[:], size-footerEnd); err != nil {
		return 0, err
	}
	if string(end[4:]) != parquetMark {
		return 0, fmt.Errorf("not a readable Parquet file: it ends with %q", end[4:])
	}
	n := int64(binary.LittleEndian.Uint32(end[:])) + footerEnd
	if n > size || n > maxFooter {
		return 0, fmt.Errorf("not a readable Parquet file: a footer of %d bytes in a file of %d", n, size)
	}
	return n, nil
}

// seal is the seal of a file, whose footer is as it was sealed.
type seal struct {
	at  int64 // where it stands, and how much is before it
	sum []byte
}

// openSeal reads the seal of a file and checks the footer.
func openSeal(f io.ReaderAt, size int64) (s seal, err error) {
	n, err := footerSize(f, size)
	if err != nil {
		return s, err
	}
	if s.at = size - n - int64(sealSize); s.at < 0 {
		return s, errNoSeal
	}
	b := make([]byte, sealSize)
	if err := readAt(f, b, s.at); err != nil {
		return s, err
	}
	sums, sealed := bytes.CutPrefix(b, []byte(sealMark))
	if !sealed {
		return s, errNoSeal
	}
	s.sum = sums[:sha256.Size]
	return s, checkSum(f, size-n, n, sums[sha256.Size:], "the footer")
}

var errNoSeal = errors.New("a Parquet file without a seal: not written by Afterhours, or damaged near its end")

// check compares what is before the seal with it.
func (s seal) check(f io.ReaderAt) error { return checkSum(f, 0, s.at, s.sum, "the data") }

// checkSum compares a part of a file with its SHA-256.
func checkSum(f io.ReaderAt, from, n int64, want []byte, what string) error {
	h := sha256.New()
	got, err := io.Copy(h, io.NewSectionReader(f, from, n))
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", what, err)
	case got != n || !bytes.Equal(h.Sum(nil), want):
		return fmt.Errorf("damaged: %s, bytes %d to %d, does not match the checksum that it was sealed with", what, from, from+n)
	}
	return nil
}

// readAt fills b or fails.
func readAt(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), at, errors.Join(err, io.ErrUnexpectedEOF))
}
