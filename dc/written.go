package dc

import (
	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
)

// Written names a state of a key by the write that brought it, which is the same in every DC. In the zero Written the
// key is not there, and nothing is known of a write that deleted it.
type Written struct {
	Origin   string
	Revision int64 // origin revision
	Stamp    event.Stamp
	Live     bool
	Mod      int64 // revision here; 0 when the state is not the present one, or the key is not there
}

const (
	stateOrigin   = 1
	stateRevision = 2
	stateStamp    = 3
	stateLive     = 4
)

// stateOf is the state that a version is; nil is a key of which nothing is known.
func stateOf(v *store.Version) *Written {
	if v == nil {
		return &Written{}
	}
	return newState(&v.Geo, !v.Deleted)
}

// newState takes a grave under stamp 0 for what it stands for: nobody has deleted the key.
func newState(g *store.Geo, live bool) *Written {
	if !live && g.Stamp == 0 {
		return &Written{}
	}
	return &Written{Origin: g.Origin, Revision: g.OriginRevision, Stamp: g.Stamp, Live: live}
}

func (s *Written) marshal() []byte {
	b := appendField(nil, stateOrigin, []byte(s.Origin))
	b = appendVarint(b, stateRevision, uint64(s.Revision))
	b = appendVarint(b, stateStamp, uint64(s.Stamp))
	return appendVarint(b, stateLive, protowire.EncodeBool(s.Live))
}

func decodeWritten(b []byte) (s Written, err error) {
	err = chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case stateOrigin:
			s.Origin = string(raw)
		case stateRevision:
			s.Revision = int64(n)
		case stateStamp:
			s.Stamp = event.Stamp(n)
		case stateLive:
			s.Live = n != 0
		}
		return nil
	})
	return s, err
}

// Written is the present state of a key, as far as this replica has applied.
func (d *DC) Written(key []byte) (Written, error) {
	h, known, err := d.store.Head(key)
	if err != nil || !known {
		return Written{}, err
	}
	s := newState(&h.Geo, h.Live)
	if h.Live {
		s.Mod = h.Mod
	}
	return *s, nil
}

// counting is the newest state of a key that a write which doesn't count may have been made over: none of a later tenure,
// and none that doesn't count itself. It is nil when none is kept.
func (a *applier) counting(of *event.Home, key []byte) (found *store.Version, err error) {
	r := a.dc.state.homes.regs[of.Keyspace] // there is one, or the write would wait
	err = a.batch.History(key, func(v *store.Version) bool {
		if r.later(of.Epoch, &v.Geo) || r.void(&v.Geo) {
			return true
		}
		found = v
		return false
	})
	return found, err
}

// baseOf is the state that a version is, or without one a grave that counts.
func (a *applier) baseOf(of *event.Home, key []byte, v *store.Version) *Written {
	if v != nil {
		return stateOf(v)
	}
	r := a.dc.state.homes.regs[of.Keyspace]
	if h, known := a.batch.Head(key); known && !h.Live && !r.later(of.Epoch, &h.Geo) && !r.void(&h.Geo) {
		return newState(&h.Geo, false)
	}
	return &Written{}
}

// later says whether a home wrote something in a tenure behind an epoch, as far as tenures are known.
func (r *register) later(epoch uint64, g *store.Geo) bool {
	for _, s := range r.starts {
		if s.epoch > epoch && s.home.DC == g.Origin && g.OriginRevision > s.revision {
			return true
		}
	}
	return false
}

// void says whether a write that was applied here doesn't count.
func (r *register) void(g *store.Geo) bool {
	for i := range r.lost {
		if r.lost[i].holds(g) {
			return true
		}
	}
	return false
}
