package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/afterhours/afterhours/compact"
)

// Bounds of a request for health: a client that is slow must not hold anything.
const (
	healthTimeout = 5 * time.Second
	healthIdle    = time.Minute
	healthEnd     = 2 * time.Second // for requests under way when the command ends
)

// healthJSON is the answer to GET /healthz; fields may be added, never renamed.
type healthJSON struct {
	Healthy  bool        `json:"healthy"`
	Reason   string      `json:"reason"`            // why not
	Progress time.Time   `json:"progress,omitzero"` // when an hour was last served, or there was last nothing to do
	Waiting  int         `json:"waiting"`
	Due      int         `json:"due"`
	Stuck    []StuckJSON `json:"stuck"`
}

// serveHealth answers on addr until the returned function is called. The address
// is taken when it returns. An empty one means no answers.
func serveHealth(addr string, health func() compact.Health, log *slog.Logger) (stop func() error, err error) {
	if addr == "" {
		return func() error { return nil }, nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, Usagef("--health-addr %q: want HOST:PORT, such as localhost:8080 or :8080", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--health-addr %s: %w; choose another address, or leave the flag out", addr, err)
	}
	s := &http.Server{
		Handler:           healthHandler(health),
		ReadHeaderTimeout: healthTimeout,
		ReadTimeout:       healthTimeout,
		WriteTimeout:      healthTimeout,
		IdleTimeout:       healthIdle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	log.Info("telling health", "url", "http://"+l.Addr().String()+"/healthz")
	return func() error { return stopHealth(s, ended) }, nil
}

// stopHealth ends the answers. What went wrong with them is told, but does not
// depend on a client that goes on asking.
func stopHealth(s *http.Server, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthEnd)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		_ = s.Close() // its error is that of a listener closed before
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("tell health: %w", err)
	}
	return nil
}

// healthHandler answers GET /healthz: 200 if healthy, else 503.
func healthHandler(health func() compact.Health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h := health()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !h.Healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(healthJSON{ // an error is the client's who went away
			h.Healthy, h.Reason, h.Progress.UTC(), h.Waiting, h.Due, NewStuckJSON(h.Stuck),
		})
	})
	return mux
}
