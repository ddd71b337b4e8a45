//go:build race

package model

// smallLimit bounds the small worlds where each step costs eight times as much.
const smallLimit = 150_000
