package lake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// prove tries every kind of conditional upload against an object of its own.
func (b *bucket) prove(ctx context.Context) (err error) {
	name := "_proof/" + rand.Text()
	for _, inParts := range []bool{false, true} {
		p := &proof{bucket: b, key: name + "-single", size: 1}
		if inParts {
			p = &proof{bucket: b, key: name + "-parts", size: b.severalParts(), inParts: true}
		}
		err := p.run(ctx)
		if cleanup := p.remove(context.WithoutCancel(ctx)); err == nil {
			err = cleanup
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	defer o.file.Close()
	var b [1]byte
	if _, err := o.file.ReadAt(b[:], 0); err != nil {
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
