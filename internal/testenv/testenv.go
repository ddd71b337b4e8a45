// Package testenv gives tests real servers, without containers: [Cassandra],
// [Kafka] and the S3 gateway versitygw as processes of their own, and a fake of
// Google Cloud Storage inside this process, mended where the fake does not
// honour conditions.
//
//	func TestStore(t *testing.T) {
//		store, err := cassandra.Open(t.Context(), testenv.Keyspace(t))
//
// A server is started when the first test of a process asks for it, shared by
// all tests of the process, and ended with the process, however that ends. Tests
// stay apart by keyspaces, topics and buckets of their own; they may run in
// parallel. A keyspace with six tables costs about half a second to make and
// drop. A server that cannot be had fails the test: nothing is skipped.
//
// # Sharing between packages
//
// When AFTERHOURS_TEST_CASSANDRA, AFTERHOURS_TEST_KAFKA or AFTERHOURS_TEST_S3
// holds a host:port, that server is used. The command testservers starts a set,
// sets them and runs go test:
//
//	go run ./internal/testenv/cmd/testservers -- go test ./...
//
// # Needs
//
// Java 17 or newer for Cassandra and Kafka, and once mvn and the go command to
// fetch the servers into the user's cache. Cassandra takes 3 GiB of memory and
// starts in about 7 seconds on two cores, Kafka 0.5 GiB and 5 seconds.
//
// Processes leave no goroutine in the test. The fake of Google Cloud Storage
// does, once it is started, and so does its library as soon as it is imported:
// leak tests ignore go.opencensus.io/stats/view.(*worker).start.
package testenv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

// server is one server shared by the tests of this process.
type server struct {
	addr func() (string, error)
}

func shared(name string) server {
	return server{addr: sync.OnceValues(func() (string, error) { return find(name) })}
}

// find returns the address of the server that the environment names, or of one
// that it starts. The first start on a machine downloads, hence the long limit.
func find(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if addr := os.Getenv(servers.Variable(name)); addr != "" {
		if err := servers.Answers(ctx, name, addr); err != nil {
			return "", fmt.Errorf("%s=%s: %w", servers.Variable(name), addr, err)
		}
		return addr, nil
	}
	s, err := servers.Start(ctx, name)
	if err != nil {
		return "", err
	}
	return s.Addr, setenv(s.Env())
}

func setenv(env []string) error {
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	return nil
}

// get returns the server's address or ends the test.
func (s server) get(tb testing.TB) string {
	tb.Helper()
	addr, err := s.addr()
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	return addr
}

// unique makes a name of at most limit bytes from a letter, then lower-case
// letters, digits and sep, out of a readable part and 32 random bits.
func unique(readable string, sep byte, limit int) string {
	var b [4]byte
	rand.Read(b[:])
	suffix := string(sep) + hex.EncodeToString(b[:])
	out := []byte("t")
	for _, c := range []byte(strings.TrimPrefix(strings.ToLower(readable), "t")) {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			out = append(out, c)
		} else if out[len(out)-1] != sep {
			out = append(out, sep)
		}
	}
	out = out[:min(len(out), limit-len(suffix))]
	return strings.TrimRight(string(out), string(sep)) + suffix
}
