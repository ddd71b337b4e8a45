package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours/internal/testenv/proxy"
	"github.com/afterhours/afterhours/internal/testenv/servers"
)

// Names of what the soak works with.
const (
	keyspace    = "soak"
	lakeBucket  = "soak"
	sourceTopic = "soak-events"
	dirtyTopic  = "soak-dirty"
	ingestGroup = "soak-ingest"

	// sourcePartitions is how many parts the events' topic has.
	sourcePartitions = 4
)

// world is the servers, and the doors that all traffic of the commands goes through.
type world struct {
	nodes     []*servers.Server
	kafka, s3 *servers.Server

	nodeDoors         []*proxy.Proxy
	kafkaDoor, s3Door *proxy.Proxy

	bucket *bucket
	broker *kgo.Client // not by a door
	admin  *kadm.Client
}

// startWorld starts the servers, and returns when they can be used. What was
// started is closed by close, also after an error.
func startWorld(ctx context.Context, nodes int) (w *world, err error) {
	w = &world{}
	g, starting := errgroup.WithContext(ctx)
	g.Go(func() (err error) { w.nodes, err = servers.StartRing(starting, nodes); return err })
	g.Go(func() (err error) { w.kafka, err = servers.Start(starting, servers.Kafka); return err })
	g.Go(func() (err error) { w.s3, err = servers.Start(starting, servers.S3); return err })
	if err := g.Wait(); err != nil {
		return w, err
	}
	if err := w.openDoors(); err != nil {
		return w, err
	}
	return w, errors.Join(w.prepareRing(ctx), w.prepareKafka(ctx), w.prepareLake(ctx))
}

func (w *world) openDoors() (err error) {
	for _, n := range w.nodes {
		door, err := proxy.Listen(n.Door.Front, n.Door.Back)
		if err != nil {
			return err
		}
		w.nodeDoors = append(w.nodeDoors, door)
	}
	if w.kafkaDoor, err = proxy.Listen(w.kafka.Door.Front, w.kafka.Door.Back); err != nil {
		return err
	}
	w.s3Door, err = proxy.Listen("127.0.0.1:0", w.s3.Addr)
	return err
}

func (w *world) close() {
	if w.broker != nil {
		w.broker.Close()
	}
	for _, p := range append(w.nodeDoors, w.kafkaDoor, w.s3Door) {
		if p != nil {
			_ = p.Close() // nobody needs it any more
		}
	}
	for _, s := range append(w.nodes, w.kafka, w.s3) {
		if s != nil {
			s.Stop()
		}
	}
}

// ringLimit is how long nodes may take to know of each other, on a busy machine.
const ringLimit = 10 * time.Minute

// prepareRing creates the keyspace, with a replica on every node.
func (w *world) prepareRing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ringLimit)
	defer cancel()
	for _, name := range []string{keyspace, "probe"} {
		stmt := fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': %d}", name, len(w.nodes))
		if err := until(ctx, func() error { return cql(ctx, w.nodes[0].Addr, stmt) }); err != nil {
			return fmt.Errorf("create keyspace %s: %w", name, err)
		}
	}
	table := "CREATE TABLE IF NOT EXISTS probe.t (k int PRIMARY KEY)"
	if err := until(ctx, func() error { return cql(ctx, w.nodes[0].Addr, table) }); err != nil {
		return err
	}
	return w.ringReady(ctx)
}

// ringReady waits until every node answers for all replicas, and so knows that
// the others are up.
func (w *world) ringReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ringLimit)
	defer cancel()
	for _, n := range w.nodes {
		if err := until(ctx, func() error { return cql(ctx, n.Addr, "SELECT k FROM probe.t WHERE k = 1") }); err != nil {
			return fmt.Errorf("node %s does not see all the others: %w", n.Addr, err)
		}
	}
	return nil
}

// cql runs a statement on one node, in a session of its own, for all replicas.
func cql(ctx context.Context, addr, stmt string) error {
	c := gocql.NewCluster(addr)
	c.Timeout, c.ConnectTimeout = 20*time.Second, 5*time.Second
	c.NumConns, c.ProtoVersion = 1, 4
	c.DisableInitialHostLookup = true
	c.Consistency = gocql.All
	c.Logger = nopLogger{}
	session, err := c.CreateSession()
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Query(stmt).ExecContext(ctx)
}

// until tries again and again until ctx ends.
func until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		pause(ctx, 500*time.Millisecond)
		if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

func (w *world) prepareKafka(ctx context.Context) (err error) {
	w.broker, err = kgo.NewClient(
		kgo.SeedBrokers(w.kafka.Addr),
		kgo.DefaultProduceTopic(sourceTopic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(20_000),
		kgo.RetryTimeout(5*time.Second), // of questions; what is produced is tried until it is there
	)
	if err != nil {
		return err
	}
	w.admin = kadm.NewClient(w.broker)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return until(ctx, func() error {
		_, err := w.admin.CreateTopic(ctx, sourcePartitions, 1, nil, sourceTopic)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			return nil // by an attempt whose answer was lost
		}
		return err
	})
}

func (w *world) prepareLake(ctx context.Context) error {
	w.bucket = openBucket(w.s3.Addr, lakeBucket)
	_, err := w.bucket.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &w.bucket.name})
	return err
}

// flags are those of every command.
func (w *world) flags(ttl time.Duration) []string {
	var hosts []string
	for _, n := range w.nodes {
		hosts = append(hosts, n.Door.Front)
	}
	store := "cassandra://" + strings.Join(hosts, ",") + "/" + keyspace
	if ttl > 0 {
		store += "?ttl=" + ttl.String()
	}
	q := url.Values{"endpoint": {"http://" + w.s3Door.Addr()}, "region": {servers.S3Region}, "use_path_style": {"true"}}
	return []string{
		"--store", store,
		"--dirty", "kafka://" + w.kafka.Door.Front + "/" + dirtyTopic + "?partitions=8",
		"--lake", "s3://" + lakeBucket + "?" + q.Encode(),
	}
}

// credentials are what the commands need to know.
func credentials() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + servers.S3Access, "AWS_SECRET_ACCESS_KEY=" + servers.S3Secret, "AWS_SESSION_TOKEN=", "AWS_PROFILE="}
}

// nopLogger keeps the driver silent: that nodes are down is what we do.
type nopLogger struct{}

func (nopLogger) Error(string, ...gocql.LogField)   {}
func (nopLogger) Warning(string, ...gocql.LogField) {}
func (nopLogger) Info(string, ...gocql.LogField)    {}
func (nopLogger) Debug(string, ...gocql.LogField)   {}
