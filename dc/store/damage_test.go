package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

func TestOpenRefusesASecondProcess(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true}
	storetest.Open(t, cfg)
	_, err := store.Open(cfg)
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), cfg.Path) {
		t.Errorf("second open: %v", err)
	}
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	for name, change := range map[string]func(tx *bolt.Tx) error{
		"newer": func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte{0, 0, 0, 0, 0, 0, 0, 99})
		},
		"foreign": func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("meta")) },
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Config{Path: path, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(change), db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Open(store.Config{Path: path, NoSync: true}); !errors.Is(err, store.ErrFormat) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// However a file is damaged, Open answers: with an error that names the file, or with a sound store when
// the damage is in what is not used. A flipped bit in a record is always noticed.
func TestOpenSurvivesDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	x := &script{t: t}
	var err error
	if x.s, err = store.Open(store.Config{Path: path, NoSync: true}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("key%d=%0200d", i, i))
	}
	x.entry(lines...)
	x.flush()
	x.entry("-key7", "key8=again", "!grave")
	x.chain(func(b *store.Batch) {
		for _, f := range chainOf(t, "o", 3, 20) {
			b.AppendFrame(f)
		}
		b.Conflict([]byte("c"))
		b.SetMeta("m", []byte("v"))
	})
	digest, applied := x.s.Digest(), x.s.Applied().Index
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := strings.LastIndex(string(whole), "key") // the rest was allocated ahead
	open := func(data []byte) (uint64, error) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Config{Path: path, NoSync: true, MmapBytes: 1 << 20})
		if err != nil {
			if !strings.Contains(err.Error(), path) || !(errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrFormat)) {
				t.Fatalf("open: %v", err)
			}
			return 0, err
		}
		d := s.Digest()
		if g := grave(t, s); s.Applied().Index != applied || string(s.Meta("m")) != "v" || g.Stamp == 0 || g.Origin != "here" {
			t.Errorf("opened with index %d, state %q, grave %+v", s.Applied().Index, s.Meta("m"), g)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return d, nil
	}
	for _, n := range []int{1, 4096, 10_000, used / 2, used} {
		if d, err := open(whole[:n]); err == nil && d != digest {
			t.Errorf("cut to %d bytes: opened with another digest", n)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	refused := 0
	for range 400 {
		data := append([]byte(nil), whole[:min(used+8192, len(whole))]...)
		at := 2*4096 + rnd.IntN(used-2*4096) // the two meta pages have checksums of their own
		bit := byte(1) << rnd.IntN(8)
		data[at] ^= bit
		d, err := open(data)
		if err != nil {
			refused++
		} else if d != digest {
			t.Errorf("bit %08b of byte %d flipped: opened with another digest", bit, at)
		}
	}
	t.Logf("%d of 400 flipped bits were noticed, the others are in free space", refused)
	if refused < 100 {
		t.Errorf("only %d flipped bits were noticed", refused)
	}
}

func grave(t testing.TB, s *store.Store) store.Geo {
	t.Helper()
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Commit(s.Applied())
	h, _ := b.Head([]byte("grave"))
	return h.Geo
}
