package servers

import (
	"context"
	_ "embed"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const cassandraVersion = "5.0.5"

//go:embed cassandra/pom.xml
var cassandraPOM []byte

//go:embed cassandra/cassandra.yaml
var cassandraYAML string

//go:embed cassandra/logback.xml
var cassandraLogback []byte

//go:embed cassandra/jvm17.options
var cassandraOptions string

func fetchCassandra(ctx context.Context) (string, error) {
	return fetchJars(ctx, Cassandra+"-"+cassandraVersion, cassandraPOM)
}

// buildCassandra configures a node: a ring of its own, or a member of one.
func buildCassandra(ctx context.Context, h home) ([]string, error) {
	java, err := java(ctx)
	if err != nil {
		return nil, err
	}
	jamm, err := filepath.Glob(filepath.Join(h.programs, "jamm-*.jar"))
	if err != nil || len(jamm) != 1 {
		return nil, errors.New("no single jamm jar in " + h.programs)
	}
	fill, options := alone, []string(nil)
	if h.member != nil {
		fill, options = h.member.settings(), memberOptions
	}
	fill = append(fill, "NATIVE_PORT", port(h, 0), "STORAGE_PORT", port(h, 1))
	if err := writeFiles(h.dir, map[string]string{
		"cassandra.yaml":              strings.NewReplacer(fill...).Replace(cassandraYAML),
		"cassandra-rackdc.properties": "dc=dc1\nrack=rack1\n",
		"logback.xml":                 string(cassandraLogback),
	}); err != nil {
		return nil, err
	}
	argv := append([]string{java, "-javaagent:" + jamm[0]}, jvm(h)...)
	argv = append(append(argv, strings.Fields(cassandraOptions)...), options...)
	return append(argv,
		"-Dcassandra.config=file://"+filepath.Join(h.dir, "cassandra.yaml"),
		"-Dcassandra.storagedir="+filepath.Join(h.dir, "data"),
		"-Dlogback.configurationFile="+filepath.Join(h.dir, "logback.xml"),
		"-cp", h.dir+":"+filepath.Join(h.programs, "*"),
		"org.apache.cassandra.service.CassandraDaemon"), nil
}

// alone fills in the configuration of a node that is a ring of its own.
var alone = []string{
	"ADDRESS", "127.0.0.1", "FRONT", "127.0.0.1", "SEED", "127.0.0.1",
	"MEMTABLE_HEAP", "256MiB", "MEMTABLE_OFFHEAP", "512MiB",
	"COMMITLOG_SYNC", "commitlog_sync: periodic\ncommitlog_sync_period: 10s",
}

// jvm returns the options every Java server gets: die rather than limp when the
// heap is full, and leave nothing outside the server's directory.
func jvm(h home) []string {
	return []string{
		"-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData",
		"-Djava.net.preferIPv4Stack=true", "-Djava.io.tmpdir=" + h.dir,
	}
}

// answerCassandra sends an OPTIONS request of the native protocol, version 4,
// and wants SUPPORTED back: an open port alone could be somebody else's.
func answerCassandra(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{0x04, 0, 0, 0, 0x05, 0, 0, 0, 0}); err != nil {
		return err
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	if head[0] != 0x84 || head[4] != 0x06 {
		return errors.New("something else than Cassandra answers at " + addr)
	}
	return nil
}

// writeFiles writes files into dir.
func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
