package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// quarantineColumns are the columns of quarantine events.
var quarantineColumns = []afterhours.Column{
	{Name: "reason", Field: "reason", Type: afterhours.String},
	{Name: "source", Field: "source", Type: afterhours.String},
	{Name: "position", Field: "position", Type: afterhours.String},
}

// types knows the event types whose columns are declared.
type types struct {
	known sync.Map      // name -> the same name, shared by all events of the type
	turn  chan struct{} // holds a token while somebody declares
}

func newTypes() types { return types{turn: make(chan struct{}, 1)} }

// declare declares the columns of e's type if it is the first of its type in
// this process. It returns e with a type that shares its memory with all others.
func (w *Writer) declare(ctx context.Context, e afterhours.Event) (afterhours.Event, error) {
	if name, ok := w.types.known.Load(e.Type); ok {
		e.Type = name.(string)
		return e, nil
	}
	return e, w.declareNew(ctx, e.Type)
}

func (w *Writer) declareNew(ctx context.Context, eventType string) error {
	select {
	case w.types.turn <- struct{}{}:
		defer func() { <-w.types.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, ok := w.types.known.Load(eventType); ok {
		return nil
	}
	cols := w.o.Columns
	if eventType == afterhours.QuarantineType {
		cols = quarantineColumns
	}
	if len(cols) > 0 {
		err := w.calls.columns.repeat(ctx, func() error { return w.store.DeclareColumns(ctx, eventType, cols) })
		if errors.Is(err, store.ErrColumnConflict) {
			return fmt.Errorf("declare columns of event type %q: %w; declare them as before, or under other names", eventType, err)
		}
		if err != nil {
			return fmt.Errorf("declare columns of event type %q: %w", eventType, err)
		}
	}
	w.types.known.Store(eventType, eventType)
	return nil
}
