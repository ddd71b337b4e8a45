package kafka

import (
	"reflect"
	"strings"
	"testing"
)

// Every part of a URL means what the package comment says.
func TestURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]config{
		"kafka://b/marks":                      {brokers: []string{"b:9092"}, topic: "marks", partitions: 16},
		"kafka://b1:9093,b2,[::1]:7,[::2]/m.1": {brokers: []string{"b1:9093", "b2:9092", "[::1]:7", "[::2]:9092"}, topic: "m.1", partitions: 16},
		"kafka://b/m?partitions=3&replication=2": {
			brokers: []string{"b:9092"}, topic: "m", partitions: 3, replication: 2,
		},
		"kafka://me:p%40ss,w@b/m?tls=true&sasl=scram-sha-512": {
			brokers: []string{"b:9092"}, topic: "m", partitions: 16, tls: true, sasl: "scram-sha-512", user: "me", password: "p@ss,w",
		},
	} {
		got, err := parseURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", raw, got, want)
		}
	}
}

// What makes no sense is refused, by name, and passwords are not repeated.
func TestBadURLIsRefused(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://b/m":                            "kafka://",
		"kafka://b":                             `topic ""`,
		"kafka://b/a/b":                         `topic "a/b"`,
		"kafka://b/..":                          `topic ".."`,
		"kafka:///m":                            `broker ":9092"`,
		"kafka://b,,c/m":                        `broker ":9092"`,
		"kafka://b:70000/m":                     "70000",
		"kafka://b:1:2/m":                       "b:1:2",
		"kafka://b/m?partition=3":               `"partition"`,
		"kafka://b/m?partitions=0":              `partitions="0"`,
		"kafka://b/m?partitions=2&partitions=3": "twice",
		"kafka://b/m?replication=x":             `replication="x"`,
		"kafka://b/m?tls=maybe":                 `tls="maybe"`,
		"kafka://u:secret@b/m?sasl=oauth":       "scram-sha-512",
		"kafka://u:secret@b/m":                  "sasl",
		"kafka://b/m?sasl=plain":                "USER:PASSWORD",
		"kafka://u:secret%zz@b/m?sasl=plain":    "percent-encoded",
	} {
		_, err := parseURL(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", raw, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", raw, err)
		}
	}
}

// No text makes the parser fail other than by an error, and what it accepts
// names at least one broker and a topic.
func FuzzURL(f *testing.F) {
	f.Add("kafka://u:p@b1:1,b2/topic?tls=true&sasl=plain")
	f.Add("kafka://[::1]/t#x")
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := parseURL(raw); err == nil && (len(c.brokers) == 0 || c.topic == "" || c.partitions < 1) {
			t.Errorf("%q gave %+v", raw, c)
		}
	})
}
