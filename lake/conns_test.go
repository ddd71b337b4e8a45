package lake

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
)

// TestConnectionsAreKept: with many hours in flight, each finds a connection that an
// earlier one has left.
func TestConnectionsAreKept(t *testing.T) {
	const inFlight, rounds = 40, 4
	var mu sync.Mutex
	clients := map[string]bool{}
	var together sync.WaitGroup // so that each round needs as many connections
	l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		mu.Lock()
		clients[r.RemoteAddr] = true
		mu.Unlock()
		if r.Method == http.MethodPut {
			together.Done()
			together.Wait()
		}
		pass.ServeHTTP(w, r)
	}))
	for round := range rounds {
		together.Add(inFlight)
		var g errgroup.Group
		for i := range inFlight {
			h := afterhours.HourOf(fmt.Sprintf("type-%d-%d", round, i), hour.Start)
			g.Go(func() error { _, err := rewrite(l, h, RewriteOptions{}, sample(h, 1)...); return err })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if len(clients) >= 2*inFlight {
		t.Errorf("%d connections for %d requests at once", len(clients), inFlight)
	}
	t.Logf("%d connections", len(clients))
}
