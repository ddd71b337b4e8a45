package cassandra

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// Times the driver waits. Servers give up first: at 2 s for writes and 10 s for
// ranges unless they are configured otherwise.
const (
	requestTimeout = 12 * time.Second
	adminTimeout   = 30 * time.Second // for changes of the schema
	connectTimeout = 5 * time.Second

	// reconnectEvery is how often servers that are down are tried again.
	reconnectEvery = 5 * time.Second

	agreementTimeout = 30 * time.Second
)

// adminConfig describes the session that looks at the cluster, applies migrations
// and settles the settings. It goes through the hosts of the URL, whatever data
// centre they are in. Its transactions are serial over all data centres, because
// the processes have not agreed on one yet.
func adminConfig(t target, log *slog.Logger) *gocql.ClusterConfig {
	c := baseConfig(t)
	c.ProtoVersion = 4 // spoken by every server
	c.DisableSkipMetadata = true
	c.Timeout = adminTimeout
	c.WriteTimeout = adminTimeout
	c.NumConns = 1
	c.SerialConsistency = gocql.Serial
	c.DisableInitialHostLookup = true
	c.Events.DisableNodeStatusEvents = true
	c.Events.DisableTopologyEvents = true
	c.Events.DisableSchemaEvents = true
	c.Metadata.CacheMode = gocql.Disabled
	// What goes wrong here is returned.
	c.Logger = driverLog{log: log, severe: slog.LevelDebug}
	return c
}

// dataConfig describes the session of a store. Every silent default that matters
// is set.
func dataConfig(t target, dc string, protocol int, log *slog.Logger) *gocql.ClusterConfig {
	c := baseConfig(t)
	c.ProtoVersion = protocol
	// Before protocol 5 a server cannot tell that the columns of a prepared
	// statement changed, and their bytes were taken for one another.
	c.DisableSkipMetadata = protocol < 5
	c.Timeout = requestTimeout
	c.WriteTimeout = requestTimeout
	c.NumConns = 2
	// To wait for company would quadruple the time of a request that is alone, and
	// batches are large enough without it.
	c.WriteCoalesceWaitTime = 0
	c.SerialConsistency = gocql.LocalSerial
	// The filter, since the policy alone falls back to other data centres: there
	// LOCAL_QUORUM would be a quorum of theirs, and an acknowledgement no promise.
	c.HostFilter = gocql.DataCenterHostFilter(dc)
	c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(
		gocql.DCAwareRoundRobinPolicy(dc), gocql.ShuffleReplicas())
	c.Metadata.CacheMode = gocql.KeyspaceOnly
	c.Logger = driverLog{log: log, severe: slog.LevelWarn}
	return c
}

func baseConfig(t target) *gocql.ClusterConfig {
	c := gocql.NewCluster(t.hosts...)
	c.Port = t.port() // of servers that older ones tell of without a port
	c.Keyspace = t.keyspace
	c.Consistency = gocql.LocalQuorum
	c.ConnectTimeout = connectTimeout
	c.ReconnectInterval = reconnectEvery
	c.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 3, Interval: time.Second}
	c.MaxWaitSchemaAgreement = agreementTimeout
	c.RetryPolicy = nil
	c.DefaultIdempotence = false
	c.DefaultTimestamp = true
	if t.user != "" {
		c.Authenticator = gocql.PasswordAuthenticator{Username: t.user, Password: t.password}
	}
	if t.tls {
		c.SslOpts = &gocql.SslOptions{
			Config:                 &tls.Config{MinVersion: tls.VersionTLS12},
			EnableHostVerification: true,
		}
	}
	return c
}

// connect creates a session. The driver knows no context for that, so one that
// comes too late is closed.
func connect(ctx context.Context, c *gocql.ClusterConfig) (*gocql.Session, error) {
	type result struct {
		session *gocql.Session
		err     error
	}
	done := make(chan result)
	go func() {
		s, err := c.CreateSession()
		select {
		case done <- result{s, err}:
		case <-ctx.Done():
			if err == nil {
				s.Close()
			}
		}
	}()
	select {
	case r := <-done:
		return r.session, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
