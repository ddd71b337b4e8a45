package lake

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// prove tries every kind of conditional upload against an object of its own. That the
// store copies ranges is not demanded: if it does not, or not as it must, whole
// objects are uploaded.
func (b *bucket) prove(ctx context.Context) (err error) {
	name := "_proof/" + rand.Text()
	for _, inParts := range []bool{false, true} {
		p := &proof{bucket: b, key: name + "-single", size: 1}
		if inParts {
			p = &proof{bucket: b, key: name + "-parts", size: b.severalParts(), inParts: true}
		}
		if err := p.do(ctx, p.run); err != nil {
			return err
		}
	}
	if _, ok := b.provider.(copier); !ok {
		return nil
	}
	p := &proof{bucket: b, key: name + "-copies", size: 2}
	switch err := p.do(ctx, p.copy); {
	case err == nil:
		b.copies.Store(true)
	case ctx.Err() != nil:
		return err
	default:
		b.opt.Logger.Warn("the store does not copy ranges of objects as a publish needs it: what a rewrite does not touch is downloaded and uploaded", "cause", err)
	}
	return nil
}

// do makes the proof and removes its object.
func (p *proof) do(ctx context.Context, prove func(context.Context) error) error {
	err := prove(ctx)
	if cleanup := p.remove(context.WithoutCancel(ctx)); err == nil {
		err = cleanup
	}
	return err
}

// proof is a series of uploads of one kind.
type proof struct {
	*bucket
	key     string
	size    int
	inParts bool
}

func (p *proof) run(ctx context.Context) error {
	if err := p.send(ctx, 'a', ""); err != nil {
		return fmt.Errorf("create an object: %w", err)
	}
	first, err := p.now(ctx, 'a')
	if err != nil {
		return err
	}
	if err := p.mustConflict("create an object that is there", p.send(ctx, 'b', "")); err != nil {
		return err
	}
	if err := p.send(ctx, 'c', first); err != nil {
		return fmt.Errorf("replace an object: %w", err)
	}
	if err := p.mustConflict("replace a stale version", p.send(ctx, 'd', first)); err != nil {
		return err
	}
	second, err := p.now(ctx, 'c')
	if err != nil {
		return err
	}
	if err := p.remove(ctx); err != nil {
		return err
	}
	return p.mustConflict("replace an object that is not there", p.send(ctx, 'e', second))
}

// copy tries whether the store copies on the condition of the source's version, and
// compares the checksum of the whole. It copies from what it has made of copies: some
// stores take the checksum of such an object for that of its parts.
func (p *proof) copy(ctx context.Context) error {
	const content = "ab"
	first, err := p.upload(ctx, p.key, strings.NewReader(content), int64(len(content)), "", false)
	if err != nil {
		return fmt.Errorf("create an object: %w", err)
	}
	second, err := p.copyOf(ctx, 0, content, first, first)
	if err != nil {
		return fmt.Errorf("make an object of a copy: %w", err)
	}
	if _, err := p.copyOf(ctx, 1, "b", first, second); !errors.Is(err, ErrConflict) {
		return fmt.Errorf("copy from a version that was replaced: want a conflict, got %w", cmp.Or(err, errAllowed))
	}
	if _, err := p.copyOf(ctx, 1, "x", second, second); err == nil {
		return fmt.Errorf("make an object of which the checksum is wrong: %w", errAllowed)
	}
	if _, err := p.copyOf(ctx, 1, "b", second, second); err != nil {
		return fmt.Errorf("make an object of a copy of a range: %w", err)
	}
	p.size = 1
	_, err = p.now(ctx, 'b')
	return err
}

var errAllowed = errors.New("the store allowed it")

// copyOf replaces a version of the object by a copy of a range of it, which must be as
// given. The range is of the version named as source.
func (p *proof) copyOf(ctx context.Context, at int64, content, source, version string) (string, error) {
	n := int64(len(content))
	parts := []piece{{size: n, from: at, base: true}}
	d := &draft{base: &remote{version: source}, pieces: parts, size: n, sum: checksumOf([]byte(content))}
	return p.assemble(ctx, p.key, d, parts, version)
}

// send uploads the object filled with one byte.
func (p *proof) send(ctx context.Context, fill byte, version string) error {
	src := strings.NewReader(strings.Repeat(string(fill), p.size))
	_, err := p.upload(ctx, p.key, src, int64(p.size), version, p.inParts)
	return err
}

func (p *proof) mustConflict(what string, err error) error {
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: the store allowed it for an upload of %d bytes: it ignores If-Match or If-None-Match (on Google Cloud Storage, generations), "+
		"and two compactors would overwrite each other's rows; use a store that honours conditional writes", what, p.size)
}

// now returns the object's version after checking what it holds.
func (p *proof) now(ctx context.Context, fill byte) (version string, err error) {
	o, err := p.get(ctx, p.key)
	if err != nil {
		return "", fmt.Errorf("read an object: %w", err)
	}
	if o == nil {
		return "", errors.New("read an object: it is not there right after it was written: use a store whose reads are consistent")
	}
	var b [1]byte
	if err := readAt(o.reader(), b[:], 0); err != nil {
		return "", err
	}
	if o.size != int64(p.size) || b[0] != fill {
		return "", errors.New("read an object: it is not what was written last: use a store whose reads are consistent")
	}
	return o.version, nil
}

func (p *proof) remove(ctx context.Context) error {
	err := p.Delete(ctx, p.prefix+p.key)
	if err == nil || p.absent(err) {
		return nil
	}
	return fmt.Errorf("remove an object: %w", p.explained(err))
}
