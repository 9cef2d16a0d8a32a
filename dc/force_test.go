package dc

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A crash between any two steps of putting the new life in its place is made good by the next start, and an attempt
// that is not whole is left alone.
func TestFinishForceAfterACrash(t *testing.T) {
	write := func(dir, life string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			path := filepath.Join(dir, p, "file")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(life), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	move := func(dir, from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	steps := [][2]string{
		{"nats", "before-force-42/nats"},
		{"store", "before-force-42/store"}, {"forcing-42/store", "store"},
		{"wal", "before-force-42/wal"}, {"forcing-42/wal", "wal"},
	}
	for done := range len(steps) + 1 {
		dir := t.TempDir()
		write(dir, "old", "store", "wal", "nats")
		write(dir, "new", "forcing-42/store", "forcing-42/wal")
		write(dir, "half", "forcing-43.tmp/store")
		if err := os.MkdirAll(filepath.Join(dir, "before-force-42"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, s := range steps[:done] {
			move(dir, s[0], s[1])
		}
		for range 2 {
			if err := FinishForce(dir); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{
			"before-force-42/nats/file old", "before-force-42/store/file old", "before-force-42/wal/file old",
			"forcing-43.tmp/store/file half", "store/file new", "wal/file new",
		}
		if got := files(t, dir); !slices.Equal(got, want) {
			t.Errorf("after %d steps:\n%s", done, strings.Join(got, "\n"))
		}
		if !WasForced(dir, 42) || WasForced(dir, 43) {
			t.Errorf("after %d steps: forced at 42 %t, at 43 %t", done, WasForced(dir, 42), WasForced(dir, 43))
		}
	}
}

// files are the files under a directory and what they hold.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, fmt.Sprintf("%s %s", strings.TrimPrefix(path, dir+"/"), b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
