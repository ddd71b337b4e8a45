package app

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// Table writes rows in aligned columns to a terminal, and separated by tabs to
// anything else, so that cut and awk can take them apart.
type Table struct {
	tabs *tabwriter.Writer // nil off a terminal
	w    io.Writer
}

// NewTable returns a table on w. The caller writes rows, then calls Flush.
func NewTable(w io.Writer) *Table {
	t := &Table{w: w}
	if IsTerminal(w) {
		t.tabs = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		t.w = t.tabs
	}
	return t
}

// Row writes one row.
func (t *Table) Row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(t.w, strings.Join(text, "\t"))
}

// Flush writes what is left.
func (t *Table) Flush() error {
	if t.tabs == nil {
		return nil
	}
	return t.tabs.Flush()
}

// IsTerminal reports whether somebody is looking at w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
