package main

import (
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
)

// The report has what verify tells of expired rows, of two looks at the lake the
// last, and every violation.
func TestReport(t *testing.T) {
	var r report
	r.lake(map[afterhours.Hour]object{}, outcome{lost: 3})
	r.lake(map[afterhours.Hour]object{noon: {books: books{Generation: 7, Duplicates: 2}}}, outcome{inLake: 5})
	r.heard("compactor once: 1 hours rewritten")
	r.heard("compactor verify: 1 hours: 50 rows seen = 40 rows published + 10 duplicates + 0 erased; 20 raw rows recounted, 0 not merged yet; 0 hours behind, 0 broken")
	r.violations = []string{"oh dear"}
	var out strings.Builder
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"publishes 7", "duplicates dropped 2", "in the lake 5", "lost 0", "raw rows expired by the end 30 of 50", "violations 1", "VIOLATION: oh dear", "compactor once: 1 hours"} {
		if strings.Count(said, want) != 1 {
			t.Errorf("the report does not say %q once:\n%s", want, out.String())
		}
	}
}
