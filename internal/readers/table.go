package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// line is a line of the table.
type line struct {
	subject subject
	score   score
}

const head = `| reader | version | settings | requests a read | conditional | undisturbed reads right | replaced under way | whole | stale | failed | wrong | what it says |
|---|---|---|--:|:-:|--:|--:|--:|--:|--:|--:|---|
`

// table prints the scores in Markdown.
func table(lines []line) string {
	var b strings.Builder
	b.WriteString(head)
	for _, l := range lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// String prints the line in Markdown.
func (l line) String() string {
	s, n := l.score, l.score.during.counts
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %d of %d | %d | %d | %d | %d | %d | %s |",
		l.subject.title, s.version, l.subject.settings, or(s.requests > 0, fmt.Sprint(s.requests)), or(s.pinned, "yes"),
		s.alone.counts[whole], s.alone.reads(), s.during.reads(), n[whole], n[stale], n[failed], n[wrong], s.says())
}

// or shows a text or a dash.
func or(show bool, text string) string {
	if show {
		return text
	}
	return "-"
}

// says returns what was said most often, and of what is wrong the first.
func (s score) says() string {
	all := maps.Clone(s.during.said)
	if all == nil {
		all = map[string]int{}
	}
	for said, n := range s.alone.said {
		all["undisturbed: "+said] += n
	}
	order := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(-cmp.Compare(rank(a), rank(b)), -cmp.Compare(all[a], all[b]), strings.Compare(a, b))
	})
	var parts []string
	for _, said := range order[:min(2, len(order))] {
		parts = append(parts, fmt.Sprintf("%d x %s", all[said], clip(said)))
	}
	return strings.NewReplacer("\n", " ", "|", "/").Replace(strings.Join(parts, "; "))
}

// rank puts what is wrong before what is stale, and that before what failed.
func rank(said string) int {
	switch {
	case strings.Contains(said, wrongPrefix):
		return 2
	case strings.Contains(said, stalePrefix):
		return 1
	default:
		return 0
	}
}

// clip shortens a message in its middle, where the paths are.
func clip(s string) string {
	const begin, end = 120, 100
	if r := []rune(s); len(r) > begin+end {
		return string(r[:begin]) + " … " + string(r[len(r)-end:])
	}
	return s
}
