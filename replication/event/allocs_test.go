package event

import (
	"fmt"
	"testing"

	"geogate/test/allocs"
)

// TestAllocationsOfAFrame seals and opens frames of 100 puts.
func TestAllocationsOfAFrame(t *testing.T) {
	f := &Frame{Origin: "a"}
	for i := range 100 {
		f.Txns = append(f.Txns, Txn{Revision: int64(i + 1), Ops: []Op{{Kind: OpPut, Key: fmt.Appendf(nil, "key-%06d", i), Value: make([]byte, 256)}}})
	}
	s := mustSeal(t, f)
	allocs.AtMost(t, "sealing 100 puts", 4, func() {
		if _, err := Seal(f); err != nil {
			t.Fatal(err)
		}
	})
	allocs.AtMost(t, "opening 100 puts", 6, func() {
		if _, _, err := Open(s.Bytes); err != nil {
			t.Fatal(err)
		}
	})
}
