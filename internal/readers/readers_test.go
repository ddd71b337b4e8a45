package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var fourVersions = []version{{number: 10, rows: 50}, {number: 11, rows: 50}, {number: 100, rows: 40}, {number: 101, rows: 60}}

// Only the figures of one version that was there during the read are whole: those
// of an older one are stale, and everything else is wrong.
func TestAnswersAreJudged(t *testing.T) {
	during, older := fourVersions[:2], fourVersions[2:]
	edit := func(change func(*answer)) answer {
		a := fourVersions[0].answer()
		change(&a)
		return a
	}
	for _, c := range []struct {
		name string
		a    answer
		want verdict
		said string
	}{
		{"the version before", fourVersions[0].answer(), whole, ""},
		{"the version after", fourVersions[1].answer(), whole, ""},
		{"an older version", fourVersions[3].answer(), stale, "replaced before"},
		{"an error", answer{Error: "412"}, failed, "412"},
		{"rows of two versions", edit(func(a *answer) { a.Max, a.Sum = 11, a.Sum+7 }), wrong, "as many as version 10 or 11"},
		{"some rows", edit(func(a *answer) { a.Rows, a.IDs = 30, 30 }), wrong, "of no version"},
		{"an ID twice", edit(func(a *answer) { a.IDs-- }), wrong, "49 IDs"},
		{"another sum", edit(func(a *answer) { a.Sum++ }), wrong, "sum 501"},
		{"payloads cut", edit(func(a *answer) { a.Bytes-- }), wrong, "399 bytes"},
		{"payloads of another", edit(func(a *answer) { a.Last = `{"v":11}` }), wrong, `{"v":11}`},
		{"keys of another hour", edit(func(a *answer) { a.Hour = "11" }), wrong, "purchase 2026-11-20 11"},
		{"nothing", answer{}, wrong, "0 rows"},
	} {
		got, said := judge(c.a, during, older)
		if got != c.want || !strings.Contains(said, c.said) {
			t.Errorf("%s: verdict %d, %q, want %d, %q", c.name, got, said, c.want, c.said)
		}
	}
}

// Two versions cannot be told apart by where their columns lie; all four can be by
// what a reader shows of them.
func TestVersionsHaveTwins(t *testing.T) {
	versions, err := makeVersions(t.Context(), t.TempDir(), 8000)
	if err != nil {
		t.Fatal(err)
	}
	// Of so many rows the first two have different layouts.
	if len(versions) != 4 || !slices.Equal(versions[0].layout, versions[1].layout) {
		t.Fatalf("versions %+v", versions)
	}
	var contents [][]byte
	for i, v := range versions {
		b, err := os.ReadFile(v.path)
		if err != nil {
			t.Fatal(err)
		}
		for j, other := range contents {
			if bytes.Equal(b, other) || v.answer() == versions[j].answer() {
				t.Errorf("versions %d and %d are the same", i, j)
			}
		}
		contents = append(contents, b)
	}
}

// Every gap between two requests is tried, if they are not too many.
func TestGaps(t *testing.T) {
	if got := gaps(4); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("of 4 requests: %v", got)
	}
	if got := gaps(1); len(got) != 0 {
		t.Errorf("of 1 request: %v", got)
	}
	if got := gaps(30); len(got) != maxGaps || got[0] != 1 || got[len(got)-1] >= 30 {
		t.Errorf("of 30 requests: %v", got)
	}
}

// memory is an object store with one object, whose content is a version's number
// in every byte.
type memory struct {
	mu  sync.Mutex
	now version
}

func (m *memory) put(_ context.Context, v version) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = v
	return nil
}

func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tag := fmt.Sprint(m.now.number)
	if match := r.Header.Get("If-Match"); match != "" && match != tag {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	w.Header().Set("ETag", tag)
	w.Header().Set("Seen-Host", r.Host)
	fmt.Fprint(w, m.now.number)
}

// reading is a reader that takes its rows from the first of its requests and its
// values from the last.
type reading struct {
	t        *testing.T
	url      string
	requests int
	careful  bool // names the version
	tires    int  // after so many reads it makes do with one request
	reads    int
}

func (r *reading) read() (answer, error) {
	if r.reads++; r.tires > 0 && r.reads > r.tires {
		r.requests = 1
	}
	var shown []version
	etag := ""
	for range r.requests {
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url, nil)
		if err != nil {
			return answer{}, err
		}
		if r.careful {
			req.Header.Set("If-Match", etag)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return answer{}, err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return answer{}, err
		}
		if res.StatusCode != http.StatusOK {
			return answer{Error: res.Status}, nil
		}
		if host := res.Header.Get("Seen-Host"); host != strings.TrimPrefix(r.url, "http://") {
			r.t.Errorf("the store saw host %s for %s: a signature would not hold", host, r.url)
		}
		etag = res.Header.Get("ETag")
		shown = append(shown, fourVersions[slices.IndexFunc(fourVersions, func(v version) bool { return fmt.Sprint(v.number) == string(body) })])
	}
	a := shown[len(shown)-1].answer()
	a.Rows = int64(shown[0].rows)
	return a, nil
}

// A careless reader is found out in every gap where the number of rows changes; a
// careful one fails every time; one that needs nothing more is not disturbed.
func TestTrialFindsCarelessReaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		reader        reading
		alone, during map[verdict]int
	}{
		// Of four versions in turn, one is followed by its twin.
		{"careless", reading{}, map[verdict]int{whole: 8}, map[verdict]int{whole: 4, wrong: 12}},
		{"careful", reading{careful: true}, map[verdict]int{whole: 8}, map[verdict]int{failed: 16}},
		{"tired", reading{tires: 8}, map[verdict]int{whole: 16}, nil},
	} {
		score := tryReading(t, c.reader)
		for v := whole; v <= wrong; v++ {
			if score.during.counts[v] != c.during[v] || score.alone.counts[v] != c.alone[v] {
				t.Errorf("%s: verdict %d: %d alone, %d during a replacement, want %d, %d", c.name, v, score.alone.counts[v], score.during.counts[v], c.alone[v], c.during[v])
			}
		}
		if score.requests != 3 || score.pinned != c.reader.careful {
			t.Errorf("%s: %+v", c.name, score)
		}
	}
}

func tryReading(t *testing.T, r reading) score {
	m := &memory{}
	store := httptest.NewServer(m)
	defer store.Close()
	u, err := url.Parse(store.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{store: u}
	endpoint, closeGate, err := g.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer closeGate()
	r.t, r.url, r.requests = t, endpoint, 3
	tr := &trial{object: m, versions: fourVersions, reader: &r}
	if err := tr.replace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tr.inBucket(t.Context(), g, 10); err != nil {
		t.Fatal(err)
	}
	return tr.score
}

// A line of the table stays a line, and shows what is wrong before what failed.
func TestTable(t *testing.T) {
	var s score
	s.version, s.requests = "1.2", 5
	s.alone.add(whole, "")
	for i := range 3 {
		s.during.add(failed, fmt.Sprintf("412 |\nof s3://lake-%d/events.parquet at %d", 10000+i, 20000+i))
	}
	s.during.add(wrong, "half the rows")
	got := table([]line{{subject{title: "R", settings: "default"}, s}})
	want := head + "| R | 1.2 | default | 5 | - | 1 of 1 | 4 | 0 | 0 | 3 | 1 | 1 x WRONG: half the rows; 3 x 412 / of events.parquet at N |\n"
	if got != want {
		t.Errorf("table\n%s\nwant\n%s", got, want)
	}
}
