package main

import (
	"path/filepath"
	"testing"
	"time"
)

// TestSoakShort is a soak in which every kind of fault is done once: to one
// Cassandra node instead of three, without wrong clocks and without expiry.
func TestSoakShort(t *testing.T) {
	o := options{
		every: time.Second, seed: uint64(time.Now().UnixNano()), rate: 150, nodes: 1, fileEvery: 5 * time.Second,
		dir: filepath.Join(t.TempDir(), "soak"),
	}
	r, err := run(t.Context(), o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.write(t.Output()); err != nil {
		t.Fatal(err)
	}
	for _, v := range r.violations {
		t.Error(v)
	}
}
