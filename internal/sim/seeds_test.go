package sim

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// TestSeedsThatFailed runs every schedule that ever failed. Each line of the file
// is one, as shrinking prints it, with a comment that says what it found.
func TestSeedsThatFailed(t *testing.T) {
	f, err := os.Open("testdata/failed-seeds")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		s, err := parseSchedule(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		n++
		synctest.Test(t, func(t *testing.T) {
			if r := simulate(t, s, false); r.err != nil {
				t.Errorf("%s: %v", s, r.err)
			}
		})
	}
	if n == 0 {
		t.Error("the file has no schedule")
	}
}

// parseSchedule reads what schedule.String prints.
func parseSchedule(line string) (s schedule, err error) {
	var steps, records string
	if _, err := fmt.Sscanf(strings.TrimSpace(line)+" .", "%d steps=%s records=%s", &s.seed, &steps, &records); err != nil {
		return s, err
	}
	if s.steps, err = parseNumbers(steps); err != nil {
		return s, err
	}
	s.records, err = parseNumbers(records)
	return s, err
}

func parseNumbers(text string) (map[int]bool, error) {
	set := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if part == "-" || part == "" {
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, err
		}
		set[n] = true
	}
	return set, nil
}
