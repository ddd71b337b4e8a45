//go:build race

package pebble

// yearMonths is shorter under the race detector, which costs tenfold: long enough for
// everything that is written first to expire.
const yearMonths = 3
