// Package servers starts the real servers that tests talk to: Cassandra and
// Kafka from their Maven jars, and the S3 gateway versitygw, each on free ports
// of the loopback interface, with bounded memory, in a temporary directory.
//
// Tests use package testenv; only it and the command testservers import this
// one.
//
// # Programs
//
// What a server needs is fetched once into the user's cache directory
// (afterhours-testenv/NAME-VERSION-…) with mvn or go install, under the user's
// own settings of those tools. Java 17 or newer is looked for in JAVA_HOME and
// then on the path.
//
// # Ends
//
// A server runs under a keeper: however this process ends, also by kill -9, the
// server is killed and its directory removed. See package keeper.
//
// # Faults
//
// A server can be killed, paused and started again, with what it has stored; and
// what it tells its clients of itself can lead them through a proxy of the
// caller's: see [Door]. [StartRing] starts several Cassandra nodes that are one
// ring.
//
// # Memory
//
// Cassandra has a heap of 2 GiB and about 1 GiB beside it, a node of a ring half
// of that; Kafka a heap of 512 MiB, versitygw about 50 MiB.
package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/afterhours/afterhours/internal/testenv/keeper"
)

// Names of the servers that [Start] knows.
const (
	Cassandra = "cassandra"
	Kafka     = "kafka"
	S3        = "s3"
)

// Names lists every server, the slowest to start first.
var Names = []string{Cassandra, Kafka, S3}

// Server is a running server.
type Server struct {
	Name string
	Addr string // host:port for clients

	// Door is there for Kafka and for nodes of a ring.
	Door Door

	proc   *keeper.Process
	answer func(ctx context.Context) error
}

// Door is a way for clients into a server that somebody can stand in. A proxy that
// listens on Front and forwards to Back gets all of a client's traffic that begins
// there: Kafka and Cassandra tell their clients where to connect, and say Front.
type Door struct{ Front, Back string } // host:port

// recipe tells how one kind of server is fetched, configured and recognised.
type recipe struct {
	ports  int                                                 // how many it listens on; the first is for clients
	limit  time.Duration                                       // for the start, on a busy machine
	fetch  func(ctx context.Context) (dir string, err error)   // makes the programs present
	build  func(ctx context.Context, h home) ([]string, error) // writes the configuration, gives the command line
	answer func(ctx context.Context, addr string) error        // nil when the server serves its protocol
}

// home is what a recipe's build may use.
type home struct {
	programs string // directory that fetch returned
	dir      string // the server's own directory, removed at its end
	ports    []int
	member   *member // a node's place in a ring; nil: it is alone
}

var recipes = map[string]recipe{
	Cassandra: {ports: 2, limit: 4 * time.Minute, fetch: fetchCassandra, build: buildCassandra, answer: answerCassandra},
	Kafka:     {ports: 4, limit: 2 * time.Minute, fetch: fetchKafka, build: buildKafka, answer: answerKafka},
	S3:        {ports: 1, limit: 30 * time.Second, fetch: fetchS3, build: buildS3, answer: answerS3},
}

// running holds every server that was started: a pipe that only garbage refers
// to would be closed by the collector, and its server killed.
var running struct {
	sync.Mutex
	servers []*Server
}

// Start starts the named server and waits until it answers. The first start on
// a machine downloads the server; ctx bounds that and the start, not the
// server's life.
func Start(ctx context.Context, name string) (*Server, error) {
	r, ok := recipes[name]
	if !ok {
		return nil, fmt.Errorf("start %q: no such server, have %v", name, Names)
	}
	programs, err := r.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	var s *Server
	err = onFreePorts(r.ports, func(ports []int) error {
		s, err = r.start(ctx, name, home{programs: programs, ports: ports})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return s, nil
}

// onFreePorts tries to start what listens on n ports: a free one may be taken by
// somebody else before it does.
func onFreePorts(n int, start func(ports []int) error) error {
	for attempt := 1; ; attempt++ {
		ports, err := freePorts(n)
		if err != nil {
			return err
		}
		if err = start(ports); err == nil || attempt == 3 || !portTaken(err) {
			return err
		}
	}
}

// start starts a server in a fresh directory.
func (r recipe) start(ctx context.Context, name string, h home) (*Server, error) {
	dir, err := os.MkdirTemp("", "afterhours-"+name+"-")
	if err != nil {
		return nil, err
	}
	h.dir = dir
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	argv, err := r.build(ctx, h)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configure: %w", err), os.RemoveAll(dir))
	}
	s := &Server{Name: name, Addr: local(h.ports[0])}
	switch {
	case h.member != nil:
		s.Addr = h.member.at(h.ports[0])
		s.Door = Door{Front: h.member.frontAt(h.ports[0]), Back: s.Addr}
	case name == Kafka:
		s.Door = Door{Front: local(h.ports[2]), Back: local(h.ports[3])}
	}
	s.answer = func(ctx context.Context) error { return r.answer(ctx, s.Addr) }
	if s.proc, err = keeper.Start(dir, argv); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	running.Lock()
	defer running.Unlock()
	running.servers = append(running.servers, s)
	return s, nil
}

func (s *Server) await(ctx context.Context) error {
	return s.proc.Await(ctx, func() error { return s.answer(ctx) })
}

// Kill kills the server as kill -9 does. What it has stored stays.
func (s *Server) Kill() error { return s.proc.Kill() }

// Restart starts the server anew, where it was and with what it had stored, and
// waits until it answers or ctx ends. One that runs is killed. No other method may
// be called meanwhile.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.proc.Restart(); err != nil {
		return err
	}
	if err := s.await(ctx); err != nil {
		return fmt.Errorf("start %s again: %w", s.Name, err)
	}
	return nil
}

// Pause stops the server as SIGSTOP does: its connections stay and nobody answers.
func (s *Server) Pause() error { return s.proc.Signal(syscall.SIGSTOP) }

// Resume has a paused server go on.
func (s *Server) Resume() error { return s.proc.Signal(syscall.SIGCONT) }

// Stop kills the server and removes its directory. What it stored is gone.
// Nobody has to call it: the end of the process does the same.
func (s *Server) Stop() { s.proc.Stop() }

// Answers reports whether the named kind of server answers at addr.
func Answers(ctx context.Context, name, addr string) error {
	return recipes[name].answer(ctx, addr)
}

// Env returns the variables that lead package testenv, in this process or in
// others, to the server.
func (s *Server) Env() []string {
	env := []string{Variable(s.Name) + "=" + s.Addr}
	if s.Name == S3 {
		env = append(env, "AWS_ACCESS_KEY_ID="+S3Access, "AWS_SECRET_ACCESS_KEY="+S3Secret,
			"AWS_SESSION_TOKEN=", "AWS_PROFILE=")
	}
	return env
}

// Variable returns the environment variable that names a server of this kind
// that is running already, as host:port.
func Variable(name string) string { return "AFTERHOURS_TEST_" + strings.ToUpper(name) }
