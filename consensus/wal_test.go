package consensus

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/wal"
)

// crashed is a single node's directory after a number of acknowledged writes, with nothing flushed.
func crashed(t *testing.T, writes, bytes int) (*group, *site) {
	t.Helper()
	g := newGroup(t, 1, nil)
	s := g.leader()
	s.app.mu.Lock()
	s.app.lazy = true
	s.app.mu.Unlock()
	for i := range writes {
		g.put(text(i, bytes))
	}
	g.kill(s)
	return g, s
}

// lastSegment returns the newest segment and the length of what is written in it.
func lastSegment(t *testing.T, s *site) (path string, data []byte, used int) {
	t.Helper()
	segments, err := listSegments(filepath.Join(s.dir, "wal"))
	if err != nil || len(segments) == 0 {
		t.Fatal("no segments", err)
	}
	path = filepath.Join(s.dir, "wal", segments[len(segments)-1].name)
	if data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	used = len(data)
	for used > 0 && data[used-1] == 0 {
		used--
	}
	return path, data, (used + 7) &^ 7
}

func overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// frames returns the offsets of the records in a segment.
func frames(data []byte) (offsets []int) {
	for off := 0; ; {
		rec, size, err := readRecord(data[off:])
		if err != nil || rec == nil {
			return offsets
		}
		offsets = append(offsets, off)
		off += size
	}
}

func TestTornTailIsRepaired(t *testing.T) {
	for _, c := range []struct {
		name string
		tear func(data []byte, used int) []byte
	}{
		{"file ends within the last record", func(d []byte, used int) []byte { return d[:used-3] }},
		{"file ends within a length", func(d []byte, used int) []byte { return d[:lastEntry(d)+3] }},
		{"a sector of zeros", func(d []byte, _ int) []byte {
			from := lastEntry(d) + frameBytes
			from += sectorBytes - from%sectorBytes
			clear(d[from : from+sectorBytes])
			return d
		}},
		{"only later sectors written", func(d []byte, used int) []byte {
			clear(d[lastEntry(d) : lastEntry(d)+sectorBytes-lastEntry(d)%sectorBytes])
			return d
		}},
		{"nothing but zeros", func(d []byte, used int) []byte { clear(d[lastEntry(d):]); return d }},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, s := crashed(t, 5, 3000)
			path, data, used := lastSegment(t, s)
			overwrite(t, path, c.tear(data, used))
			g.start(s)
			g.put("after")
			got := s.app.texts()
			for i := range 4 {
				if got[i] != text(i, 3000) {
					t.Fatalf("write %d is missing", i)
				}
			}
			if got[len(got)-1] != "after" {
				t.Fatal("the new write is missing")
			}
			g.kill(s) // what is written behind a repaired tail must be readable again
			g.start(s)
			eventually(t, "replay", func() bool { return slices.Equal(s.app.texts(), got) })
		})
	}
}

// lastEntry is the offset of the last entry record.
func lastEntry(data []byte) int {
	all := frames(data)
	for i := len(all) - 1; ; i-- {
		if rec, _, _ := readRecord(data[all[i]:]); rec.Type == entryRecord {
			return all[i]
		}
	}
}

// A flipped bit anywhere in what was synced long ago, length fields included, must be refused or change nothing.
// What may not happen is that acknowledged writes are cut off as if they were a torn tail.
func TestFlippedBitIsRefused(t *testing.T) {
	g, s := crashed(t, 30, 600)
	path, data, _ := lastSegment(t, s)
	all := frames(data)
	end := all[len(all)-8] // the last batches can't be told from a torn write in every case
	r := rand.New(rand.NewPCG(1, 2))
	var offsets []int
	for _, off := range all[:len(all)-8] {
		for i := range 24 { // length, type and checksum
			offsets = append(offsets, off+i)
		}
	}
	for range 200 {
		offsets = append(offsets, r.IntN(end))
	}
	refused := 0
	for _, off := range offsets {
		bad := slices.Clone(data)
		bad[off] ^= 1 << r.IntN(8)
		overwrite(t, path, bad)
		err := g.open(s)
		if err == nil {
			entries := s.node.mem.bytes.Load()
			s.node.Kill()
			s.node.Close()
			overwrite(t, path, data)
			if err := g.open(s); err != nil {
				t.Fatal(err)
			}
			if want := s.node.mem.bytes.Load(); entries != want {
				t.Fatalf("flip at %d: opened with %d bytes of entries, want %d", off, entries, want)
			}
			s.node.Close()
			_, data, _ = lastSegment(t, s) // closing adds a state
			continue
		}
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Fatalf("flip at %d: %v, want ErrDamaged with the name of the file", off, err)
		}
		refused++
	}
	if refused < len(offsets)/2 {
		t.Errorf("only %d of %d flips were refused", refused, len(offsets))
	}
	overwrite(t, path, data)
	g.start(s)
	g.put("after the file was restored")
}

// Values full of zeros look like unwritten sectors; what follows them shows that they are not.
func TestDamageInZerosIsRefused(t *testing.T) {
	g := newGroup(t, 1, nil)
	s := g.leader()
	s.app.mu.Lock()
	s.app.lazy = true
	s.app.mu.Unlock()
	for i := range 10 {
		g.put(text(i, 10) + string(make([]byte, 2000)))
	}
	g.kill(s)
	path, data, _ := lastSegment(t, s)
	all := frames(data)
	data[all[len(all)/2]+frameBytes+40] ^= 4
	overwrite(t, path, data)
	if err := g.open(s); !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v, want ErrDamaged", err)
	}
}

func TestMissingSegmentIsRefused(t *testing.T) {
	g, s := crashed(t, 60, 6000)
	dir := filepath.Join(s.dir, "wal")
	segments, err := listSegments(dir)
	if err != nil || len(segments) < 4 {
		t.Fatalf("%d segments, the test needs 4: %v", len(segments), err)
	}
	remove := func(name string, want error, words string) {
		t.Helper()
		from, to := filepath.Join(dir, name), filepath.Join(s.dir, name)
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		if err := g.open(s); !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Errorf("without %s: %v, want %v with %q", name, err, want, words)
		}
		if err := os.Rename(to, from); err != nil {
			t.Fatal(err)
		}
	}
	remove(segments[1].name, ErrDamaged, segments[2].name)
	remove(segments[0].name, ErrBehind, "state machine")
	g.start(s)
	g.leader()
}

func TestLogAndStateMachineMustFit(t *testing.T) {
	g := newGroup(t, 1, func(c *Config) { c.TruncateBytes = 8 << 10 })
	s := g.leader()
	for i := range 200 {
		g.put(text(i, 2000))
	}
	eventually(t, "old segments to go", func() bool {
		segments, err := listSegments(filepath.Join(s.dir, "wal"))
		return err == nil && segments[0].seq > 0
	})
	g.stop(s)
	refused := func(what string) {
		t.Helper()
		err := g.open(s)
		if !errors.Is(err, ErrBehind) || !strings.Contains(err.Error(), s.dir) {
			t.Errorf("%s: %v, want ErrBehind with the directory", what, err)
		}
	}
	whole := s.disk
	s.disk = &disk{}
	refused("state machine is empty")
	s.disk = &disk{applied: Applied{Index: 20, Term: 2, ConfState: whole.applied.ConfState}, entries: whole.entries[:19]}
	refused("state machine is from an old copy")
	ahead := whole.applied
	ahead.Index += 1000
	s.disk = &disk{applied: ahead, entries: whole.entries}
	refused("log is from an old copy")
	other := whole.applied
	other.Term += 3
	s.disk = &disk{applied: other, entries: whole.entries}
	refused("term differs")
	s.disk = whole
	if err := os.Rename(filepath.Join(s.dir, "wal"), filepath.Join(s.dir, "away")); err != nil {
		t.Fatal(err)
	}
	refused("log is missing")
	if err := os.Rename(filepath.Join(s.dir, "away"), filepath.Join(s.dir, "wal")); err != nil {
		t.Fatal(err)
	}
	g.start(s)
	g.put("all is well")
}

// A crash while the group is founded leaves a log without a position; the next start founds it again.
func TestFoundingIsRepeated(t *testing.T) {
	g := newGroup(t, 1, nil)
	s := g.leader()
	g.stop(s)
	s.disk, s.dir = &disk{}, t.TempDir()
	cfg := g.config(s)
	w, err := wal.Create(nil, filepath.Join(s.dir, "wal"), cfg.identity())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	g.start(s)
	g.put("x")
}

// The log on disk and in memory stays bounded while writes go on.
func TestLogIsTruncated(t *testing.T) {
	g := newGroup(t, 3, func(c *Config) { c.TruncateBytes, c.SnapshotCatchUpBytes = 64<<10, 32<<10 })
	for i := range 400 {
		g.put(text(i, 2000))
	}
	g.everywhere(g.leader())
	for _, s := range g.sites {
		eventually(t, "memory to shrink", func() bool { return s.node.mem.bytes.Load() <= 32<<10*9/8 })
		eventually(t, "segments to go", func() bool {
			segments, err := listSegments(filepath.Join(s.dir, "wal"))
			return err == nil && len(segments) <= 4
		})
	}
	for _, s := range g.sites {
		g.kill(s)
	}
	for _, s := range g.sites {
		g.start(s)
	}
	g.put("after")
}
