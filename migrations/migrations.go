// Package migrations holds the schema of the Cassandra store: files in CQL that
// are applied in order and never changed once released. A change of the schema is
// a new file.
//
// # Format
//
// Files are named NNNN_name.cql, numbered from 0001 without gaps. A line that
// begins with -- is a comment. A statement ends at a semicolon that ends a line.
// TABLE_ID stands for an identifier that follows from the names of keyspace and
// table; see the store for how it is made.
//
// Every statement must be harmless when it is repeated, as a process may die
// between applying a file and recording it.
package migrations

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.cql
var files embed.FS

// Migration is one file.
type Migration struct {
	Version    int    // from 1
	Name       string // file name
	Statements []string
}

// All returns the migrations this build knows, in order.
func All() ([]Migration, error) { return read(files) }

var fileName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.cql$`)

func read(dir fs.ReadDirFS) ([]Migration, error) {
	entries, err := dir.ReadDir(".") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	all := make([]Migration, 0, len(entries))
	for i, e := range entries {
		m, err := readFile(dir, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", e.Name(), err)
		}
		if m.Version != i+1 {
			return nil, fmt.Errorf("read migration %s: number %d is missing or taken twice", e.Name(), i+1)
		}
		all = append(all, m)
	}
	return all, nil
}

func readFile(dir fs.FS, name string) (Migration, error) {
	parts := fileName.FindStringSubmatch(name)
	if parts == nil {
		return Migration{}, errors.New("file name is not like 0001_name.cql")
	}
	version, err := strconv.Atoi(parts[1])
	if err != nil {
		return Migration{}, err
	}
	text, err := fs.ReadFile(dir, name)
	if err != nil {
		return Migration{}, err
	}
	stmts, err := split(string(text))
	return Migration{Version: version, Name: name, Statements: stmts}, err
}

// split returns the statements of a file, without comments and semicolons.
func split(text string) ([]string, error) {
	var stmts, lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || strings.HasPrefix(strings.TrimLeft(line, " \t"), "--") {
			continue
		}
		last, ends := strings.CutSuffix(line, ";")
		lines = append(lines, last)
		if ends {
			stmts = append(stmts, strings.Join(lines, "\n"))
			lines = nil
		}
	}
	if len(lines) > 0 {
		return nil, fmt.Errorf("no semicolon ends %q", lines[0])
	}
	return stmts, nil
}
