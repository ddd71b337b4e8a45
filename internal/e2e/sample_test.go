package e2e

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is events as lines of JSON.
type sample []string

// small projects have 870 hours of the sample's 6,209: enough where every hour
// costs requests to a server.
var small = []string{"perkeep", "kafka", "restic", "iceberg"}

// commits returns 14,525 commits of seven projects, or those of some. An event
// happened when a commit was written and was received when it was merged.
func commits(t *testing.T, projects ...string) (s sample) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "testdata", "commits.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		line := lines.Text()
		if len(projects) == 0 || slices.ContainsFunc(projects, func(p string) bool { return strings.Contains(line, `"commit.`+p+`"`) }) {
			s = append(s, line)
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return s
}

// file writes the lines into a file and returns its path.
func (s sample) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	write(t, path, strings.Join(s, "\n")+"\n")
	return path
}

// pieces writes the lines into n files and returns their paths.
func (s sample) pieces(t *testing.T, n int) []string {
	t.Helper()
	var paths []string
	for i := range n {
		paths = append(paths, s[len(s)*i/n:len(s)*(i+1)/n].file(t))
	}
	return paths
}

// shuffled returns the lines in another order.
func (s sample) shuffled() sample {
	s = slices.Clone(s)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}

// expected returns what an independent script makes of the lines.
func (s sample) expected(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("python3", filepath.Join("testdata", "expected.py"), s.file(t)).Output()
	if err != nil {
		t.Fatal(fmt.Errorf("compute the expectation: %w", err))
	}
	return string(out)
}
