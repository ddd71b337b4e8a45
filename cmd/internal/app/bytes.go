package app

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a flag's value in bytes, written as 512MiB, 2GiB or a plain number.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// Set reads a size.
func (s *Size) Set(text string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size: want a whole number with KiB, MiB or GiB", text)
}

// String prints the size in the largest binary unit that divides it.
func (s *Size) String() string {
	for _, u := range []int{2, 1, 0} {
		if *s != 0 && int64(*s)%units[u].bytes == 0 {
			return fmt.Sprintf("%d%s", int64(*s)/units[u].bytes, units[u].name)
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type names the value in help texts.
func (s *Size) Type() string { return "SIZE" }

// Human prints bytes for people, such as "3.4 MiB".
func Human(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
