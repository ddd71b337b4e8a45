package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours/cmd/internal/app"
)

// output is a buffer that is read while somebody writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await returns what a pattern finds in the output, once it does.
func (o *output) await(t *testing.T, pattern string) string {
	t.Helper()
	p := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if found := p.FindString(o.String()); found != "" {
			return found
		}
	}
	t.Fatalf("no %s in:\n%s", pattern, o)
	return ""
}

// TestHealthOfRun: run tells its health while it runs, and ends well.
func TestHealthOfRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stderr output
	root := newRoot()
	root.SetOut(io.Discard)
	root.SetErr(&stderr)
	root.SetArgs([]string{"run", "--health-addr", "127.0.0.1:0", "--data", t.TempDir()})
	code := make(chan int, 1)
	go func() { code <- app.Execute(ctx, root) }()
	answer, err := http.Get(stderr.await(t, `http://[0-9.:]+/healthz`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), `"healthy":true`) {
		t.Errorf("%s %s, %v", answer.Status, body, err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if c := <-code; c != app.ExitDone {
		t.Errorf("exit code %d: %s", c, &stderr)
	}
}

// TestHealthThatCannotBeTold: run does not begin if the address is taken.
func TestHealthThatCannotBeTold(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	newSite(t).fail(t, "run --health-addr "+addr, app.ExitFailed, "--health-addr "+addr, "choose another")
}
