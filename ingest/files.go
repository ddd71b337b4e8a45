package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Files is a source of JSON lines. It reads one input after the other, plain or
// compressed with gzip or zstd.
type Files struct {
	// Inputs are paths, "-" for Stdin, and URLs: s3://bucket/key, gs://bucket/key
	// and file:///path. A URL that ends in a slash stands for every object whose
	// key begins with it. Which schemes there are depends on the drivers of
	// gocloud.dev/blob that the program imports.
	Inputs []string
	Stdin  io.Reader // os.Stdin if nil
}

// input is one file, object or stream.
type input struct {
	name string // as it is acknowledged: absolute, without a URL's parameters
	open func(context.Context) (io.ReadCloser, time.Time, error)
}

// Run puts every line that is not blank. Before it reads anything it makes sure
// that every input can be read.
func (f Files) Run(ctx context.Context, put Put) error {
	inputs, end, err := f.resolve(ctx)
	defer end()
	if err != nil {
		return err
	}
	for _, in := range inputs {
		if err := in.read(ctx, put); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds all inputs. It reports every input that is missing, joined. end
// releases what they share.
func (f Files) resolve(ctx context.Context) (all []input, end func(), err error) {
	b := buckets{}
	var errs []error
	stdin := false
	for _, name := range f.Inputs {
		var found []input
		var err error
		switch scheme, _, isURL := strings.Cut(name, "://"); {
		case name == "-" && stdin:
			err = errors.New("read standard input: it is given twice")
		case name == "-":
			stdin = true
			found = []input{f.standard(time.Now())}
		case isURL && scheme == "file":
			found, err = fileURL(name)
		case isURL:
			found, err = b.objects(ctx, name)
		default:
			found, err = one(file(name))
		}
		all, errs = append(all, found...), append(errs, err)
	}
	return all, b.close, errors.Join(errs...)
}

func one(in input, err error) ([]input, error) { return []input{in}, err }

// standard is standard input. Its lines carry the time ingest started, as there
// is no other.
func (f Files) standard(started time.Time) input {
	in := f.Stdin
	if in == nil {
		in = os.Stdin
	}
	return input{"stdin", func(ctx context.Context) (io.ReadCloser, time.Time, error) {
		return interruptible(ctx, in), started, nil
	}}
}

// interruptible makes reads of r end with ctx. The read that is under way then
// cannot be ended: its goroutine stays until r gives it something.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(in, r)
		stop()
		in.CloseWithError(err)
	}()
	return out
}

// file is a file of the local file system, which is opened once to see that it
// can be; but not a pipe, since what is in it would be lost when it is closed.
func file(path string) (input, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return input{}, fmt.Errorf("read file %q: %w", path, err)
	}
	in := input{abs, func(context.Context) (io.ReadCloser, time.Time, error) { return openFile(abs) }}
	if st, err := os.Stat(abs); err == nil && st.Mode()&fs.ModeNamedPipe != 0 {
		return in, nil
	}
	r, _, err := in.open(context.Background())
	if err != nil {
		return input{}, err
	}
	return in, r.Close()
}

func openFile(path string) (io.ReadCloser, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory: name its files, or give it as file://%s/", path, path)
	}
	if err != nil {
		return nil, time.Time{}, errors.Join(fmt.Errorf("read file: %w", err), f.Close())
	}
	return f, info.ModTime(), nil
}

// fileURL is a file, or every regular file below a directory.
func fileURL(name string) ([]input, error) {
	u, err := url.Parse(name)
	if err != nil || u.Host != "" || u.Path == "" {
		return nil, fmt.Errorf("read %q: want file:///path", name)
	}
	if !strings.HasSuffix(u.Path, "/") {
		return one(file(u.Path))
	}
	var all []input
	err = filepath.WalkDir(u.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		in, err := file(path)
		all = append(all, in)
		return err
	})
	if err == nil && len(all) == 0 {
		err = errors.New("there is no file in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", u.Path, err)
	}
	return all, nil
}

// read puts every line of the input.
func (in input) read(ctx context.Context, put Put) (err error) {
	r, at, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	l, err := newLines(r)
	if err != nil {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	defer l.close()
	for {
		line, cut, err := l.next()
		switch {
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read %s after line %d: %w", in.name, l.n, truncated(err))
		}
		rec := Record{Bytes: line, Source: in.name, Position: "line " + strconv.FormatInt(l.n, 10), Time: at, Cut: cut}
		if err := put(ctx, rec, func() {}); err != nil {
			return err
		}
	}
}

// truncated says what an unexpected end means; the lines before it are kept.
func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the compressed data is cut off: %w", err)
	}
	return err
}
