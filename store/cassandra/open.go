// Package cassandra is the store for production: Apache Cassandra 5, or what
// speaks its protocol.
//
// # URL
//
//	cassandra://[user:password@]host1[:port],host2/keyspace[?dc=dc1&ttl=720h&tls=true]
//
// The port is 9042 unless it is given. The parameters are
//
//	dc   the data centre whose quorum keeps the events; at least one host of the
//	     URL must be in it. Needed when the keyspace is replicated to several.
//	ttl  how long rows live, such as 720h (the default). Index rows, notes and the
//	     feed live twice as long. It must be far longer than the compactor may ever be down.
//	tls  true for TLS with verified certificates, which must hold the servers' IP
//	     addresses. Roots are the system's, or those in the file that the
//	     environment variable SSL_CERT_FILE names.
//
// Data centre, TTL and format are recorded in the keyspace by the process that
// opens it first, and a process whose URL says otherwise refuses to start.
//
// # Schema
//
// The keyspace must exist: how it is replicated is the operator's decision. The
// tables are created by package migrations, whose comments tell what each is for.
//
// # Writes
//
// Writes are acknowledged by a quorum of the replicas in the data centre
// (LOCAL_QUORUM) and never repeated here. Rows carry the write timestamp their
// caller gives, all else one that grows with each call of the process.
package cassandra

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/migrations"
	"github.com/afterhours/afterhours/store"
)

// Store is a keyspace. Its methods may be called by several goroutines at once.
type Store struct {
	session *gocql.Session
	ttl     time.Duration // of rows
	clock   clock

	// Statements that hold a TTL.
	insertRow, insertLane, insertNote, insertPublication string
}

var _ store.Store = (*Store)(nil)

// Open connects to the keyspace that the URL names, brings its schema up to date
// and checks that the URL agrees with what other processes use. It returns when
// ctx ends, or else after about 10 seconds for each host that does not answer.
// log gets what the driver has to say.
func Open(ctx context.Context, rawURL string, log *slog.Logger) (*Store, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	agreed, err := prepare(ctx, t, log)
	if err != nil {
		return nil, fmt.Errorf("open cassandra keyspace %s at %s: %w", t.keyspace, t.addresses(), err)
	}
	session, err := connect(ctx, dataConfig(t, agreed.dc, agreed.protocol, log))
	if err != nil {
		return nil, fmt.Errorf("open cassandra keyspace %s at %s: connect in data centre %s, which a host of the URL must be in: %w",
			t.keyspace, t.addresses(), agreed.dc, err)
	}
	return newStore(session, agreed.ttl), nil
}

func newStore(session *gocql.Session, ttl time.Duration) *Store {
	seconds := int64(ttl / time.Second)
	return &Store{
		session:           session,
		ttl:               ttl,
		insertRow:         fmt.Sprintf(insertRow, seconds),
		insertLane:        fmt.Sprintf(insertLane, seconds, 2*seconds),
		insertNote:        fmt.Sprintf(insertNote, 2*seconds),
		insertPublication: fmt.Sprintf(insertPublication, 2*seconds),
	}
}

// TTL implements [store.Store].
func (s *Store) TTL() time.Duration { return s.ttl }

// Close releases the connections. Calls under way fail.
func (s *Store) Close() error {
	s.session.Close()
	return nil
}

// agreement is what all processes that use a keyspace have in common.
type agreement struct {
	dc       string
	ttl      time.Duration
	protocol int
}

// prepare looks at the cluster, applies migrations and settles the settings.
func prepare(ctx context.Context, t target, log *slog.Logger) (agreement, error) {
	session, err := connectAdmin(ctx, t, log)
	if err != nil {
		return agreement{}, err
	}
	defer session.Close()

	node, err := askNode(ctx, session, t.keyspace)
	if err != nil {
		return agreement{}, err
	}
	// A data centre that cannot be must not be recorded.
	if err := node.checkDC(t.dc); err != nil {
		return agreement{}, err
	}
	all, err := migrations.All()
	if err != nil {
		return agreement{}, err
	}
	if err := migrate(ctx, session, t.keyspace, all, log); err != nil {
		return agreement{}, err
	}
	return settle(ctx, session, t, node)
}

// connectAdmin tells a keyspace that does not exist from servers that do not
// answer; the driver's error does not.
func connectAdmin(ctx context.Context, t target, log *slog.Logger) (*gocql.Session, error) {
	session, err := connect(ctx, adminConfig(t, log))
	if err == nil || ctx.Err() != nil {
		return session, err
	}
	bare := adminConfig(t, log)
	bare.Keyspace = ""
	probe, bareErr := connect(ctx, bare)
	if bareErr != nil {
		return nil, fmt.Errorf("connect: %w", bareErr)
	}
	defer probe.Close()
	node, nodeErr := askNode(ctx, probe, t.keyspace)
	if nodeErr != nil {
		return nil, nodeErr
	}
	if node.replication != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return nil, fmt.Errorf("the keyspace does not exist; create it with as many replicas as you need, such as: "+
		"CREATE KEYSPACE %s WITH replication = {'class': 'NetworkTopologyStrategy', '%s': 3}", quoteName(t.keyspace), node.dc)
}

// quoteName writes a keyspace's name as CQL wants it.
func quoteName(name string) string {
	if name == strings.ToLower(name) {
		return name
	}
	return `"` + name + `"`
}

// node is what a server says about itself and a keyspace.
type node struct {
	dc          string            // its data centre
	protocol    int               // the newest it speaks that we use, 4 or 5
	replication map[string]string // of the keyspace; nil if there is none
}

func askNode(ctx context.Context, session *gocql.Session, keyspace string) (node, error) {
	n := node{protocol: 4}
	var protocol string
	err := session.Query("SELECT data_center, native_protocol_version FROM system.local WHERE key = 'local'").
		Consistency(gocql.One).ScanContext(ctx, &n.dc, &protocol)
	if err != nil {
		return node{}, fmt.Errorf("read system.local: %w", err)
	}
	if protocol == "5" {
		n.protocol = 5
	}
	err = session.Query("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?", keyspace).
		Consistency(gocql.One).ScanContext(ctx, &n.replication)
	if err != nil && err != gocql.ErrNotFound {
		return node{}, fmt.Errorf("read system_schema.keyspaces: %w", err)
	}
	return n, nil
}

// dcs returns the data centres that hold replicas of the keyspace. Only the
// network topology strategy knows of them.
func (n node) dcs() []string {
	if !strings.HasSuffix(n.replication["class"], "NetworkTopologyStrategy") {
		return []string{n.dc}
	}
	dcs := slices.Sorted(maps.Keys(n.replication))
	return slices.DeleteFunc(dcs, func(k string) bool { return k == "class" || n.replication[k] == "0" })
}

// checkDC refuses a data centre without replicas.
func (n node) checkDC(dc string) error {
	if dcs := n.dcs(); dc != "" && !slices.Contains(dcs, dc) {
		return fmt.Errorf("data centre %q holds no replicas of the keyspace; dc in the URL can be: %s", dc, strings.Join(dcs, ", "))
	}
	return nil
}

// clock gives write timestamps in microseconds that grow with each call, also
// when the system's clock is set back: what is written later wins.
type clock struct{ last atomic.Int64 }

func (c *clock) next() int64 {
	for {
		last := c.last.Load()
		now := max(time.Now().UnixMicro(), last+1)
		if c.last.CompareAndSwap(last, now) {
			return now
		}
	}
}
