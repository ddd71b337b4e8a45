//go:build race

package sim

// slow is by how much the race detector slows the simulation down.
const slow = 10
