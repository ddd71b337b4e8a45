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

// answerOf asks for a path.
func answerOf(v *Vitals, request string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(request, " ")
	w := httptest.NewRecorder()
	v.handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// wantAnswer asks, and wants a status and what the body says.
func wantAnswer(t *testing.T, v *Vitals, path string, status int, says ...string) {
	t.Helper()
	w := answerOf(v, "GET "+path)
	if w.Code != status || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s: status %d, want %d, header %v: %s", path, w.Code, status, w.Header(), w.Body)
	}
	for _, s := range says {
		if !strings.Contains(w.Body.String(), s) {
			t.Errorf("%s does not say %s: %s", path, s, w.Body)
		}
	}
}

// compacting returns the vitals of a daemon that compacts.
func compacting(h compact.Health) *Vitals {
	v := &Vitals{}
	v.Compacts(func() compact.Health { return h })
	return v
}

// TestHealthAnswers: the status tells whether all is well, the body why not and what
// to do; a stuck hour is named with its remedy and is well all the same.
func TestHealthAnswers(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	h, err := afterhours.ParseHour("a/2026-11-20T10")
	if err != nil {
		t.Fatal(err)
	}
	v := compacting(compact.Health{Healthy: true})
	wantAnswer(t, v, "/healthz", http.StatusOK, `"healthy":true`, `"stuck":[]`, `"waiting":0`, `"problems":[]`)
	wantAnswer(t, v, "/readyz", http.StatusOK, `"ready":true`, `"problems":[]`)
	wantAnswer(t, v, "/livez", http.StatusOK, `"alive":true`)

	stuck := []store.Stuck{{Hour: h, Since: afterhours.MicrosOf(at), Reason: "torn"}}
	v = compacting(compact.Health{Healthy: true, Progress: at, Oldest: at, Stuck: stuck})
	wantAnswer(t, v, "/healthz", http.StatusOK, `"hour":"a/2026-11-20T10"`, `"reason":"torn"`, "compactor restore a/2026-11-20T10",
		`"progress":"2026-11-20T10:00:00Z"`, `"oldest":"2026-11-20T10:00:00Z"`)

	v = compacting(compact.Health{Problems: []compact.Problem{
		{Check: "progress", Reason: "3 hours are due", Remedy: "see the log"}, {Check: "age", Reason: "old", Remedy: "hurry"},
	}, Waiting: 5, Due: 3})
	wantAnswer(t, v, "/healthz", http.StatusServiceUnavailable, `"healthy":false`, `"reason":"3 hours are due; old"`, `"waiting":5`, `"due":3`)
	wantAnswer(t, v, "/readyz", http.StatusServiceUnavailable, `"ready":false`,
		`{"check":"progress","reason":"3 hours are due","remedy":"see the log"}`, `"check":"age"`)
	wantAnswer(t, v, "/livez", http.StatusOK, `"alive":true`)
}

// TestHealthAnswersNothingElse: other paths and methods are refused.
func TestHealthAnswersNothingElse(t *testing.T) {
	v := compacting(compact.Health{})
	for request, want := range map[string]int{
		"GET /": http.StatusNotFound, "POST /healthz": http.StatusMethodNotAllowed,
		"POST /livez": http.StatusMethodNotAllowed, "PUT /readyz": http.StatusMethodNotAllowed,
	} {
		if w := answerOf(v, request); w.Code != want {
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
	v := compacting(compact.Health{})
	if _, err := v.Serve(addr, silent); err == nil || IsUsage(err) || !strings.Contains(err.Error(), "--health-addr "+addr) {
		t.Errorf("taken: %v", err)
	}
	if _, err := v.Serve("nowhere", silent); !IsUsage(err) {
		t.Errorf("no address: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	stop, err := v.Serve(addr, silent)
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
	if stop, err := v.Serve("", silent); err != nil || stop() != nil {
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
