package lake

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A partition is sealed: right before its footer stand sealMark and the SHA-256 of
// the footer, in which a checksum of every block and one of the page index stand.
// Readers of Parquet go by offsets and never look there.
//
// Parquet's own checksums cover pages only. One flipped bit elsewhere can make
// parquet-go ask for more memory than there is, which ends the process, and a
// flipped bit of a statistic makes readers pass over rows. So nothing of a
// partition is parsed before a checksum has shown that it is as it was written.
const (
	sealMark = "AHseal1\n"
	sealSize = len(sealMark) + sha256.Size
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

// appendSeal appends the seal of a footer.
func appendSeal(dst, footer []byte) []byte {
	sum := sha256.Sum256(footer)
	return append(append(dst, sealMark...), sum[:]...)
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

// openSeal returns where the seal of a file stands, and the footer with what
// follows it, which is as it was sealed.
func openSeal(f io.ReaderAt, size int64) (at int64, footer []byte, err error) {
	n, err := footerSize(f, size)
	if err != nil {
		return 0, nil, err
	}
	if at = size - n - int64(sealSize); at < 0 {
		return 0, nil, errNoSeal
	}
	b := make([]byte, int64(sealSize)+n)
	if err := readAt(f, b, at); err != nil {
		return 0, nil, err
	}
	sum, sealed := bytes.CutPrefix(b[:sealSize], []byte(sealMark))
	if !sealed {
		return 0, nil, errNoSeal
	}
	footer = b[sealSize:]
	if want := sha256.Sum256(footer); !bytes.Equal(sum, want[:]) {
		return 0, nil, errors.New("damaged: the footer does not match the checksum that it was sealed with")
	}
	return at, footer, nil
}

var errNoSeal = errors.New("a Parquet file without a seal: not written by Afterhours, or damaged near its end")

// readAt fills b or fails.
func readAt(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), at, errors.Join(err, io.ErrUnexpectedEOF))
}
