package lake

import (
	"errors"
	"fmt"
	"strings"

	"github.com/afterhours/afterhours"
)

// The manifest's text lists the merged rows with one line a segment, in order of
// segment: "SEGMENT 2026-11-20 0-41,43" if the segment has a lane of its own,
// "SEGMENT @2026-11-20 5,9" if it lies in the shared lane of that day.

// sharedMark stands before the day of a shared lane.
const sharedMark = "@"

// formatMerged prints what parseMerged reads.
func formatMerged(rows afterhours.RowSet, origins map[afterhours.Segment]afterhours.Origin) string {
	var b strings.Builder
	for i, seg := range rows.Segments() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(seg.String())
		b.WriteByte(' ')
		o := origins[seg]
		if o.Shared {
			b.WriteString(sharedMark)
		}
		b.WriteString(o.Day.String())
		b.WriteByte(' ')
		b.WriteString(rows[seg].String())
	}
	return b.String()
}

// parseMerged reads what formatMerged prints, and nothing else.
func parseMerged(text string) (afterhours.RowSet, map[afterhours.Segment]afterhours.Origin, error) {
	rows, origins := afterhours.RowSet{}, map[afterhours.Segment]afterhours.Origin{}
	if text == "" {
		return rows, origins, nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		seg, o, r, err := parseSegment(line)
		if err != nil {
			return nil, nil, fmt.Errorf("parse merged rows: %w", err)
		}
		rows[seg], origins[seg] = r, o
	}
	if formatMerged(rows, origins) != text {
		return nil, nil, errors.New("parse merged rows: segments are not each listed once, in order, with at least one row")
	}
	return rows, origins, nil
}

func parseSegment(line string) (seg afterhours.Segment, o afterhours.Origin, r afterhours.Ranges, err error) {
	name, rest, _ := strings.Cut(line, " ")
	day, ranges, _ := strings.Cut(rest, " ")
	if seg, err = afterhours.ParseSegment(name); err != nil {
		return seg, o, nil, err
	}
	day, o.Shared = strings.CutPrefix(day, sharedMark)
	if o.Day, err = afterhours.ParseDay(day); err != nil {
		return seg, o, nil, err
	}
	r, err = afterhours.ParseRanges(ranges)
	return seg, o, r, err
}
