package wire

import (
	"fmt"
	"maps"
	mathbits "math/bits"
	"slices"

	"geogate/replication/event"
	"geogate/replication/verify"
)

// FromHolding turns what a datacenter has applied into its messages.
func FromHolding(h *verify.Holding) (held, reach []*Watermark) {
	return FromMarks(h.Marks, false), FromMarks(h.Reach, false)
}

// Holding reads what the sender had applied.
func (x *VerifyReply) Holding() (h verify.Holding, err error) {
	if h.Marks, err = Marks(x.GetHeld()); err != nil {
		return h, err
	}
	h.Reach, err = Marks(x.GetReach())
	return h, err
}

// SetState fills in the buckets.
func (x *VerifyReply) SetState(s *verify.State) {
	x.Held, x.Reach = FromHolding(&s.Holding)
	x.Digests = s.Digests
	for _, origin := range slices.Sorted(maps.Keys(s.Touches)) {
		x.Touches = append(x.Touches, &Touches{Origin: origin, Revisions: s.Touches[origin]})
	}
}

// State reads the buckets, which must be so many; the last one, of the system table, may be missing.
func (x *VerifyReply) State(buckets int) (*verify.State, error) {
	h, err := x.Holding()
	if err != nil {
		return nil, err
	}
	if len(x.GetDigests()) == buckets-1 {
		buckets--
	}
	return x.stateOf(h, buckets)
}

// Some reads the buckets that were asked for alone, which must be so many.
func (x *VerifyReply) Some(buckets int) (*verify.State, error) {
	h, err := x.Holding()
	if err != nil {
		return nil, err
	}
	return x.stateOf(h, buckets)
}

func (x *VerifyReply) stateOf(h verify.Holding, buckets int) (*verify.State, error) {
	s := &verify.State{Holding: h, Digests: x.GetDigests(), Touches: map[string][]int64{}}
	if len(s.Digests) != buckets {
		return nil, fmt.Errorf("%w: digests of %d buckets, want %d", ErrMessage, len(s.Digests), buckets)
	}
	for _, t := range x.GetTouches() {
		if len(t.GetRevisions()) != buckets || s.Touches[t.GetOrigin()] != nil {
			return nil, fmt.Errorf("%w: touches of %q in %d buckets, want %d", ErrMessage, t.GetOrigin(), len(t.GetRevisions()), buckets)
		}
		s.Touches[t.GetOrigin()] = t.GetRevisions()
	}
	return s, nil
}

// BucketSet says which buckets are wanted, ascending; nil for all.
func BucketSet(buckets []int) []byte {
	if len(buckets) == 0 {
		return nil
	}
	set := make([]byte, buckets[len(buckets)-1]/8+1)
	for _, b := range buckets {
		set[b/8] |= 1 << (b % 8)
	}
	return set
}

// Buckets reads a set of buckets, ascending, of which there are so many; nil for all. Those that there are not are left out.
func Buckets(set []byte, all int) (wanted []int) {
	if len(set) == 0 {
		return nil
	}
	wanted = []int{}
	for i, bits := range set[:min(len(set), (all+7)/8)] {
		for ; bits != 0; bits &= bits - 1 {
			if b := 8*i + mathbits.TrailingZeros8(bits); b < all {
				wanted = append(wanted, b)
			}
		}
	}
	return wanted
}

// FromCopy turns a copy that is known into its message.
func FromCopy(c *verify.Copy) *KeyCopy {
	return &KeyCopy{Key: c.Key, Live: c.Live, Hash: c.Hash, Origin: c.Origin, Revision: c.Revision, Stamp: uint64(c.Stamp), System: c.System}
}

// Copy is the inverse of FromCopy.
func (x *KeyCopy) Copy() verify.Copy {
	return verify.Copy{
		Key: x.GetKey(), Known: true, Live: x.GetLive(), Hash: x.GetHash(), Origin: x.GetOrigin(),
		Revision: x.GetRevision(), Stamp: event.Stamp(x.GetStamp()), System: x.GetSystem(),
	}
}
