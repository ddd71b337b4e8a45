package model

import (
	"strings"
	"testing"
)

func TestVariants(t *testing.T) {
	for _, v := range variants {
		t.Run(strings.ReplaceAll(v.name, " ", "_"), func(t *testing.T) {
			r := explore(newModel(v.world.but(v.flaw)), 4_000_000)
			t.Log(r)
			for i, s := range r.trace {
				t.Logf("%3d %s", i+1, s)
			}
			if !strings.Contains(r.violation, v.breaks) || r.violation == "" {
				t.Errorf("violation %q, want %q", r.violation, v.breaks)
			}
		})
	}
}
