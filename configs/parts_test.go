package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "1536": 1536, "512KiB": 512 << 10, "64 MiB": 64 << 20, "1GB": 1e9, "1gib": 1 << 30} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
		if again, err := ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %s, which reads as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1XB", "99999999999999999999"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q reads as %d", text, got)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"default", "dafeult", 2}, {"node", "nodes", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "a.seed")
	public, err := NewKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the seed's file: %v, %v; want mode 0600", info, err)
	}
	if _, err := NewKey(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key in the same place: %v", err)
	}
	if again, err := PublicKey(path); err != nil || again != public {
		t.Errorf("public key %s, %v; want %s", again, err, public)
	}

	d := Datacenter{Name: "a", PublicKey: public, KeyFile: path}
	if _, err := d.LoadKey(); err != nil {
		t.Error(err)
	}
	for name, d := range map[string]Datacenter{
		"another public key": {PublicKey: keyA, KeyFile: path},
		"no file named":      {PublicKey: public},
		"no such file":       {PublicKey: public, KeyFile: path + ".gone"},
	} {
		if _, err := d.LoadKey(); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte("SUNOSEED"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.LoadKey(); !errors.Is(err, ErrKey) {
		t.Errorf("a damaged seed: %v", err)
	}
}

func TestNestedMultiWriters(t *testing.T) {
	top := &Topology{Keyspaces: []Keyspace{
		{Prefix: "/locks/", Mode: SingleWriter}, {Prefix: "/locks/cache/", Mode: MultiWriter}, {Prefix: "/locks/cache/own/", Mode: SingleWriter},
		{Prefix: "/free/", Mode: MultiWriter}, {Prefix: "/lock", Mode: MultiWriter}, {Prefix: "/locks/cache/own/x", Mode: MultiWriter},
	}}
	if got := top.NestedMultiWriters(); !slices.Equal(got, []string{"/locks/cache/", "/locks/cache/own/x"}) {
		t.Errorf("got %q", got)
	}
}
