package testenv

import (
	"testing"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

var kafka = shared(servers.Kafka)

// Kafka returns the address (host:port) of a Kafka 4.1 of one node, which it
// starts if this is the first call. Topics are never created by themselves; the
// log cleaner looks for work twice a second.
func Kafka(tb testing.TB) string {
	tb.Helper()
	return kafka.get(tb)
}

// Topic returns a topic name that no other test has, with name in it for those
// who read logs. It creates nothing.
func Topic(tb testing.TB, name string) string {
	tb.Helper()
	return unique(name, '-', 100)
}
