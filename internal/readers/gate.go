package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
)

// gate stands between a reader and the store. It answers one request at a time,
// each from one version of the object, as object stores do, and replaces the
// object right after the request it was told to. So a replacement can be put into
// every gap of a read, without any clock.
type gate struct {
	store   *url.URL
	replace func() error
	trace   bool // print every request

	mu    sync.Mutex
	after int // replace after this request of the read, 0: never
	seen  requests
	err   error // of replace or of reaching the store
}

// requests are what a read asked of the store.
type requests struct {
	all     int
	later   int // after the replacement
	pinned  int // that named the version they want
	refused int // answered with 412, as that version is no more
}

// begin prepares for a read during which the object is replaced after the given
// request.
func (g *gate) begin(after int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.after, g.seen, g.err = after, requests{}, nil
}

// end tells what the read asked for.
func (g *gate) end() (requests, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.after = 0 // also for what the reader asks for after it has answered
	return g.seen, g.err
}

// listen serves at a free port of the loopback interface and returns its URL and
// what ends it.
func (g *gate) listen() (string, func() error, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: g}
	go func() { _ = s.Serve(l) }() // ends with ErrServerClosed
	return "http://" + l.Addr().String(), s.Close, nil
}

// ServeHTTP passes a request on as it is, Host included, on which its signature
// depends.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, header, body, err := g.pass(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a reader that hangs up has what it wants
}

func (g *gate) pass(r *http.Request) (int, http.Header, []byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	status, header, body, err := g.ask(r)
	if err == nil {
		g.count(r, status)
		if g.seen.all == g.after {
			err = g.replace()
		}
	}
	if err != nil && r.Context().Err() == nil {
		g.err = err
	}
	return status, header, body, err
}

func (g *gate) count(r *http.Request, status int) {
	if g.trace {
		fmt.Fprintln(os.Stderr, r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Range"), r.Header.Get("If-Match"), status)
	}
	g.seen.all++
	if g.after > 0 && g.seen.all > g.after {
		g.seen.later++
	}
	if r.Header.Get("If-Match") != "" || r.URL.Query().Has("versionId") {
		g.seen.pinned++
	}
	if status == http.StatusPreconditionFailed {
		g.seen.refused++
	}
}

// ask gets the whole answer from the store.
func (g *gate) ask(r *http.Request) (int, http.Header, []byte, error) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = g.store.Scheme, g.store.Host
	res, err := transport.RoundTrip(out)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, res.Body); err != nil {
		return 0, nil, nil, err
	}
	header := res.Header.Clone()
	header.Del("Connection")
	if r.Method != http.MethodHead {
		header.Set("Content-Length", strconv.Itoa(b.Len()))
	}
	return res.StatusCode, header, b.Bytes(), nil
}

// transport changes nothing of what passes.
var transport = &http.Transport{DisableCompression: true}
