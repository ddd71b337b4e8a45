package cassandra

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/migrations"
)

// A process that migrates holds a lease, so that one that dies locks nobody out
// for long. It is renewed before every statement and outlives the longest that a
// statement and the schema's agreement on it can take.
const (
	leaseTTL  = 2 * (adminTimeout + agreementTimeout)
	leasePoll = 200 * time.Millisecond
)

// migrator applies migrations to a keyspace.
type migrator struct {
	session  *gocql.Session
	keyspace string
	all      []migrations.Migration
	owner    string // of the lease
	log      *slog.Logger
}

// migrate applies what the keyspace does not have of all, in order, and records
// it. Of several processes one applies, the others wait for it. A crash at any
// point leaves statements that were applied and not recorded; they are repeated.
func migrate(ctx context.Context, session *gocql.Session, keyspace string, all []migrations.Migration, log *slog.Logger) error {
	m := &migrator{session: session, keyspace: keyspace, all: all, owner: leaseOwner(), log: log}
	pending, err := m.bootstrap(ctx)
	if err != nil || len(pending) == 0 {
		return err
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	err = m.applyPending(ctx)
	return errors.Join(err, m.unlock(ctx))
}

// leaseOwner names this process for people, and is unique.
func leaseOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d, %s", host, os.Getpid(), afterhours.NewSegment())
}

// bootstrap returns the migrations that are not recorded, and creates the tables
// for records and lease if nobody has. That needs no lease: processes that do it
// at once make the same tables. While they do, a server may list a table that it
// cannot read yet, so an error of the server is an occasion to look again.
func (m *migrator) bootstrap(ctx context.Context) ([]migrations.Migration, error) {
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for deadline := time.Now().Add(agreementTimeout); ; {
		pending, err := m.pending(ctx)
		var fromServer gocql.RequestError
		if !errors.As(err, &fromServer) || fromServer.Code() == gocql.ErrCodeUnauthorized || time.Now().After(deadline) {
			return pending, err
		}
		for _, stmt := range m.all[0].Statements {
			if err := m.exec(ctx, m.all[0], stmt); err != nil {
				return nil, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// pending returns the migrations that are not recorded.
func (m *migrator) pending(ctx context.Context) ([]migrations.Migration, error) {
	applied := map[int]string{}
	type record struct {
		version int
		name    string
	}
	q := m.session.Query("SELECT version, name FROM migrations")
	err := each(ctx, q, "migrations", func(r *record) []any { return []any{&r.version, &r.name} },
		func(r record) error { applied[r.version] = r.name; return nil })
	if err != nil {
		return nil, err
	}
	var pending []migrations.Migration
	for _, known := range m.all {
		if _, ok := applied[known.Version]; !ok {
			pending = append(pending, known)
		}
		delete(applied, known.Version)
	}
	for version, name := range applied {
		return nil, fmt.Errorf("the keyspace has migration %d (%s), which this build does not know: use the build that applied it, or a newer one", version, name)
	}
	return pending, nil
}

// lock takes the lease, waiting for another owner to finish or to expire.
func (m *migrator) lock(ctx context.Context) error {
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	insert := fmt.Sprintf("INSERT INTO settings (name, value) VALUES (?, ?) IF NOT EXISTS USING TTL %d", leaseTTL/time.Second)
	for waiting := false; ; waiting = true {
		holder := map[string]any{}
		applied, err := m.session.Query(insert, settingLease, m.owner).MapScanCASContext(ctx, holder)
		if err != nil {
			return fmt.Errorf("take the lease on migrations: %w", err)
		}
		// An attempt that seemed to fail may have taken it.
		if applied || holder["value"] == m.owner {
			return nil
		}
		if !waiting {
			m.log.Info("waiting for another process to migrate", "keyspace", m.keyspace, "holder", holder["value"])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %v to migrate: %w", holder["value"], context.Cause(ctx))
		}
	}
}

// renew makes the lease last for another statement.
func (m *migrator) renew(ctx context.Context) error {
	update := fmt.Sprintf("UPDATE settings USING TTL %d SET value = ? WHERE name = ? IF value = ?", leaseTTL/time.Second)
	applied, err := m.session.Query(update, m.owner, settingLease, m.owner).MapScanCASContext(ctx, map[string]any{})
	if err == nil && !applied {
		err = errors.New("another process took it; start again")
	}
	if err != nil {
		return fmt.Errorf("renew the lease on migrations: %w", err)
	}
	return nil
}

// unlock gives the lease back, also when ctx has ended.
func (m *migrator) unlock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminTimeout)
	defer cancel()
	_, err := m.session.Query("DELETE FROM settings WHERE name = ? IF value = ?", settingLease, m.owner).
		MapScanCASContext(ctx, map[string]any{})
	if err != nil {
		return fmt.Errorf("give back the lease on migrations, which ends by itself in %s: %w", leaseTTL, err)
	}
	return nil
}

func (m *migrator) applyPending(ctx context.Context) error {
	pending, err := m.pending(ctx) // another process may have been faster
	if err != nil {
		return err
	}
	for _, p := range pending {
		for _, stmt := range p.Statements {
			if err := m.renew(ctx); err != nil {
				return err
			}
			if err := m.exec(ctx, p, stmt); err != nil {
				return err
			}
		}
		if err := m.record(ctx, p); err != nil {
			return err
		}
		m.log.Info("applied migration", "keyspace", m.keyspace, "migration", p.Name)
	}
	return nil
}

// exec runs one statement and waits until every server has the new schema: a
// statement that is sent to another one builds on it.
func (m *migrator) exec(ctx context.Context, of migrations.Migration, stmt string) error {
	stmt = withTableID(m.keyspace, stmt)
	if err := m.session.Query(stmt).ExecContext(ctx); err != nil {
		return fmt.Errorf("apply migration %s: %w", of.Name, err)
	}
	if err := m.session.AwaitSchemaAgreement(ctx); err != nil {
		return fmt.Errorf("apply migration %s: wait until the servers agree on the schema: %w", of.Name, err)
	}
	return nil
}

func (m *migrator) record(ctx context.Context, p migrations.Migration) error {
	_, err := m.session.Query("INSERT INTO migrations (version, name, applied_at) VALUES (?, ?, ?) IF NOT EXISTS", p.Version, p.Name, time.Now()).
		MapScanCASContext(ctx, map[string]any{})
	if err != nil {
		return fmt.Errorf("record migration %s: %w", p.Name, err)
	}
	return nil
}

var createTable = regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS ([a-z_]+)`)

// withTableID puts the table's identifier into a statement that creates one.
// Without it every server makes up its own, and tables of one name that two
// servers create at once never become one. It depends on the keyspace as well,
// because a cluster has each identifier only once.
func withTableID(keyspace, stmt string) string {
	name := createTable.FindStringSubmatch(stmt)
	if name == nil {
		return stmt
	}
	sum := sha256.Sum256([]byte("afterhours\x00" + keyspace + "\x00" + name[1]))
	var id gocql.UUID
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80 // version 8: made by a rule of our own
	id[8] = id[8]&0x3f | 0x80
	return strings.Replace(stmt, "TABLE_ID", id.String(), 1)
}
