package afterhours_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/afterhours/afterhours"

// mayImport says which packages of ours a package may import. The domain knows
// nobody; store, dirty and lake know nothing of each other; only cmd knows all.
// Tests are free.
var mayImport = map[string][]string{
	"":                                 {},
	"migrations":                       {},
	"internal/embedded":                {},
	"internal/jsonfield":               {""},
	"store":                            {""},
	"store/cassandra":                  {"", "store", "migrations"},
	"store/pebble":                     {"", "store", "internal/embedded"},
	"store/storetest":                  {"", "store"},
	"dirty":                            {""},
	"dirty/kafka":                      {"", "dirty"},
	"dirty/pebble":                     {"", "dirty", "internal/embedded"},
	"dirty/dirtytest":                  {"", "dirty"},
	"lake":                             {"", "internal/jsonfield"},
	"ingest":                           {"", "store", "internal/jsonfield"},
	"compact":                          {"", "store", "dirty", "lake"},
	"internal/model":                   {},
	"internal/testenv":                 {"internal/testenv/servers"},
	"internal/testenv/servers":         {"internal/testenv/keeper"},
	"internal/testenv/keeper":          {},
	"internal/testenv/proxy":           {},
	"internal/testenv/cmd/testservers": {"internal/testenv/servers"},
}

// onlyIn says where a technology may be known outside of cmd and of tests.
var onlyIn = map[string][]string{
	"github.com/apache/cassandra-gocql-driver": {"store/cassandra"},
	"github.com/cockroachdb/pebble":            {"store/pebble", "dirty/pebble", "internal/embedded"},
	"github.com/twmb/franz-go":                 {"dirty/kafka"},
	"github.com/segmentio/kafka-go":            {"dirty/kafka", "ingest"},
	"github.com/parquet-go/parquet-go":         {"lake"},
	"gocloud.dev":                              {"lake", "ingest"},
	"cloud.google.com/go/storage":              {"lake"},
	"github.com/aws":                           {"lake"},
	"github.com/spf13":                         {},
	"go.yaml.in/yaml":                          {},
}

// TestImports holds every package to what it may know.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "tools" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), ".")
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, s := range f.Imports {
			name, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, path, pkg, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("the rules name package %q, which does not exist", pkg)
		}
	}
}

func checkImport(t *testing.T, path, pkg, name string) {
	t.Helper()
	if strings.HasPrefix(pkg, "cmd/") || pkg == "internal/bench" || pkg == "internal/soak" || pkg == "internal/readers" {
		return
	}
	own, ours := strings.CutPrefix(name, module)
	switch rules, known := mayImport[pkg]; {
	case !known:
		t.Errorf("%s: package %q has no import rule", path, pkg)
	case ours && !slices.Contains(rules, strings.TrimPrefix(own, "/")):
		t.Errorf("%s: package %q may not import %s", path, pkg, name)
	case pkg == "" && strings.Contains(name, "."):
		t.Errorf("%s: the domain may import the standard library only, not %s", path, name)
	}
	if strings.HasPrefix(pkg, "internal/testenv") {
		return
	}
	for technology, where := range onlyIn {
		if strings.HasPrefix(name, technology) && !slices.Contains(where, pkg) {
			t.Errorf("%s: %s may be imported only in %v, in cmd, the benchmark and the soak", path, name, where)
		}
	}
}
