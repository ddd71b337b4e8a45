package cassandra

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// What an operator may write is read as it is meant.
func TestParseURL(t *testing.T) {
	for raw, want := range map[string]target{
		"cassandra://db/k":                {hosts: []string{"db:9042"}, keyspace: "k"},
		"cassandra://db:19042,db2/Big_1":  {hosts: []string{"db:19042", "db2:9042"}, keyspace: "Big_1"},
		"cassandra://[::1],[fe80::2]:7/k": {hosts: []string{"[::1]:9042", "[fe80::2]:7"}, keyspace: "k"},
		"cassandra://me:p%40ss%2F:x@10.0.0.1/k": {
			hosts: []string{"10.0.0.1:9042"}, keyspace: "k", user: "me", password: "p@ss/:x"},
		"cassandra://db/k?dc=eu-west&ttl=720h&tls=true": {
			hosts: []string{"db:9042"}, keyspace: "k", dc: "eu-west", ttl: 720 * time.Hour, tls: true},
		"cassandra://db/k?tls=false&ttl=87600h": {hosts: []string{"db:9042"}, keyspace: "k", ttl: maxTTL},
	} {
		if got, err := parseURL(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", raw, got, err, want)
		}
	}
}

// What is wrong is named, and every fault at once.
func TestParseURLNamesFaults(t *testing.T) {
	for raw, want := range map[string][]string{
		"kafka://db/k":                        {"cassandra://"},
		"cassandra:/db/k":                     {"cassandra://"},
		"cassandra://db":                      {"keyspace is missing"},
		"cassandra://db/":                     {"keyspace is missing"},
		"cassandra://db/a-b":                  {`keyspace "a-b"`},
		"cassandra://db/a/b":                  {`keyspace "a/b"`},
		"cassandra:///k":                      {`host ""`},
		"cassandra://db,,db2/k":               {`host ""`},
		"cassandra://db:/k":                   {`"" is no port`},
		"cassandra://db:cql/k":                {`"cql" is no port`},
		"cassandra://db:65536/k":              {`"65536" is no port`},
		"cassandra://fe80::1/k":               {`host "fe80::1"`},
		"cassandra://@db/k":                   {"user or password"},
		"cassandra://u:%zz@db/k":              {"user or password"},
		"cassandra://u:a/b@db/k":              {"%2F"},
		"cassandra://u:a?b@db/k":              {"%3F"},
		"cassandra://db/k?dC=x":               {`unknown parameter "dC"`, "dc, tls, ttl"},
		"cassandra://db/k?dc=":                {"dc is empty"},
		"cassandra://db/k?dc=a&dc=b":          {"dc is given twice"},
		"cassandra://db/k?tls=1":              {`tls is "1"`},
		"cassandra://db/k?ttl=30d":            {`ttl: "30d"`, "720h"},
		"cassandra://db/k?ttl=0s":             {"positive number of whole seconds"},
		"cassandra://db/k?ttl=-1h":            {"positive number of whole seconds"},
		"cassandra://db/k?ttl=1500ms":         {"positive number of whole seconds"},
		"cassandra://db/k?ttl=87600h1s":       {"20 years"},
		"cassandra://db/k?a=%":                {"parameters"},
		"cassandra://:80/?x=1&ttl=never&tls=": {`host ":80"`, "keyspace is missing", `parameter "x"`, `"never"`, `tls is ""`},
	} {
		_, err := parseURL(raw)
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want a word on %q", raw, err, part)
			}
		}
	}
}

// FuzzParseURL looks for URLs that are taken though nobody can connect with them,
// and for passwords in messages.
func FuzzParseURL(f *testing.F) {
	f.Add("cassandra://u:secret@db:1,[::1]/k?dc=a&ttl=1h&tls=true")
	f.Add("cassandra://u:secret@/a-b?x=%&ttl=0.5s")
	f.Add("cassandra://:secret@db/k") // no user
	f.Add("cassandra://u:a/:secret@db/k")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parseURL(raw)
		if err != nil {
			if strings.Contains(raw, ":secret@") && strings.Count(raw, "secret") == 1 && strings.Contains(err.Error(), "secret") {
				t.Errorf("the message shows the password: %v", err)
			}
			return
		}
		if len(got.hosts) == 0 || !keyspaceName.MatchString(got.keyspace) || got.port() <= 0 || got.port() > 65535 {
			t.Errorf("took %q as %+v", raw, got)
		}
		if got.ttl < 0 || got.ttl > maxTTL || got.ttl%time.Second != 0 {
			t.Errorf("took %q with ttl %s", raw, got.ttl)
		}
	})
}
