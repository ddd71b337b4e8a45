package storetest

import (
	"errors"
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
		check(t, s.PutRequest(ctx, r))
	}
	wantEqual(t, "requests", must(s.Requests(ctx, h))(t), []store.Request{a, b})

	check(t, s.DeleteRequest(ctx, a))
	check(t, s.DeleteRequest(ctx, a))
	wantEqual(t, "requests", must(s.Requests(ctx, h))(t), []store.Request{b})
	wantEqual(t, "requests of the next hour", must(s.Requests(ctx, next))(t), []store.Request{other})
	check(t, s.PutRequest(ctx, a))
	wantEqual(t, "requests", must(s.Requests(ctx, h))(t), []store.Request{a, b})
}

// partitionsAreReplaced records partitions of two types, some twice.
func partitionsAreReplaced(t *testing.T, s suite) {
	ctx := t.Context()
	var want []store.Partition
	for _, eventType := range []string{s.Type, s.Type + "2"} {
		for i, span := range []string{"1969-12-31T22", "1969-12-31T23", "2025-11-20T10", "2026-11-20T10"} {
			n := int64(i + 1)
			want = append(want, store.Partition{
				Hour: hour(eventType, span), Lineage: "lineage", Generation: n, Rows: 10 * n, Seen: 15 * n, Duplicates: 5 * n,
				Conflicts: n, Late: 2 * n, Bytes: n << 40, Published: now(),
			})
		}
	}
	for i := range want {
		p := want[(i*3)%len(want)]
		old := p
		old.Generation, old.Rows, old.Lineage = 0, 1, "older"
		check(t, s.PutPartition(ctx, old))
		check(t, s.PutPartition(ctx, p))
	}
	var got []store.Partition
	check(t, s.Partitions(ctx, func(p store.Partition) error {
		if strings.HasPrefix(p.Hour.Type, s.Type) {
			got = append(got, p)
		}
		return nil
	}))
	// The order of types is not promised, that of hours within one is.
	slices.SortStableFunc(got, func(a, b store.Partition) int { return strings.Compare(a.Hour.Type, b.Hour.Type) })
	wantEqual(t, "partitions", got, want)
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
		check(t, s.PutStuck(ctx, store.Stuck{Hour: x.Hour, Since: 1, Reason: "older"}))
		check(t, s.PutStuck(ctx, x))
	}
	wantEqual(t, "stuck hours", ownStuck(t, s), want)
	check(t, s.ClearStuck(ctx, want[1].Hour))
	check(t, s.ClearStuck(ctx, want[1].Hour))
	wantEqual(t, "stuck hours", ownStuck(t, s), slices.Delete(slices.Clone(want), 1, 2))
	for _, x := range want {
		check(t, s.ClearStuck(ctx, x.Hour))
	}
	wantEqual(t, "stuck hours", ownStuck(t, s), nil)
}

func ownStuck(t *testing.T, s suite) []store.Stuck {
	t.Helper()
	all := must(s.StuckHours(t.Context()))(t)
	return slices.DeleteFunc(all, func(x store.Stuck) bool { return !strings.HasPrefix(x.Hour.Type, s.Type) })
}
