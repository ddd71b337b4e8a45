// Package proxy forwards TCP connections and does to them what networks do: it
// cuts them, slows them down, refuses them, and leaves them open with nobody at
// the other end.
package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is what happens to connections.
type Mode int32

// The modes of a proxy.
const (
	Pass     Mode = iota // bytes are forwarded
	Slow                 // as well, 4 KiB at a time, each after SlowStep
	HalfOpen             // bytes are swallowed, and nobody is told
	Refuse               // connections are reset when they are accepted
)

// SlowStep is how long a piece of at most 4 KiB takes in mode Slow: about 80 KB
// a second, and as much latency.
const SlowStep = 50 * time.Millisecond

const (
	piece     = 16 << 10
	slowPiece = 4 << 10
	dialLimit = 5 * time.Second
)

// Proxy forwards connections from one address to another. Its methods may be
// called by several goroutines at once.
type Proxy struct {
	listener net.Listener
	back     string
	mode     atomic.Int32
	accepted atomic.Int64
	work     sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]bool
	closed bool
}

// Listen forwards what comes to front to back, both host:port. A front of port 0
// gets a free one.
func Listen(front, back string) (*Proxy, error) {
	l, err := net.Listen("tcp", front)
	if err != nil {
		return nil, fmt.Errorf("proxy for %s: %w", back, err)
	}
	p := &Proxy{listener: l, back: back, links: map[*link]bool{}}
	p.work.Go(p.accept)
	return p, nil
}

// Addr returns where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted returns how many connections there were so far.
func (p *Proxy) Accepted() int64 { return p.accepted.Load() }

// Set changes the mode, for connections there are and for new ones. Those that
// were half-open are reset, since bytes of theirs are gone; so are all when they
// are to be refused.
func (p *Proxy) Set(m Mode) {
	if was := Mode(p.mode.Swap(int32(m))); was != m && (was == HalfOpen || m == Refuse) {
		p.Cut()
	}
}

// Cut resets all connections. New ones are treated as the mode says.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Close ends the listening and resets all connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Cut()
	p.work.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(SlowStep) // too many open files, or the client gave up
			continue
		}
		p.accepted.Add(1)
		l := &link{proxy: p, client: c.(*net.TCPConn), ended: make(chan struct{})}
		if !p.enter(l) {
			l.reset()
			continue
		}
		p.work.Go(l.serve)
	}
}

// enter makes a link one of those that are cut. It reports false if it may not be.
func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || Mode(p.mode.Load()) == Refuse {
		return false
	}
	p.links[l] = true
	return true
}

// link is a client's connection with the one it is forwarded to.
type link struct {
	proxy  *Proxy
	client *net.TCPConn

	mu     sync.Mutex
	server *net.TCPConn // nil until there is one
	ended  chan struct{}
	over   bool
}

// reset ends both connections by RST.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.ended)
	for _, c := range []*net.TCPConn{l.client, l.server} {
		if c != nil {
			_ = c.SetLinger(0) // errors are those of connections that ended already
			_ = c.Close()
		}
	}
}

func (l *link) serve() {
	defer func() {
		l.proxy.mu.Lock()
		delete(l.proxy.links, l)
		l.proxy.mu.Unlock()
		l.reset()
	}()
	server, err := net.DialTimeout("tcp", l.proxy.back, dialLimit)
	if err != nil || !l.connect(server.(*net.TCPConn)) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.copy(l.server, l.client) })
	both.Go(func() { l.copy(l.client, l.server) })
	both.Wait()
}

// connect reports false if the link is over by now.
func (l *link) connect(server *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		_ = server.Close()
		return false
	}
	l.server = server
	return true
}

// copy forwards one direction until it ends. An end is passed on as such, so that
// the other direction may go on; a failure ends both.
func (l *link) copy(dst, src *net.TCPConn) {
	buf := make([]byte, piece)
	for {
		mode, room := l.mode(), piece
		if mode == Slow {
			room = slowPiece
		}
		n, err := src.Read(buf[:room])
		if l.mode() == Slow && !l.wait() {
			return
		}
		if n > 0 && l.mode() != HalfOpen {
			if _, err := dst.Write(buf[:n]); err != nil {
				l.reset()
				return
			}
		}
		switch {
		case err == nil:
		case l.mode() == HalfOpen:
			<-l.ended // nobody is told
			return
		case err == io.EOF:
			_ = dst.CloseWrite()
			return
		default:
			l.reset()
			return
		}
	}
}

func (l *link) mode() Mode { return Mode(l.proxy.mode.Load()) }

// wait reports false if the link is over before the time is.
func (l *link) wait() bool {
	t := time.NewTimer(SlowStep)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ended:
		return false
	}
}
