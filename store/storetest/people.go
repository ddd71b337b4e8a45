package storetest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// columnsStay declares, repeats, adds to and contradicts.
func columnsStay(t *testing.T, s suite) {
	ctx := t.Context()
	amount := afterhours.Column{Name: "amount", Field: "order.amount", Type: afterhours.Double}
	user := afterhours.Column{Name: "user_id", Field: "user", Type: afterhours.Int64}
	agent := afterhours.Column{Name: "agent", Field: `ua "quoted", ünïcode`, Type: afterhours.String}

	check(t, s.DeclareColumns(ctx, s.Type, []afterhours.Column{user, amount}))
	check(t, s.DeclareColumns(ctx, s.Type, []afterhours.Column{user}))
	check(t, s.DeclareColumns(ctx, s.Type, []afterhours.Column{amount, agent, user}))
	check(t, s.DeclareColumns(ctx, s.Type, nil))
	check(t, s.DeclareColumns(ctx, s.Type+"2", []afterhours.Column{{Name: "user_id", Field: "user", Type: afterhours.String}}))

	for _, c := range []afterhours.Column{
		{Name: "user_id", Field: "user", Type: afterhours.String},
		{Name: "user_id", Field: "users", Type: afterhours.Int64},
		{Name: "amount", Field: "order.amount", Type: afterhours.Int64},
	} {
		if err := s.DeclareColumns(ctx, s.Type, []afterhours.Column{c}); !errors.Is(err, store.ErrColumnConflict) {
			t.Errorf("declare %s: %v, want %v", c, err, store.ErrColumnConflict)
		}
	}
	wantEqual(t, "columns", must(s.Columns(ctx, s.Type))(t), []afterhours.Column{agent, amount, user})
}

// typesAreListed declares types, one of them by its columns.
func typesAreListed(t *testing.T, s suite) {
	ctx := t.Context()
	want := map[string]int{s.Type: 1, s.Type + "2": 1, s.Type + "3": 1, s.Type + " ü/\"": 1}
	for eventType := range want {
		check(t, s.DeclareType(ctx, eventType))
		check(t, s.DeclareType(ctx, eventType))
	}
	want[s.Type+"4"] = 1
	check(t, s.DeclareColumns(ctx, s.Type+"4", []afterhours.Column{{Name: "c", Field: "f", Type: afterhours.Int64}}))
	check(t, s.DeclareColumns(ctx, s.Type, []afterhours.Column{{Name: "c", Field: "f", Type: afterhours.Int64}}))
	got := map[string]int{}
	check(t, s.Types(ctx, func(eventType string) error {
		if strings.HasPrefix(eventType, s.Type) {
			got[eventType]++
		}
		return nil
	}))
	if !maps.Equal(got, want) {
		t.Errorf("types: %v, want %v", got, want)
	}
}

// columnsRace lets processes declare one name at once, with two types.
func columnsRace(t *testing.T, s suite) {
	types := []afterhours.ColumnType{afterhours.Int64, afterhours.String, afterhours.Int64, afterhours.String}
	for range 8 {
		s.Type += "+"
		errs := make([]error, len(types))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i, typ := range types {
			wg.Go(func() {
				<-start
				errs[i] = s.DeclareColumns(t.Context(), s.Type, []afterhours.Column{{Name: "c", Field: "f", Type: typ}})
			})
		}
		close(start)
		wg.Wait()
		cols := must(s.Columns(t.Context(), s.Type))(t)
		if len(cols) != 1 {
			t.Fatalf("columns: %v, want one", cols)
		}
		for i, err := range errs {
			won := types[i] == cols[0].Type
			if won && err != nil || !won && !errors.Is(err, store.ErrColumnConflict) {
				t.Errorf("column is %s, but who declared %s was told: %v", cols[0].Type, types[i], err)
			}
		}
	}
}

// requestsStay records, repeats, replaces and serves requests.
func requestsStay(t *testing.T, s suite) {
	ctx, h, next := t.Context(), hour(s.Type, "2026-11-20T10"), hour(s.Type, "2026-11-20T11")
	a := store.Request{Hour: h, ID: "a", Rebuild: true, Made: now()}
	b := store.Request{Hour: h, ID: "b", Made: -1}
	other := store.Request{Hour: next, ID: "a", Made: now()}
	for _, r := range []store.Request{b, a, other, b} {
		check(t, s.board.PutRequest(ctx, r))
	}
	wantEqual(t, "requests", must(s.board.Requests(ctx, h))(t), []store.Request{a, b})

	check(t, s.board.DeleteRequest(ctx, a))
	check(t, s.board.DeleteRequest(ctx, a))
	wantEqual(t, "requests", must(s.board.Requests(ctx, h))(t), []store.Request{b})
	wantEqual(t, "requests of the next hour", must(s.board.Requests(ctx, next))(t), []store.Request{other})
	check(t, s.board.PutRequest(ctx, a))
	wantEqual(t, "requests", must(s.board.Requests(ctx, h))(t), []store.Request{a, b})
}

// stuckUntilCleared lists what is stuck, in order, with the newest reason.
func stuckUntilCleared(t *testing.T, s suite) {
	ctx := t.Context()
	var want []store.Stuck
	for _, eventType := range []string{s.Type, s.Type + "0"} {
		for _, span := range []string{"1969-12-31T23", "1970-01-01T00", "2026-11-20T10"} {
			want = append(want, store.Stuck{Hour: hour(eventType, span), Since: now(), Reason: "base is not readable: \"ü\"\n"})
		}
	}
	for i := range want {
		x := want[(i*5)%len(want)]
		check(t, s.board.PutStuck(ctx, store.Stuck{Hour: x.Hour, Since: 1, Reason: "older"}))
		check(t, s.board.PutStuck(ctx, x))
	}
	wantEqual(t, "stuck hours", ownStuck(t, s), want)
	check(t, s.board.ClearStuck(ctx, want[1].Hour))
	check(t, s.board.ClearStuck(ctx, want[1].Hour))
	wantEqual(t, "stuck hours", ownStuck(t, s), slices.Delete(slices.Clone(want), 1, 2))
	for _, x := range want {
		check(t, s.board.ClearStuck(ctx, x.Hour))
	}
	wantEqual(t, "stuck hours", ownStuck(t, s), nil)
}

func ownStuck(t *testing.T, s suite) []store.Stuck {
	t.Helper()
	all := must(s.board.StuckHours(t.Context()))(t)
	return slices.DeleteFunc(all, func(x store.Stuck) bool { return !strings.HasPrefix(x.Hour.Type, s.Type) })
}
