package lease

import (
	"errors"
	"reflect"
	"testing"
)

// FuzzCommand: any bytes are a command that is the same when it is written and read again, or ErrMalformed.
func FuzzCommand(f *testing.F) {
	grant := Command{Op: OpGrant, Leases: []Lease{{ID: 7, TTL: 60}}}
	checkpoint := Command{Op: OpCheckpoint, Leases: []Lease{{ID: -7, Granted: 3, Remaining: 9}, {ID: 1}}}
	revoke := Command{Op: OpRevoke, Leases: []Lease{{ID: 7, Granted: 3}}, Expired: true}
	f.Add(grant.Marshal())
	f.Add(checkpoint.Marshal())
	f.Add(revoke.Marshal())
	f.Add([]byte("\x08\x81\x02\x12\x02\x08\x07")) // operation 257 is not operation 1
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := UnmarshalCommand(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v does not wrap ErrMalformed", err)
			}
			return
		}
		for _, l := range c.Leases {
			if l.ID == 0 {
				t.Fatal("a lease with the id 0")
			}
		}
		if again, err := UnmarshalCommand(c.Marshal()); err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

func TestAnOperationIsNotCutOff(t *testing.T) {
	if c, err := UnmarshalCommand([]byte("\x08\x81\x02\x12\x02\x08\x07")); !errors.Is(err, ErrMalformed) {
		t.Errorf("operation 257 was read as %+v, %v", c, err)
	}
}
