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
// A server runs under a keeper, a shell of five lines that waits for the end of
// a pipe held by this process. However this process ends, also by kill -9, the
// kernel closes the pipe; the keeper then kills the server and removes its
// directory. Nothing has to be called for it.
//
// # Memory
//
// Cassandra has a heap of 2 GiB and about 1 GiB beside it, Kafka a heap of
// 512 MiB, versitygw about 50 MiB.
package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
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

	proc *process
}

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
}

var recipes = map[string]recipe{
	Cassandra: {ports: 2, limit: 2 * time.Minute, fetch: fetchCassandra, build: buildCassandra, answer: answerCassandra},
	Kafka:     {ports: 2, limit: time.Minute, fetch: fetchKafka, build: buildKafka, answer: answerKafka},
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
	// A free port may be taken by somebody else before the server binds it.
	for range 3 {
		var s *Server
		if s, err = r.start(ctx, name, programs); err == nil {
			running.Lock()
			running.servers = append(running.servers, s)
			running.Unlock()
			return s, nil
		}
		if !portTaken(err) {
			break
		}
	}
	return nil, fmt.Errorf("start %s: %w", name, err)
}

// start is one attempt on fresh ports in a fresh directory.
func (r recipe) start(ctx context.Context, name, programs string) (*Server, error) {
	ports, err := freePorts(r.ports)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "afterhours-"+name+"-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	argv, err := r.build(ctx, home{programs: programs, dir: dir, ports: ports})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configure: %w", err), os.RemoveAll(dir))
	}
	proc, err := startProcess(dir, argv)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Server{Name: name, Addr: local(ports[0]), proc: proc}
	if err := proc.await(ctx, func() error { return r.answer(ctx, s.Addr) }); err != nil {
		proc.stop()
		return nil, err
	}
	return s, nil
}

// Stop kills the server and removes its directory. What it stored is gone.
// Nobody has to call it: the end of the process does the same.
func (s *Server) Stop() { s.proc.stop() }

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
