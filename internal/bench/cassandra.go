package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/store/cassandra"
)

// cluster is a keyspace on a Cassandra server.
type cluster struct {
	host     string // HOST:PORT
	keyspace string
}

// clusterOf reads what url returns.
func clusterOf(url string) cluster {
	host, keyspace, _ := strings.Cut(strings.TrimPrefix(url, "cassandra://"), "/")
	return cluster{host, keyspace}
}

func (c cluster) url() string { return "cassandra://" + c.host + "/" + c.keyspace }

func (c cluster) open(ctx context.Context) (*cassandra.Store, error) {
	return cassandra.Open(ctx, c.url(), quiet)
}

// create makes the keyspace.
func (c cluster) create(ctx context.Context) error {
	return c.admin(ctx, "CREATE KEYSPACE "+c.keyspace+" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
}

// drop removes the keyspace.
func (c cluster) drop(ctx context.Context) error {
	return c.admin(context.WithoutCancel(ctx), "DROP KEYSPACE IF EXISTS "+c.keyspace)
}

func (c cluster) admin(ctx context.Context, statement string) error {
	s, err := cluster{host: c.host}.session()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Query(statement).ExecContext(ctx)
}

// session is a bare driver session with the settings a careful user would give.
func (c cluster) session() (*gocql.Session, error) {
	cfg := gocql.NewCluster(c.host)
	cfg.Keyspace, cfg.Consistency, cfg.Timeout = c.keyspace, gocql.LocalQuorum, time.Minute
	cfg.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy())
	s, err := cfg.CreateSession()
	if err != nil {
		return nil, fmt.Errorf("connect to Cassandra at %s: %w", c.host, err)
	}
	return s, nil
}
