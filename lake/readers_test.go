package lake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
)

// shown is a row as readers must show it.
type shown struct {
	Type     string            `json:"event_type"`
	Date     string            `json:"dt"`
	Hour     string            `json:"hour"`
	ID       string            `json:"event_id"`
	Time     afterhours.Micros `json:"event_time"`
	Received afterhours.Micros `json:"received_at"`
	Payload  string            `json:"payload"`
	Bool     any               `json:"a_bool"`
	Double   any               `json:"b_double"`
	Int      any               `json:"c_int"`
	DTime    any               `json:"d_time"`
	User     any               `json:"user_id"`
	Conflict bool              `json:"conflict"`
}

var shownColumns = []afterhours.Column{
	{Name: "a_bool", Field: "flag", Type: afterhours.Boolean},
	{Name: "b_double", Field: "d", Type: afterhours.Double},
	{Name: "c_int", Field: "n", Type: afterhours.Int64},
	{Name: "d_time", Field: "at", Type: afterhours.Timestamp},
	{Name: "user_id", Field: "user.id", Type: afterhours.String},
}

// payloads and what the declared columns show of them.
var payloads = []shown{
	{Payload: `{"flag":true,"d":0.1,"n":9007199254740993,"at":"2026-11-20T10:00:01Z","user":{"id":"bob"}}`, Bool: true, Double: 0.1, Int: int64(9007199254740993), DTime: int64(1795168801e6), User: "bob"},
	{Payload: `{"flag":false,"d":-1e300,"n":-5e2,"at":1795168801.000001,"user":{"id":"äöü 😀"}}`, Bool: false, Double: -1e300, Int: int64(-500), DTime: int64(1795168801000001), User: "äöü 😀"},
	{Payload: `{"flag":null,"d":0,"n":1.5,"at":"soon","user":{"id":""}}`, Double: 0.0, User: ""},
	{Payload: `{"flag":"true","d":"1","n":"1","at":"1795168801000","user":7}`, DTime: int64(1795168801e6)},
	{Payload: `{}`},
	{Payload: `not JSON`},
	{Payload: ``},
}

// DuckDB and pyarrow show exactly what was published, with and without a filter
// on every column and partition key.
func TestReadersAgree(t *testing.T) {
	root := t.TempDir()
	l := openTest(t, "file://"+root)
	if err := l.Prove(context.Background()); err != nil {
		t.Fatal(err)
	}
	var want []shown
	for _, h := range []string{
		"purchase/2026-11-20T10", "purchase/2026-11-20T09", "purchase/2026-11-21T00", "click/2026-11-20T10",
		"with space/2026-11-20T10", "ünïcode 😀/2026-11-20T10", "a=b/2026-11-20T10", "a/b/2026-11-20T10", "100%25+x/2026-11-20T10", "it's {1}..../2026-11-20T10",
	} {
		want = append(want, publishShown(t, l, h, len(payloads)*2)...)
	}
	publishShown(t, l, "empty/2026-11-20T10", 0)
	compareReaders(t, root, want)
}

// A partition of which every event was erased has no rows in it, and no row group.
func TestReadersAgreeOnErasedPartition(t *testing.T) {
	root := t.TempDir()
	l := openTest(t, "file://"+root)
	want := publishShown(t, l, "kept/2026-11-20T10", 5)
	gone := publishShown(t, l, "gone/2026-11-20T10", 5)
	erase := RewriteOptions{Columns: shownColumns}
	for _, s := range gone {
		erase.Erase = append(erase.Erase, s.ID)
	}
	h, _ := afterhours.ParseHour("gone/2026-11-20T10")
	res, err := rewrite(l, h, erase)
	if err != nil || res.Manifest.Rows != 0 || res.Manifest.Erased != 5 {
		t.Fatalf("erased: %+v, %v", res, err)
	}
	compareReaders(t, root, want)
}

// The same holds across row groups and pages.
func TestReadersAgreeOnLargePartition(t *testing.T) {
	root := t.TempDir()
	l := openTest(t, "file://"+root)
	l.opt.BlockRows = 2000 // of which a page has 125, and the readers take more at a time
	want := publishShown(t, l, "large/2026-11-20T10", 5000)
	compareReaders(t, root, want, "event_id", "no event_id", "event_time", "double")
}

func compareReaders(t *testing.T, root string, want []shown, queries ...string) {
	t.Helper()
	list := filepath.Join(t.TempDir(), "expected.jsonl")
	f, err := os.Create(list)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(f)
	for _, s := range want {
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"testdata/readers.py", root, list}, queries...)
	out, err := exec.Command(testenv.Python(t), args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("readers.py: %v\n%s", err, out)
	}
}

// publishShown publishes n events of an hour in two rewrites and returns what
// readers must show. Every fifth event has a second copy with another payload.
func publishShown(t *testing.T, l *Lake, name string, n int) []shown {
	t.Helper()
	h, err := afterhours.ParseHour(name)
	if err != nil {
		t.Fatal(err)
	}
	var want []shown
	var rows []row
	date, hour, _ := strings.Cut(h.Span(), "T")
	for i := range n {
		s := payloads[i%len(payloads)]
		s.Type, s.Date, s.Hour, s.ID = h.Type, date, hour, fmt.Sprintf("e%d", i)
		s.Time = h.Start + afterhours.Micros(i%3600*1e6+i%7)
		s.Received = s.Time + afterhours.Micros(i%2*7200e6)
		s.Conflict = i%5 == 0
		e := afterhours.Event{ID: s.ID, Type: h.Type, Time: s.Time, Received: s.Received, Payload: []byte(s.Payload)}
		rows = append(rows, row{afterhours.RowID{Seq: uint32(len(rows))}, e})
		if s.Conflict {
			e.Received, e.Payload = e.Received+1, []byte(`{"user":{"id":"loser"}}`)
			rows = append(rows, row{afterhours.RowID{Seq: uint32(len(rows))}, e})
		}
		want = append(want, s)
	}
	o := RewriteOptions{Columns: shownColumns}
	for _, part := range [][]row{rows[:len(rows)/2], rows[len(rows)/2:]} {
		if _, err := rewrite(l, h, o, part...); err != nil {
			t.Fatal(err)
		}
	}
	return want
}
