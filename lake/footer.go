package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// footerGuess is how much of a partition's end is read at first. It holds nearly
// every footer: the manifest, and about 200 bytes a column and row group.
const footerGuess = 64 << 10

// Manifest reads the manifest of a listed partition, and of its object only the
// footer. If the object is of another version by now, the error is [ErrConflict].
// A partition that this build must not rewrite is [ErrRefused].
func (l *Lake) Manifest(ctx context.Context, o Object) (*Manifest, error) {
	m, err := l.footer(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("read manifest of partition %s: %w", o.Hour, err)
	}
	return m, nil
}

func (l *Lake) footer(ctx context.Context, o Object) (*Manifest, error) {
	if o.Size < footerEnd { // of which no store gives a range
		return nil, refuse(fmt.Errorf("not a readable Parquet file: it has %d bytes", o.Size))
	}
	b, err := l.objects.tail(ctx, o, min(o.Size, footerGuess))
	if err != nil {
		return nil, err
	}
	n, err := footerSize(&end{b, o.Size - int64(len(b))}, o.Size)
	if err != nil {
		return nil, refuse(err)
	}
	if n = min(n+int64(sealSize), o.Size); n > int64(len(b)) {
		if b, err = l.objects.tail(ctx, o, n); err != nil {
			return nil, err
		}
	}
	p, err := openPartition(&end{b, o.Size - int64(len(b))}, o.Size, o.Hour)
	if err != nil {
		return nil, refuse(err)
	}
	return p.manifest, nil
}

// end is the end of a file of which nothing else is at hand.
type end struct {
	b     []byte
	start int64 // where in the file b begins
}

// ReadAt reads what lies within the end.
func (e *end) ReadAt(p []byte, off int64) (int, error) {
	if off -= e.start; off < 0 || off > int64(len(e.b)) {
		return 0, errors.New("not a readable Parquet file: its footer refers to something outside")
	}
	n := copy(p, e.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
