package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// start returns a proxy before a server that says every line back.
func start(t *testing.T) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	p, err := Listen("127.0.0.1:0", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{c, bufio.NewReader(c)}
}

// say sends a line and returns the answer that comes within d.
func (c client) say(line string, d time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	return c.r.ReadString('\n')
}

func wantEcho(t *testing.T, c client) {
	t.Helper()
	if got, err := c.say("hello", 10*time.Second); got != "hello\n" || err != nil {
		t.Errorf("answer %q, %v, want hello", got, err)
	}
}

// wantRefused wants a reset, be it while connecting or at the first words.
func wantRefused(t *testing.T, p *Proxy) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	got := ""
	if err == nil {
		defer conn.Close()
		got, err = client{conn, bufio.NewReader(conn)}.say("hello", 10*time.Second)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("answer %q, %v, want a reset", got, err)
	}
}

// A proxy that passes is not noticed, also when one direction ends first.
func TestPass(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	wantEcho(t, c)
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil {
		t.Errorf("after the end: %q, %v", b, err)
	}
	if p.Accepted() != 1 {
		t.Errorf("%d connections, want 1", p.Accepted())
	}
}

// A cut is a reset, not an end; whoever connects again is served.
func TestCut(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	wantEcho(t, c)
	p.Cut()
	if got, err := c.say("hello", 10*time.Second); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("answer %q, %v, want a reset", got, err)
	}
	wantEcho(t, dial(t, p))
}

// On a half-open connection nothing is answered and nothing fails, be it old or
// new. When all is well again it is reset: bytes of it are gone.
func TestHalfOpen(t *testing.T) {
	p := start(t)
	old := dial(t, p)
	wantEcho(t, old)
	p.Set(HalfOpen)
	for _, c := range []client{old, dial(t, p)} {
		if got, err := c.say("hello", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("answer %q, %v, want none", got, err)
		}
	}
	p.Set(Pass)
	if got, err := old.say("hello", 10*time.Second); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("answer %q, %v, want a reset", got, err)
	}
	wantEcho(t, dial(t, p))
}

// A slow connection loses nothing.
func TestSlow(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	p.Set(Slow)
	begin := time.Now()
	wantEcho(t, c)
	if d := time.Since(begin); d < SlowStep {
		t.Errorf("answered after %v", d)
	}
	p.Set(Pass)
	wantEcho(t, c)
}

// Refused connections, and those there were, are reset.
func TestRefuse(t *testing.T) {
	p := start(t)
	old := dial(t, p)
	wantEcho(t, old)
	p.Set(Refuse)
	if got, err := old.say("hello", 10*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("answer %q, %v, want a reset", got, err)
	}
	wantRefused(t, p)
	p.Set(Pass)
	wantEcho(t, dial(t, p))
}

// A server that is down resets its clients.
func TestServerDown(t *testing.T) {
	p, err := Listen("127.0.0.1:0", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wantRefused(t, p)
}
