package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "geogate"

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room is the top-level folder of a package.
func room(path string) string {
	rest := strings.TrimPrefix(path, module+"/")
	top, _, _ := strings.Cut(rest, "/")
	return top
}

// mayImport is who may import whom; a room may always import itself.
var mayImport = map[string][]string{
	"cmd":         {"gateway", "dc", "replication", "consensus", "configs"},
	"gateway":     {"dc", "replication"},
	"dc":          {"consensus", "replication/event", "replication/homes", "replication/policy", "replication/verify"},
	"replication": {},
	"consensus":   {},
	"configs":     {},
	"test":        {"cmd", "gateway", "dc", "replication", "consensus", "configs"},
}

// leaves may import nothing of geogate at all.
var leaves = []string{
	"replication/event", "replication/policy", "replication/homes", "replication/skew", "replication/health", "dc/lease",
}

func TestImportsFlowOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s is in no known top-level folder", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module+"/") {
				continue
			}
			if err := check(p.ImportPath, imp, from, allowed); err != nil {
				t.Error(err)
			}
		}
	}
}

func check(importer, imp, from string, allowed []string) error {
	for _, leaf := range leaves {
		if importer == module+"/"+leaf {
			return fmt.Errorf("%s is a leaf and imports %s", importer, imp)
		}
	}
	if importer == module+"/dc/store" && imp != module+"/replication/event" {
		return fmt.Errorf("%s is storage only and imports %s", importer, imp)
	}
	if room(imp) == from {
		return nil
	}
	for _, a := range allowed {
		if imp == module+"/"+a || strings.HasPrefix(imp, module+"/"+a+"/") {
			return nil
		}
	}
	return fmt.Errorf("%s may not import %s (allowed for %s: %v)", importer, imp, from, allowed)
}

// raft 3.5 is frozen; keeping it in one room keeps it replaceable.
func TestOnlyConsensusKnowsRaft(t *testing.T) {
	for _, p := range packages(t) {
		if room(p.ImportPath) == "consensus" {
			continue
		}
		for _, list := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for _, imp := range list {
				if strings.HasPrefix(imp, "go.etcd.io/etcd/raft") || strings.HasPrefix(imp, "go.etcd.io/etcd/server") {
					t.Errorf("%s imports %s, which only consensus may", p.ImportPath, imp)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 || isGenerated(t, p) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", p.ImportPath, err)
			continue
		}
		if f.Doc == nil || len(f.Doc.Text()) < 80 {
			t.Errorf("%s/doc.go says less than a sentence of what the package is", p.ImportPath)
		}
	}
}

func isGenerated(t *testing.T, p goPackage) bool {
	t.Helper()
	for _, name := range p.GoFiles {
		b, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), "// Code generated") {
			return false
		}
	}
	return true
}

func TestTopLevelFoldersAreTheAgreedOnes(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{
		"gateway": true, "dc": true, "replication": true, "consensus": true, "configs": true, "cmd": true, "test": true,
		"go.mod": true, "go.sum": true, "Makefile": true, "README.md": true, "LICENSE": true, "bin": true,
	}
	for _, e := range entries {
		if !allowed[e.Name()] && !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s does not belong at the top of the repository", e.Name())
		}
	}
}
