package cassandra

import (
	"log/slog"
	"testing"

	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/storetest"
)

// open opens the keyspace of a URL until the test ends.
func open(tb testing.TB, url string) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// TestStore runs the conformance suite on a real server.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, testenv.Keyspace(t)) })
}
