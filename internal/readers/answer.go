package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// answer is what a reader found when it read the hour: figures that need every
// column and every row.
type answer struct {
	Rows  int64  `json:"rows"`
	IDs   int64  `json:"ids"` // distinct
	Min   int64  `json:"min"` // of v
	Max   int64  `json:"max"`
	Sum   int64  `json:"sum"`
	Bytes int64  `json:"bytes"` // of all payloads
	First string `json:"first"` // payload
	Last  string `json:"last"`
	Type  string `json:"type"` // the keys in the path
	Date  string `json:"date"`
	Hour  string `json:"hour"`

	Error string `json:"error"` // in place of all the others
}

// verdict is what an answer means.
type verdict int

// The verdicts. Wrong is an answer without an error that no version gives.
const (
	whole verdict = iota
	stale         // whole, but of a version that was replaced before the read began
	failed
	wrong
)

// judge finds the version that the answer is of: one of those that were there
// during the read, or an older one. It tells what is wrong with any other.
func judge(a answer, during, older []version) (verdict, string) {
	if a.Error != "" {
		return failed, a.Error
	}
	if among(a, during) {
		return whole, ""
	}
	if among(a, older) {
		return stale, "a version that had been replaced before the read began"
	}
	return wrong, explain(a, slices.Concat(during, older))
}

func among(a answer, versions []version) bool {
	for _, v := range versions {
		if a == v.answer() {
			return true
		}
	}
	return false
}

// explain says from which versions the figures of a wrong answer come.
func explain(a answer, versions []version) string {
	var rows []string
	for _, v := range versions {
		if name := fmt.Sprint(v.number); int64(v.rows) == a.Rows && !slices.Contains(rows, name) {
			rows = append(rows, name)
		}
	}
	count := "of no version"
	if len(rows) > 0 {
		count = "as many as version " + strings.Join(rows, " or ")
	}
	return fmt.Sprintf("%d rows, %s, with %d IDs, v %d to %d and sum %d, %d bytes, payloads %s to %s, keys %s %s %s",
		a.Rows, count, a.IDs, a.Min, a.Max, a.Sum, a.Bytes, a.First, a.Last, a.Type, a.Date, a.Hour)
}

// What is stale or wrong is told from what failed by how its text begins.
const (
	stalePrefix = "STALE: "
	wrongPrefix = "WRONG: "
)

// tally counts verdicts.
type tally struct {
	counts map[verdict]int
	said   map[string]int // what was said of those that are not whole
}

// Messages differ from one read to the next in the path of the object and in
// places and lengths.
var (
	objectName = regexp.MustCompile(`[^\s'"(]*events\.parquet`)
	variable   = regexp.MustCompile(`[0-9a-f]{16,}|0x[0-9a-f]+|position [0-9]+|[0-9]{5,}`)
)

// plain returns what messages of one kind have in common.
func plain(said string) string {
	return variable.ReplaceAllString(objectName.ReplaceAllString(said, "events.parquet"), "N")
}

func (t *tally) add(v verdict, said string) {
	if t.counts == nil {
		t.counts, t.said = map[verdict]int{}, map[string]int{}
	}
	t.counts[v]++
	switch v {
	case failed:
		t.said[plain(said)]++
	case stale:
		t.said[stalePrefix+plain(said)]++
	case wrong:
		t.said[wrongPrefix+said]++
	}
}

// reads returns how many verdicts were counted.
func (t *tally) reads() int {
	n := 0
	for _, c := range t.counts {
		n += c
	}
	return n
}
