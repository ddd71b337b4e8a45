package model

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"
)

// TestEveryStepIsTaken: each step that the source describes can happen in some world,
// so no mechanism and no fault is modelled in vain.
func TestEveryStepIsTaken(t *testing.T) {
	taken := map[string]bool{}
	for _, w := range smallWorlds() {
		explore(watched{newModel(w), taken}, 40_000)
	}
	for _, v := range variants {
		explore(watched{newModel(v.world.but(v.flaw)), taken}, 5_000)
	}
	for text := range describedSteps(t) {
		if !taken[text] {
			t.Errorf("no world takes the step %q", text)
		}
	}
}

// watched is a model whose steps are noted.
type watched struct {
	*model
	taken map[string]bool
}

func (w watched) next(s state, steps []step[state]) []step[state] {
	steps = w.model.next(s, steps)
	for i := range steps {
		w.taken[steps[i].what.text] = true
	}
	return steps
}

// describedSteps returns the texts of all calls of can and may in the source.
func describedSteps(t *testing.T) map[string]bool {
	texts, files := map[string]bool{}, token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		addSteps(t, f, texts)
	}
	return texts
}

// addSteps adds the texts of one file.
func addSteps(t *testing.T, f *ast.File, texts map[string]bool) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "can" && f.Sel.Name != "may" {
			return true
		}
		text, err := strconv.Unquote(call.Args[1].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		texts[text] = true
		return true
	})
}
