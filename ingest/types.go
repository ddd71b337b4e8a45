package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// quarantineColumns are the columns of quarantine events.
var quarantineColumns = []afterhours.Column{
	{Name: "reason", Field: "reason", Type: afterhours.String},
	{Name: "source", Field: "source", Type: afterhours.String},
	{Name: "position", Field: "position", Type: afterhours.String},
}

// types knows the event types that may be written.
type types struct {
	allow map[string]bool // nil: all
	fresh allowance       // of types that the store does not know

	admitted sync.Map // name -> *eventType
	loading  turn
	mu       sync.Mutex      // held while a type is admitted
	stored   map[string]bool // what the store knew when it was asked; nil: not yet
}

// eventType is a type that may be written, once it is declared.
type eventType struct {
	name     string // shared by all events of the type
	turn     turn   // to declare it; one type does not wait for another
	declared atomic.Bool
}

// turn is a lock that can be waited for until a context ends.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }

func newTypes(o Options) *types {
	t := &types{fresh: allowance{limit: o.NewTypes, span: micros(24 * time.Hour)}, loading: newTurn()}
	if len(o.AllowTypes) > 0 {
		t.allow = map[string]bool{}
		for _, name := range o.AllowTypes {
			t.allow[name] = true
		}
	}
	return t
}

// admitType returns the type of that name. If no event of it may be written, the
// reason is not empty.
func (w *Writer) admitType(ctx context.Context, name, source string) (_ *eventType, reason string, err error) {
	t := w.types
	if known, ok := t.admitted.Load(name); ok {
		return known.(*eventType), "", nil
	}
	if t.allow != nil && !t.allow[name] && name != afterhours.QuarantineType {
		return nil, fmt.Sprintf("event type %q is not among those allowed (--allow-type)", name), nil
	}
	if err := w.loadTypes(ctx); err != nil {
		return nil, "", err
	}
	if et := t.admit(name, source, w.now()); et != nil {
		return et, "", nil
	}
	return nil, fmt.Sprintf("event type %q is new, and its source has brought %d new types today, the limit (--new-types-per-day)", name, t.fresh.limit), nil
}

// admit returns the type, nil if it is one new type too many.
func (t *types) admit(name, source string, now afterhours.Micros) *eventType {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.admitted.Load(name); ok {
		return known.(*eventType)
	}
	if name != afterhours.QuarantineType && !t.stored[name] && !t.fresh.take(source, now) {
		return nil
	}
	et := &eventType{name: name, turn: newTurn()}
	t.admitted.Store(name, et)
	return et
}

// loadTypes asks the store once which types it knows, if new ones are limited.
func (w *Writer) loadTypes(ctx context.Context) error {
	t := w.types
	if t.fresh.limit <= 0 {
		return nil
	}
	if err := t.loading.take(ctx); err != nil {
		return err
	}
	defer t.loading.give()
	if t.stored != nil {
		return nil
	}
	var stored map[string]bool
	err := w.calls.types.repeat(ctx, func() error {
		stored = map[string]bool{}
		return w.store.Types(ctx, func(name string) error { stored[name] = true; return nil })
	})
	if err != nil {
		return fmt.Errorf("read event types: %w", err)
	}
	t.stored = stored
	return nil
}

// declare declares the type and its columns, unless this process did before.
func (w *Writer) declare(ctx context.Context, et *eventType) error {
	if et.declared.Load() {
		return nil
	}
	if err := et.turn.take(ctx); err != nil {
		return err
	}
	defer et.turn.give()
	if et.declared.Load() {
		return nil
	}
	err := w.calls.declare.repeat(ctx, func() error { return w.declareType(ctx, et.name) })
	switch {
	case errors.Is(err, store.ErrColumnConflict):
		return fmt.Errorf("declare columns of event type %q: %w; declare them as before, or under other names", et.name, err)
	case err != nil:
		return fmt.Errorf("declare event type %q: %w", et.name, err)
	}
	et.declared.Store(true)
	return nil
}

func (w *Writer) declareType(ctx context.Context, name string) error {
	switch cols := w.o.Columns; {
	case name == afterhours.QuarantineType:
		return w.store.DeclareColumns(ctx, name, quarantineColumns)
	case len(cols) > 0:
		return w.store.DeclareColumns(ctx, name, cols)
	}
	return w.store.DeclareType(ctx, name)
}
