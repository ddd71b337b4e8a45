//go:build !race

package pebble

// yearMonths is how many months of thirty days the simulated year has.
const yearMonths = 12
