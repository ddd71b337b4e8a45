package ingest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/afterhours/afterhours"
)

// readBuffer is how much is read at once, and more than any magic number has.
const readBuffer = 256 << 10

// maxWindow bounds the memory that reading zstd takes; zstd --long needs 128 MiB.
const maxWindow = 128 << 20

// The first bytes that tell compressed input apart, and what may stand before
// the first line of text.
var (
	gzipMagic     = []byte{0x1f, 0x8b}
	zstdMagic     = []byte{0x28, 0xb5, 0x2f, 0xfd}
	byteOrderMark = []byte{0xef, 0xbb, 0xbf}
)

// lines reads lines from a file of unknown compression.
type lines struct {
	in    *bufio.Reader
	close func()
	n     int64 // lines read
}

// newLines looks at the first bytes of r: the name of a file says nothing.
func newLines(r io.Reader) (*lines, error) {
	in := bufio.NewReaderSize(r, readBuffer)
	plain, closer, err := decompress(in)
	if err != nil {
		return nil, err
	}
	if plain != io.Reader(in) {
		in = bufio.NewReaderSize(plain, readBuffer)
	}
	l := &lines{in: in, close: closer}
	if err := l.skip(byteOrderMark); err != nil {
		closer()
		return nil, err
	}
	return l, nil
}

func decompress(in *bufio.Reader) (io.Reader, func(), error) {
	head, err := in.Peek(len(zstdMagic))
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(in)
		return z, func() {}, err
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

func (l *lines) skip(prefix []byte) error {
	head, err := l.in.Peek(len(prefix))
	if bytes.Equal(head, prefix) {
		_, err = l.in.Discard(len(prefix))
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// next returns the next line that is not blank, without its end, and a Cut if it
// is longer than a payload may be. The line belongs to the caller. io.EOF comes
// alone: a last line needs no line end. After another error the line that was
// being read is lost, since nobody knows how it goes on.
func (l *lines) next() ([]byte, *Cut, error) {
	for {
		line, cut, err := l.line()
		if err != nil {
			return nil, nil, err
		}
		l.n++
		if cut != nil || len(bytes.TrimSpace(line)) > 0 {
			return line, cut, nil
		}
	}
}

// line reads one line, blank ones too.
func (l *lines) line() ([]byte, *Cut, error) {
	part, err := l.in.ReadSlice('\n')
	if err == nil {
		return bytes.Clone(trimEnd(part)), nil, nil
	}
	var line []byte
	for err == bufio.ErrBufferFull && len(line) <= afterhours.MaxPayload {
		line = append(line, part...)
		part, err = l.in.ReadSlice('\n')
	}
	switch {
	case err == bufio.ErrBufferFull:
		return l.long(line, part)
	case err != nil && err != io.EOF:
		return nil, nil, err
	}
	line = append(line, part...)
	if len(line) == 0 {
		return nil, nil, io.EOF
	}
	line, cut := keepable(trimEnd(line))
	return line, cut, nil
}

// long reads the rest of a line of which start and part were read, keeping only
// its beginning and the hash of all of it.
func (l *lines) long(start, part []byte) ([]byte, *Cut, error) {
	d := digest{h: sha256.New()}
	d.add(start)
	d.add(part)
	err := bufio.ErrBufferFull
	for err == bufio.ErrBufferFull {
		part, err = l.in.ReadSlice('\n')
		d.add(part)
	}
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	return bytes.Clone(start[:maxKept]), d.end(), nil
}

// digest hashes a line whose end is not known yet: it holds back what may turn
// out to be the line end.
type digest struct {
	h    hash.Hash
	size int64
	held []byte // at most "\r\n"
}

func (d *digest) add(b []byte) {
	if len(d.held) > 0 {
		b = append(d.held, b...)
	}
	end := len(trimEnd(b))
	d.write(b[:end])
	d.held = bytes.Clone(b[end:])
}

func (d *digest) write(b []byte) {
	d.h.Write(b)
	d.size += int64(len(b))
}

func (d *digest) end() *Cut {
	c := &Cut{Size: d.size}
	d.h.Sum(c.SHA256[:0])
	return c
}

// trimEnd returns the line without its end, which is \n, \r\n, or the \r before
// a \n that has not been read yet.
func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}
