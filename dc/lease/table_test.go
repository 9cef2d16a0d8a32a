package lease

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestClampTTL(t *testing.T) {
	for _, x := range []struct{ asked, want int64 }{{-5, 2}, {0, 2}, {1, 2}, {2, 2}, {60, 60}, {MaxTTL, MaxTTL}} {
		if got, err := ClampTTL(x.asked, 2); err != nil || got != x.want {
			t.Errorf("%d: %d, %v, want %d", x.asked, got, err, x.want)
		}
	}
	if _, err := ClampTTL(MaxTTL+1, 2); !errors.Is(err, ErrTTLTooLarge) {
		t.Errorf("one second too long: %v", err)
	}
	if seconds(MaxTTL) <= 0 {
		t.Error("the longest lease does not fit into a duration")
	}
}

func TestTable(t *testing.T) {
	tb := NewTable()
	if err := errors.Join(tb.Grant(Lease{ID: 7, TTL: 100, Granted: 1}), tb.Grant(Lease{ID: -3, TTL: 5, Granted: 1})); err != nil {
		t.Fatal(err)
	}
	if err := tb.Grant(Lease{ID: 7, TTL: 3}); !errors.Is(err, ErrExists) {
		t.Errorf("granted twice: %v", err)
	}
	for _, c := range []Lease{
		{ID: 8, Remaining: 1}, {ID: 7, Granted: 2, Remaining: 1}, {ID: 7, Granted: 1, Remaining: 101}, {ID: 7, Granted: 1, Remaining: -1}, {ID: 7, Granted: 1},
	} {
		if l, changed := tb.Checkpoint(c); changed {
			t.Errorf("checkpoint %+v made %+v", c, l)
		}
	}
	if l, changed := tb.Checkpoint(Lease{ID: 7, Granted: 1, Remaining: 60}); !changed || l != (Lease{ID: 7, TTL: 100, Granted: 1, Remaining: 60}) || l.Left() != 60 {
		t.Errorf("checkpoint: %+v, %t", l, changed)
	}
	if got := tb.IDs(); !reflect.DeepEqual(got, []int64{-3, 7}) || tb.Len() != 2 {
		t.Errorf("ids %v", got)
	}
	if tb.Revoke(7, 2) || tb.Revoke(9, 0) {
		t.Error("revoked another lease than the one that was meant")
	}
	if !tb.Revoke(7, 1) || !tb.Revoke(-3, 0) || tb.Len() != 0 {
		t.Errorf("%d leases are left", tb.Len())
	}
}

func TestCommandsSurviveEncoding(t *testing.T) {
	for _, c := range []Command{
		{Op: OpGrant, Leases: []Lease{{ID: -1, TTL: 60}}},
		{Op: OpRevoke, Expired: true, Leases: []Lease{{ID: 1<<63 - 1, Granted: 9}}},
		{Op: OpCheckpoint, Leases: []Lease{{ID: 1, Granted: 1, Remaining: 5}, {ID: 2, Granted: 1, TTL: 4}}},
		{Op: OpCheckpoint},
	} {
		if got, err := UnmarshalCommand(c.Marshal()); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
	}
	for name, c := range map[string]Command{
		"no operation": {}, "unknown operation": {Op: 4}, "nothing granted": {Op: OpGrant},
		"two revoked": {Op: OpRevoke, Leases: []Lease{{ID: 1}, {ID: 2}}}, "id 0": {Op: OpGrant, Leases: []Lease{{TTL: 3}}},
	} {
		if got, err := UnmarshalCommand(c.Marshal()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// The bytes are in logs and files of others: they never change.
func TestCommandBytes(t *testing.T) {
	c := Command{Op: OpRevoke, Expired: true, Leases: []Lease{{ID: 300, TTL: 60, Remaining: 7, Granted: 5}}}
	want := "\x08\x02\x12\x09\x08\xac\x02\x10\x3c\x18\x07\x20\x05\x18\x01"
	if got := string(c.Marshal()); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestAnyBytesAreReadOrRefused(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := Command{Op: OpCheckpoint, Leases: []Lease{{ID: 1, TTL: 2, Remaining: 3, Granted: 4}, {ID: 5, TTL: 6}}}
	whole := c.Marshal()
	for range 5000 {
		b := append([]byte(nil), whole[:rnd.IntN(len(whole)+1)]...)
		for i := range b {
			if rnd.IntN(6) == 0 {
				b[i] = byte(rnd.Uint32())
			}
		}
		if _, err := UnmarshalCommand(b); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%x: %v", b, err)
		}
	}
}
