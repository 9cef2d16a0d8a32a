package wire

import (
	"fmt"
	"maps"
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
	s := &verify.State{Holding: h, Digests: x.GetDigests(), Touches: map[string][]int64{}}
	if len(s.Digests) == buckets-1 {
		buckets--
	}
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
