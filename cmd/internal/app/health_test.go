package app

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/store"
)

var silent = slog.New(slog.DiscardHandler)

// TestHealthAnswers: the status tells whether all is well, the body why; a stuck
// hour is named with its remedy and is well all the same.
func TestHealthAnswers(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	h, err := afterhours.ParseHour("a/2026-11-20T10")
	if err != nil {
		t.Fatal(err)
	}
	stuck := []store.Stuck{{Hour: h, Since: afterhours.MicrosOf(at), Reason: "torn"}}
	for _, c := range []struct {
		health compact.Health
		status int
		says   []string
	}{
		{compact.Health{Healthy: true}, http.StatusOK, []string{`"healthy":true`, `"stuck":[]`, `"waiting":0`}},
		{compact.Health{Healthy: true, Progress: at, Stuck: stuck}, http.StatusOK,
			[]string{`"hour":"a/2026-11-20T10"`, `"reason":"torn"`, "compactor restore a/2026-11-20T10", `"progress":"2026-11-20T10:00:00Z"`}},
		{compact.Health{Reason: "3 hours are due", Waiting: 5, Due: 3}, http.StatusServiceUnavailable,
			[]string{`"healthy":false`, `"reason":"3 hours are due"`, `"waiting":5`, `"due":3`}},
	} {
		w := httptest.NewRecorder()
		healthHandler(func() compact.Health { return c.health }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if w.Code != c.status || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%+v: status %d, want %d, header %v", c.health, w.Code, c.status, w.Header())
		}
		for _, s := range c.says {
			if !strings.Contains(w.Body.String(), s) {
				t.Errorf("the answer does not say %s: %s", s, w.Body)
			}
		}
	}
}

// TestHealthAnswersNothingElse: other paths and methods are refused.
func TestHealthAnswersNothingElse(t *testing.T) {
	handler := healthHandler(func() compact.Health { return compact.Health{Healthy: true} })
	for request, want := range map[string]int{"GET /": http.StatusNotFound, "POST /healthz": http.StatusMethodNotAllowed} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, httptest.NewRequest(method, path, nil)); w.Code != want {
			t.Errorf("%s: status %d, want %d", request, w.Code, want)
		}
	}
}

// TestHealthAddress: an address that is taken or no address is an error at once;
// what was told on ends with the command; without an address nothing is told.
func TestHealthAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := taken.Addr().String()
	healthy := func() compact.Health { return compact.Health{Healthy: true} }
	if _, err := serveHealth(addr, healthy, silent); err == nil || IsUsage(err) || !strings.Contains(err.Error(), "--health-addr "+addr) {
		t.Errorf("taken: %v", err)
	}
	if _, err := serveHealth("nowhere", healthy, silent); !IsUsage(err) {
		t.Errorf("no address: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	stop, err := serveHealth(addr, healthy, silent)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := get("http://" + addr + "/healthz"); err != nil || !strings.Contains(body, `"healthy":true`) {
		t.Errorf("%s, %v", body, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := get("http://" + addr + "/healthz"); err == nil {
		t.Error("health is told after the end")
	}
	if stop, err := serveHealth("", healthy, silent); err != nil || stop() != nil {
		t.Errorf("no health: %v", err)
	}
}

func get(url string) (string, error) {
	r, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}
