package store_test

import (
	"bytes"
	"context"
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

// full fills a store with everything that a store can hold, and flushes it.
func full(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Path: path, NoSync: true, MmapBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	x := &script{t: t, s: s}
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
		for i := range 20 {
			b.Conflict(fmt.Appendf(nil, "conflict %050d", i))
			b.Remember(fmt.Appendf(nil, "id%d", i), fmt.Appendf(nil, "record %050d", i), 100)
		}
		b.SetMeta("m", []byte("v"))
	})
	x.flush()
	return s
}

// everything reads all that a store gives out.
func everything(s *store.Store) (string, error) {
	var out strings.Builder
	for rev := int64(1); rev <= s.Revision(); rev += 150 {
		res, err := s.Range(store.RangeOptions{Key: []byte{0}, End: []byte{0}, Revision: rev})
		if err != nil {
			return "", err
		}
		out.WriteString(render(res.KVs))
	}
	e, err := s.Export(nil, 0, 1<<20)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "%+v", e)
	frames, err := s.Frames("o", 0, 1<<20)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "%+v", frames)
	conflicts, total := s.Conflicts(100)
	if len(conflicts) != 20 {
		return "", s.Problem()
	}
	fmt.Fprintf(&out, "%s %d %s %x", conflicts, total, s.Meta("m"), s.Digest())
	b, err := s.Begin()
	if err != nil {
		return "", err
	}
	defer b.Commit(s.Applied())
	for i := range 20 {
		r, err := b.Request(fmt.Appendf(nil, "id%d", i))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s", r)
	}
	return out.String(), nil
}

// flip flips one bit in a part of a file.
func flip(rnd *rand.Rand, path string, from, size int64) (at int64, bit byte, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var b [1]byte
	at, bit = from+rnd.Int64N(size), byte(1)<<rnd.IntN(8)
	if _, err = f.ReadAt(b[:], at); err == nil {
		b[0] ^= bit
		_, err = f.WriteAt(b[:], at)
	}
	return at, bit, err
}

// Bits that flip in the file of an open store: every read and every scrub answers the truth or an error that names
// the file, and after such an error the store takes no more writes.
func TestFlippedBitsUnderAnOpenStore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	first := filepath.Join(t.TempDir(), "db")
	s := full(t, first)
	want, err := everything(s)
	if err != nil {
		t.Fatal(err)
	}
	size := s.DBSize()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	noticed := 0
	for range 60 {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Config{Path: path, NoSync: true, MmapBytes: 1 << 20, ScrubRate: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		at, bit, err := flip(rnd, path, 0, size)
		if err != nil {
			t.Fatal(err)
		}
		got, err := everything(s)
		if err == nil && got != want && s.Problem() == nil {
			t.Errorf("bit %08b of byte %d flipped: other data is served", bit, at)
		}
		if err == nil {
			err = s.Scrub(t.Context())
		}
		if err == nil && s.Problem() != nil {
			err = s.Problem()
		}
		if err != nil {
			noticed++
			if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--rebuild") {
				t.Errorf("bit %08b of byte %d flipped: %v", bit, at, err)
			}
			if _, err := s.Begin(); !errors.Is(err, store.ErrBroken) {
				t.Errorf("begin behind damage: %v", err)
			}
			if err := s.Run(t.Context()); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("run behind damage: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 60 flipped bits were noticed, the others are in free space or in what is only read by Open", noticed)
	if noticed < 15 {
		t.Errorf("only %d flipped bits were noticed", noticed)
	}
}

// A scrub finds in the middle of cold data what no read has met.
func TestScrubFindsColdDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := full(t, path)
	defer s.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{fmt.Sprintf("%0200d", 42), fmt.Sprintf("conflict %050d", 3), fmt.Sprintf("record %050d", 5), fmt.Sprintf("%0100d", 11)} {
		if bytes.Count(data, []byte(what)) == 0 {
			t.Fatalf("%.20s is not in the file", what)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The versions hold the same digits behind more zeros.
	value := []byte(fmt.Sprintf("%0100d", 11))
	at := int64(bytes.LastIndex(data, value))
	for data[at-1] == '0' {
		at = int64(bytes.LastIndex(data[:at], value))
	}
	if _, err := f.WriteAt([]byte{'1'}, at); err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(t.Context()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "chain of o: frame up to 12") {
		t.Errorf("scrub: %v", err)
	}
}

// After one fsync has failed nothing is tried again: what the kernel did with the pages is unknown.
func TestFailedCommitIsNeverRetried(t *testing.T) {
	gone := errors.New("input/output error")
	tries, broken := 0, false
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "db"), NoSync: true, FlushInterval: 1, Commit: func(tx *bolt.Tx) error {
		if broken {
			tries++
			return gone
		}
		return tx.Commit()
	}}
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := &script{t: t, s: s}
	x.entry("a=1")
	x.flush()
	broken = true
	x.entry("a=2")
	if err := s.Run(context.Background()); !errors.Is(err, gone) || !errors.Is(err, store.ErrBroken) || !strings.Contains(err.Error(), cfg.Path) {
		t.Errorf("run: %v", err)
	}
	if err := s.Problem(); !errors.Is(err, gone) {
		t.Errorf("problem: %v", err)
	}
	if err := s.Flush(); !errors.Is(err, gone) {
		t.Errorf("flush again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if tries != 1 {
		t.Errorf("%d commits, want one", tries)
	}
	broken = false
	y := &script{t: t, s: storetest.Open(t, cfg)}
	if got := y.at(0); got != "a=1/2.2.1" || y.s.Durable().Index != 1 {
		t.Errorf("opened again: %q at %d", got, y.s.Durable().Index)
	}
}

// Bits that flip anywhere in a file, the two meta pages included: Open refuses, or the store has all that it had, or
// it is the store of the flush before, which its position says: the log has the rest, or consensus refuses.
func TestFlippedBitsBeforeOpen(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "db")
	s := full(t, path)
	want, err := everything(s)
	if err != nil {
		t.Fatal(err)
	}
	size, applied := s.DBSize(), s.Applied().Index
	s.Kill() // no flush after the last one
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for i := range 160 {
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		from, within := int64(0), size
		if i%4 == 0 {
			from, within = 4096*rnd.Int64N(2)+16, 64 // what a meta page holds
		}
		at, bit, err := flip(rnd, path, from, within)
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Config{Path: path, NoSync: true, MmapBytes: 1 << 20})
		if err != nil {
			outcomes["refused"]++
			if !strings.Contains(err.Error(), path) || !(errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrFormat)) {
				t.Errorf("bit %08b of byte %d flipped: %v", bit, at, err)
			}
			continue
		}
		switch got, err := everything(s); {
		case err == nil && got == want:
			outcomes["the same"]++
		case s.Applied().Index < applied:
			outcomes["the flush before"]++
		default:
			t.Errorf("bit %08b of byte %d flipped: opened with other data (%v)", bit, at, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%v", outcomes)
	if outcomes["refused"] < 20 || outcomes["the same"] < 20 || outcomes["the flush before"] == 0 {
		t.Errorf("outcomes %v: the test wants some of each", outcomes)
	}
}
