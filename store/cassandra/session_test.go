package cassandra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours/internal/testenv"
)

var quiet = slog.New(slog.DiscardHandler)

// Nothing that decides what an acknowledgement is worth is left to the driver's
// defaults.
func TestSessionDefaults(t *testing.T) {
	c := dataConfig(target{hosts: []string{"db:19042"}, keyspace: "k"}, "dc1", 5, quiet)
	for what, pair := range map[string][2]any{
		"consistency":        {c.Consistency, gocql.LocalQuorum},
		"serial consistency": {c.SerialConsistency, gocql.LocalSerial},
		"retry policy":       {c.RetryPolicy, nil},
		"idempotence":        {c.DefaultIdempotence, false},
		"timestamps":         {c.DefaultTimestamp, true},
		"protocol":           {c.ProtoVersion, 5},
		"port":               {c.Port, 19042},
		"connections":        {c.NumConns, 2},
		"request timeout":    {c.Timeout, requestTimeout},
		"write timeout":      {c.WriteTimeout, requestTimeout},
		"coalescing":         {c.WriteCoalesceWaitTime, time.Duration(0)},
		"connect timeout":    {c.ConnectTimeout, connectTimeout},
		"skipping metadata":  {c.DisableSkipMetadata, false},
		"host policy":        {fmt.Sprintf("%T", c.PoolConfig.HostSelectionPolicy), "*gocql.tokenAwareHostPolicy"},
		"authentication":     {c.Authenticator, nil},
		"TLS":                {c.SslOpts == nil, true},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", what, pair[0], pair[1])
		}
	}
	if !dataConfig(target{hosts: []string{"db:1"}}, "dc1", 4, quiet).DisableSkipMetadata {
		t.Error("protocol 4 skips the metadata of results")
	}
	if a := adminConfig(target{hosts: []string{"db:1"}}, quiet); a.SerialConsistency != gocql.Serial || a.Consistency != gocql.LocalQuorum {
		t.Errorf("before a data centre is agreed on: %s, %s", a.Consistency, a.SerialConsistency)
	}
}

// A user and TLS are passed on, and certificates are verified.
func TestSessionSecurity(t *testing.T) {
	c := dataConfig(target{hosts: []string{"db:1"}, user: "me", password: "secret", tls: true}, "dc1", 5, quiet)
	auth, ok := c.Authenticator.(gocql.PasswordAuthenticator)
	if !ok || auth.Username != "me" || auth.Password != "secret" {
		t.Errorf("authentication: %T", c.Authenticator)
	}
	if c.SslOpts == nil || c.SslOpts.InsecureSkipVerify || !c.SslOpts.EnableHostVerification {
		t.Errorf("TLS: %+v", c.SslOpts)
	}
}

// Hosts of another data centre are never used, not even when all others are
// down: their LOCAL_QUORUM would be another one.
func TestOtherDataCentresAreFiltered(t *testing.T) {
	c := dataConfig(target{hosts: []string{"db:1"}}, "dc1", 5, quiet)
	for dc, want := range map[string]bool{"dc1": true, "dc2": false} {
		ip := net.ParseIP("10.0.0.1")
		host, err := gocql.NewTestHostInfoFromRow(map[string]any{
			"broadcast_address": ip, "rpc_address": ip, "peer": ip, "data_center": dc, "host_id": gocql.MustRandomUUID(), "release_version": "5.0.5",
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.HostFilter.Accept(host); got != want {
			t.Errorf("a host in %s is used: %v", dc, got)
		}
	}
}

// Rows are routed by their Cassandra partition, when written and when read.
func TestStatementsAreRouted(t *testing.T) {
	s := open(t, testenv.Keyspace(t))
	for _, stmt := range []string{s.insertRow, s.insertLane, selectRows} {
		meta, err := s.session.StatementMetadata(t.Context(), stmt, "")
		if err != nil {
			t.Fatal(err)
		}
		want := []int{0, 1, 2}
		if meta.Table == "segments" {
			want = want[:2]
		}
		if !slices.Equal(meta.PKBindColumnIndexes, want) {
			t.Errorf("%s: routed by the values %v, want %v", stmt, meta.PKBindColumnIndexes, want)
		}
	}
}

// Only data centres with replicas can keep events; a strategy that knows no data
// centres goes with that of the server.
func TestDataCentresOfReplication(t *testing.T) {
	for _, c := range []struct {
		replication map[string]string
		want        string
	}{
		{map[string]string{"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "3"}, "here"},
		{map[string]string{"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "b": "3", "a": "2", "c": "0"}, "a b"},
		{map[string]string{"class": "NetworkTopologyStrategy", "a": "2"}, "a"},
	} {
		if got := strings.Join(node{dc: "here", replication: c.replication}.dcs(), " "); got != c.want {
			t.Errorf("%v: %s, want %s", c.replication, got, c.want)
		}
	}
}

// Opening ends with its context, also while a server that accepted the
// connection says nothing.
func TestOpenEndsWithContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err = Open(ctx, "cassandra://"+l.Addr().String()+"/k", quiet)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > connectTimeout {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}

// The driver's warnings are ours, what it calls information is for debugging.
func TestDriverLog(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l := driverLog{log: log, severe: slog.LevelWarn}
	l.Debug("one")
	l.Info("two")
	l.Warning("three", gocql.NewLogFieldInt("n", 3), gocql.NewLogFieldString("s", "x"))
	l.Error("four", gocql.NewLogFieldBool("b", true))
	got := out.String()
	for _, want := range []string{`level=WARN msg="cassandra driver: three" n=3 s=x`, `level=WARN msg="cassandra driver: four" b=true`} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s in:\n%s", want, got)
		}
	}
	if strings.Count(got, "\n") != 2 {
		t.Errorf("want two lines:\n%s", got)
	}
}
