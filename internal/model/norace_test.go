//go:build !race

package model

// smallLimit bounds the small worlds, which are all smaller.
const smallLimit = 3_000_000
