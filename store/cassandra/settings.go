package cassandra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// Names of settings.
const (
	settingTTL    = "raw_ttl"
	settingDC     = "data_centre"
	settingFormat = "format"
	settingLease  = "migrating"
)

// format is how rows are stored: the keys, and that the value is what
// store.AppendEvent makes.
const format = "1"

// settle records what nobody has recorded yet and refuses what differs.
func settle(ctx context.Context, session *gocql.Session, t target, n node) (agreement, error) {
	a := agreement{protocol: n.protocol}
	recorded, err := setting(ctx, session, settingFormat, format)
	if err != nil {
		return a, err
	}
	if recorded != format {
		return a, fmt.Errorf("rows are stored in format %s and this build knows only %s: use the build that the other processes use", recorded, format)
	}
	if a.dc, err = settleDC(ctx, session, t, n); err != nil {
		return a, err
	}
	a.ttl, err = settleTTL(ctx, session, t)
	return a, err
}

// settleDC returns the data centre that keeps the events. Without a word from
// anybody it is the only one there is; which of several is not for us to guess.
func settleDC(ctx context.Context, session *gocql.Session, t target, n node) (string, error) {
	propose, dcs := t.dc, n.dcs()
	if propose == "" && len(dcs) == 1 {
		propose = dcs[0]
	}
	recorded, err := setting(ctx, session, settingDC, propose)
	switch {
	case err != nil:
		return "", err
	case recorded == "":
		return "", fmt.Errorf("the keyspace has replicas in %s: say with dc=… in the URL which of them keeps the events", strings.Join(dcs, ", "))
	case t.dc != "" && t.dc != recorded:
		return "", fmt.Errorf("the URL says dc=%s, but the data centre in use is %s, and a quorum of one may miss what the other has: "+
			"use dc=%[2]s, or to move, stop every process, repair the keyspace in full and run: %[3]s",
			t.dc, recorded, updateStatement(t.keyspace, settingDC, t.dc))
	}
	return recorded, n.checkDC(recorded)
}

func settleTTL(ctx context.Context, session *gocql.Session, t target) (time.Duration, error) {
	propose := t.ttl
	if propose == 0 {
		propose = DefaultTTL
	}
	text, err := setting(ctx, session, settingTTL, propose.String())
	if err != nil {
		return 0, err
	}
	recorded, err := parseTTL(text)
	if err != nil {
		return 0, fmt.Errorf("setting %s: %w", settingTTL, err)
	}
	if t.ttl != 0 && t.ttl != recorded {
		return 0, fmt.Errorf("the URL says ttl=%s, but the TTL in use is %s: use ttl=%[2]s, or to change it for new rows, stop every process and run: %[3]s",
			t.ttl, recorded, updateStatement(t.keyspace, settingTTL, t.ttl.String()))
	}
	return recorded, nil
}

// updateStatement is what an operator runs to change a setting. It is conditional
// because the settings are written by transactions, which other writes may lose
// against.
func updateStatement(keyspace, name, value string) string {
	return fmt.Sprintf("UPDATE %s.settings SET value = '%s' WHERE name = '%s' IF EXISTS", quoteName(keyspace), value, name)
}

// setting returns a setting. If there is none it records the proposed value, and
// returns the one that won; an empty proposal is not recorded.
func setting(ctx context.Context, session *gocql.Session, name, propose string) (string, error) {
	var value string
	err := session.Query("SELECT value FROM settings WHERE name = ?", name).ScanContext(ctx, &value)
	if err == nil || !errors.Is(err, gocql.ErrNotFound) {
		return value, wrapSetting("read", name, err)
	}
	if propose == "" {
		return "", nil
	}
	existing := map[string]any{}
	applied, err := session.Query("INSERT INTO settings (name, value) VALUES (?, ?) IF NOT EXISTS", name, propose).
		MapScanCASContext(ctx, existing)
	if err != nil || applied {
		return propose, wrapSetting("record", name, err)
	}
	value, ok := existing["value"].(string)
	if !ok {
		return "", fmt.Errorf("record setting %s: the existing row has no value", name)
	}
	return value, nil
}

func wrapSetting(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s setting %s: %w", verb, name, err)
}
