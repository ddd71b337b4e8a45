package migrations

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Every table of a file has an identifier that all servers agree on, a word on
// what it is for, and can be created twice.
func TestAll(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for _, stmt := range m.Statements {
			if !strings.HasPrefix(stmt, "CREATE TABLE ") {
				continue
			}
			for _, want := range []string{"CREATE TABLE IF NOT EXISTS ", "id = TABLE_ID", "comment = '"} {
				if strings.Count(stmt, want) != 1 {
					t.Errorf("%s: want %q once in:\n%s", m.Name, want, stmt)
				}
			}
		}
	}
}

// Comments and line ends are no part of statements; semicolons within a line are.
func TestSplit(t *testing.T) {
	got, err := split("-- a; comment;\r\nONE\r\n  -- within;\n  'x; y' -- kept\n  two;  \n\nTHREE;\n-- end\n")
	want := []string{"ONE\n  'x; y' -- kept\n  two", "THREE"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("split: %q, %v; want %q", got, err, want)
	}
}

// A set of files that cannot be applied in order is refused.
func TestReadRefuses(t *testing.T) {
	for want, names := range map[string][]string{
		"number 2 is missing": {"0001_a.cql", "0003_b.cql"},
		"number 1 is missing": {"0000_a.cql"},
		"taken twice":         {"0001_a.cql", "0001_b.cql"},
		"not like":            {"1_a.cql"},
	} {
		dir := fstest.MapFS{}
		for _, name := range names {
			dir[name] = &fstest.MapFile{Data: []byte("X;")}
		}
		if _, err := read(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want a word on %q", names, err, want)
		}
	}
	dir := fstest.MapFS{"0001_a.cql": {Data: []byte("ONE;\nTWO\n")}}
	if _, err := read(dir); err == nil || !strings.Contains(err.Error(), `no semicolon ends "TWO"`) {
		t.Errorf("without a semicolon: %v", err)
	}
}
