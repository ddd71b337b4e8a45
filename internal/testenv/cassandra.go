package testenv

import (
	"fmt"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

var cassandra = shared(servers.Cassandra)

// Cassandra returns the address (host:port of the native protocol) of a
// Cassandra 5.0 of one node in data centre dc1, which it starts if this is the
// first call.
func Cassandra(tb testing.TB) string {
	tb.Helper()
	return cassandra.get(tb)
}

// Keyspace creates an empty keyspace (data centre dc1, one replica) for the test
// and returns its URL, cassandra://HOST:PORT/KEYSPACE. The keyspace is dropped
// when the test ends.
func Keyspace(tb testing.TB) string {
	tb.Helper()
	addr := Cassandra(tb)
	name := unique(tb.Name(), '_', 48)
	create := "CREATE KEYSPACE " + name + " WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}"
	if err := execCQL(addr, create); err != nil {
		tb.Fatalf("testenv: create keyspace: %v", err)
	}
	tb.Cleanup(func() {
		// Best effort: a test may have killed or paused the server.
		if err := execCQL(addr, "DROP KEYSPACE IF EXISTS "+name); err != nil {
			tb.Logf("testenv: drop keyspace: %v", err)
		}
	})
	return fmt.Sprintf("cassandra://%s/%s", addr, name)
}

// execCQL runs one statement in a session of its own, so that none outlives the
// test.
func execCQL(addr, stmt string) error {
	c := gocql.NewCluster(addr)
	c.Timeout = 30 * time.Second // for schema changes on a busy machine
	c.ConnectTimeout = 10 * time.Second
	c.NumConns = 1
	c.ProtoVersion = 4
	c.DisableInitialHostLookup = true
	session, err := c.CreateSession()
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Query(stmt).Exec()
}
