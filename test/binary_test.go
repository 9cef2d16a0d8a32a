package test

import (
	"debug/elf"
	"slices"
	"testing"

	"geogate/test/cluster"
)

// TestUnusedCodeIsLeftOut looks for the one function in the program that would look up methods by name, that of templates. With
// it the linker must keep every exported method of every type, a sixth of the program, and each node has that in memory.
// What brings it in: `go build -ldflags=-dumpdep` prints who refers to whom.
func TestUnusedCodeIsLeftOut(t *testing.T) {
	bin, err := elf.Open(cluster.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer bin.Close()
	all, err := bin.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(s elf.Symbol) bool { return s.Name == name })
	}
	if !has("main.main") {
		t.Error("no symbol main.main: nothing is proven")
	}
	if has("text/template.(*state).evalField") {
		t.Error("the program can execute templates of Go's text/template, through html/template or golang.org/x/net/trace perhaps")
	}
}
