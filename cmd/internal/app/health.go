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
)

// Bounds of a request for health: a client that is slow must not hold anything.
const (
	healthTimeout = 5 * time.Second
	healthIdle    = time.Minute
	healthEnd     = 2 * time.Second // for requests under way when the command ends
)

// healthJSON is the answer to GET /healthz; fields may be added, never renamed.
type healthJSON struct {
	Healthy         bool      `json:"healthy"`
	Reason          string    `json:"reason"` // why not, in one line
	Problems        []Problem `json:"problems"`
	*compactionJSON           // of a daemon that compacts
	*ingestJSON               // of one that ingests
}

type compactionJSON struct {
	Progress time.Time   `json:"progress,omitzero"` // when an hour was last served, or there was last nothing to do
	Oldest   time.Time   `json:"oldest,omitzero"`   // since when the hour waits that waits longest
	Waiting  int         `json:"waiting"`
	Due      int         `json:"due"`
	Stuck    []StuckJSON `json:"stuck"`
}

type ingestJSON struct {
	InHand       int64     `json:"in_hand"`      // records read and not acknowledged
	Acknowledged time.Time `json:"acknowledged"` // when one last was, or there was last none in hand
}

// readyJSON is the answer to GET /readyz, and liveJSON that to GET /livez; fields
// may be added, never renamed.
type readyJSON struct {
	Ready    bool      `json:"ready"`
	Problems []Problem `json:"problems"`
}

type liveJSON struct {
	Alive  bool   `json:"alive"`
	Reason string `json:"reason"` // why not
}

// handler answers
//
//	GET /livez    503 if only a new process would help: never because of what is wrong elsewhere
//	GET /readyz   503 if somebody has to act, with what is wrong and what to do
//	GET /healthz  the same, with figures
//
// An orchestrator that restarts whoever is not ready would make an outage of the
// store worse: rewrites begin anew, and partitions of the queue change hands.
func (v *Vitals) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		reason := v.hung()
		answer(w, reason == "", liveJSON{reason == "", reason})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		h := v.health()
		answer(w, h.Healthy, readyJSON{h.Healthy, h.Problems})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h := v.health()
		answer(w, h.Healthy, h)
	})
	return mux
}

// answer is 200 if all is well, else 503.
func answer(w http.ResponseWriter, well bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !well {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // an error is the client's who went away
}

// Serve tells health on an address until the returned function is called. The
// address is taken when it returns. An empty one means that nothing is told, nor
// looked at.
func (v *Vitals) Serve(addr string, log *slog.Logger) (stop func() error, err error) {
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
		Handler:           v.handler(),
		ReadHeaderTimeout: healthTimeout,
		ReadTimeout:       healthTimeout,
		WriteTimeout:      healthTimeout,
		IdleTimeout:       healthIdle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	v.begin()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	log.Info("telling health", "url", "http://"+l.Addr().String()+"/healthz")
	return func() error {
		defer v.end()
		return stopHealth(s, ended)
	}, nil
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
