package servers

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// configured returns what a node is started with, and its configuration.
func configured(t *testing.T, m *member) (argv []string, yaml string) {
	t.Helper()
	h := home{programs: t.TempDir(), dir: t.TempDir(), ports: []int{20001, 20002}, member: m}
	if err := os.WriteFile(filepath.Join(h.programs, "jamm-0.jar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	argv, err := buildCassandra(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "cassandra.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return argv, string(b)
}

// A node that is alone and one of a ring have all that is to be filled in filled in.
func TestCassandraIsConfigured(t *testing.T) {
	for name, m := range map[string]*member{"alone": nil, "member": {2}} {
		_, yaml := configured(t, m)
		for line := range strings.Lines(yaml) {
			setting, _, _ := strings.Cut(line, "#")
			if word := regexp.MustCompile(`\b[A-Z]{3,}(_[A-Z]+)*\b`).FindString(setting); word != "" {
				t.Errorf("%s: %s is not filled in: %s", name, word, line)
			}
		}
	}
}

// A member listens on its own address, tells clients its front, asks the first one
// for the others, keeps what it acknowledges, and has the small heap: of an option
// that comes twice, the last counts.
func TestMember(t *testing.T) {
	argv, yaml := configured(t, &member{3})
	for _, want := range []string{
		"\nlisten_address: 127.0.1.3\n", "\nrpc_address: 127.0.1.3\n", "\nbroadcast_rpc_address: 127.0.2.3\n",
		`- seeds: "127.0.1.1:20002"`, "\ncommitlog_sync: batch\n",
	} {
		if !strings.Contains(yaml, want) {
			t.Errorf("no %q in %s", want, yaml)
		}
	}
	if slices.Index(argv, "-Xmx1g") < slices.Index(argv, "-Xmx2g") {
		t.Errorf("the small heap does not come last: %q", argv)
	}
}
