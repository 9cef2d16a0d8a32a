package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"geogate/dc/store"
	"geogate/dc/store/storetest"
)

// setLeases commits an entry that sets records ("7=x") and removes them ("-7").
func (x *script) setLeases(changes ...string) {
	x.t.Helper()
	b, err := x.s.Begin()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, c := range changes {
		var id int64
		if record, ok := strings.CutPrefix(c, "-"); ok {
			fmt.Sscan(record, &id) //nolint:errcheck // the tests' own
			b.SetLease(id, nil)
			continue
		}
		name, record, _ := strings.Cut(c, "=")
		fmt.Sscan(name, &id) //nolint:errcheck // the tests' own
		b.SetLease(id, []byte(record))
	}
	x.index++
	b.Commit(store.Applied{Index: x.index, Term: 1})
}

func leasesOf(t *testing.T, s *store.Store) map[int64]string {
	t.Helper()
	out := map[int64]string{}
	err := s.EachLease(func(id int64, record []byte) error {
		out[id] = string(record)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLeasesAreStored(t *testing.T) {
	cfg := store.Config{Path: t.TempDir() + "/db", NoSync: true}
	x := &script{t: t, s: storetest.Open(t, cfg)}
	x.flush() // a file without the bucket
	x.setLeases("7=a", "8=b", "9=c")
	x.flush()
	x.setLeases("-8", "9=d", "10=e", "-10")
	x.flush()
	x.setLeases("-7", "11=f") // not flushed
	x.s.Kill()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	again := storetest.Open(t, cfg)
	if got := fmt.Sprint(leasesOf(t, again)); got != "map[7:a 9:d]" {
		t.Errorf("the file has %s", got)
	}
	at, _, rc, err := again.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	other := newScript(t)
	other.setLeases("1=x")
	if err := errors.Join(other.s.Restore(at, rc), rc.Close()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(leasesOf(t, other.s)); got != "map[7:a 9:d]" {
		t.Errorf("the restored store has %s", got)
	}
}

func TestDamagedLeasesAreNoticed(t *testing.T) {
	key := func(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }
	for name, change := range map[string]func(b *bolt.Bucket) error{
		"a flipped bit":  func(b *bolt.Bucket) error { return b.Put(key(7), append(append([]byte{}, b.Get(key(7))[:4]...), 'b')) },
		"one is missing": func(b *bolt.Bucket) error { return b.Delete(key(7)) },
		"another's place": func(b *bolt.Bucket) error {
			return errors.Join(b.Put(key(9), append([]byte{}, b.Get(key(7))...)), b.Delete(key(7)))
		},
		"a short record":   func(b *bolt.Bucket) error { return b.Put(key(7), []byte{1}) },
		"a key of no id":   func(b *bolt.Bucket) error { return b.Put([]byte("k"), append([]byte{}, b.Get(key(7))...)) },
		"one more than is": func(b *bolt.Bucket) error { return b.Put(key(9), []byte{0x99, 0xe9, 0xd8, 0x51}) },
	} {
		path := t.TempDir() + "/db"
		x := &script{t: t}
		var err error
		if x.s, err = store.Open(store.Config{Path: path, NoSync: true}); err != nil {
			t.Fatal(err)
		}
		x.setLeases("7=a", "8=b")
		if err := x.s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket([]byte("leases"))) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Config{Path: path, NoSync: true})
		if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "leases") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
}
