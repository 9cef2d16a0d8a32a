package dc

import (
	"encoding/json"
	"fmt"

	"geogate/replication/event"
)

// maxCheckpoints bounds the places that the kept history may begin at; between old ones the steps grow.
const maxCheckpoints = 32

// checkpoint is what this DC had applied at one of its revisions.
type checkpoint struct {
	Revision int64        `json:"revision"`
	Vector   event.Vector `json:"vector"`
	Whole    bool         `json:"whole,omitempty"` // no snapshot had brought anything from beyond the vector
}

// The history that compaction leaves: while some datacenter has not confirmed a write, a failover may decide that it
// doesn't count, and then what it replaced must be found. Where the chains of all origins are trimmed up to a
// checkpoint's vector, everything that was applied by then is confirmed everywhere or past retention.

// beginToKeep starts with the first register.
func (a *applier) beginToKeep() {
	a.saveCheckpoints([]checkpoint{a.checkpoint()})
}

func (a *applier) checkpoint() checkpoint {
	s := &a.dc.state
	return checkpoint{Revision: a.batch.Revision(), Vector: s.vector(), Whole: len(s.reach) == 0}
}

// keepHistory adds a checkpoint of now, and moves on to the newest one that the chains have been trimmed to.
func (a *applier) keepHistory() {
	s := &a.dc.state
	if len(s.homes.regs) == 0 || len(s.homes.overruns) > 0 { // what is left to take back needs it
		return
	}
	cs := s.checkpoints
	if n := len(cs); n == 0 || cs[n-1].Revision < a.batch.Revision() {
		cs = append(append([]checkpoint(nil), cs...), a.checkpoint())
	}
	for i := len(cs) - 1; i > 0; i-- {
		if a.trimmedTo(cs[i].Vector) {
			cs = cs[i:]
			break
		}
	}
	for origin := range s.positions {
		a.batch.DropKept(origin, a.batch.Floor(origin))
	}
	if len(cs) == len(s.checkpoints) && cs[0].Revision == s.checkpoints[0].Revision {
		return
	}
	if len(cs) > maxCheckpoints {
		thin := cs[:1:1]
		for i := 1; i < len(cs); i++ {
			if i%2 == 0 || i >= len(cs)/2 {
				thin = append(thin, cs[i])
			}
		}
		cs = thin
	}
	a.saveCheckpoints(cs)
}

func (a *applier) trimmedTo(v event.Vector) bool {
	for origin, r := range v {
		if a.batch.Floor(origin) < r {
			return false
		}
	}
	return true
}

func (a *applier) saveCheckpoints(cs []checkpoint) {
	a.dc.state.checkpoints = cs
	a.batch.SetMeta(metaCheckpoints, mustMarshal(cs))
	a.batch.KeepHistory(cs[0].Revision)
}

func decodeCheckpoints(raw []byte) (cs []checkpoint, err error) {
	if raw == nil {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &cs); err != nil {
		return nil, fmt.Errorf("checkpoints of history: %w: the store is damaged", err)
	}
	return cs, nil
}

// untilTaken lowers the revision up to which a chain may be trimmed to what is still to be taken back of it.
func (s *state) untilTaken(origin string, upTo int64) int64 {
	for _, r := range s.homes.order {
		if r.overrun == nil {
			continue
		}
		for _, t := range r.overrun.tails {
			if t.dc == origin {
				upTo = min(upTo, t.after)
			}
		}
	}
	return upTo
}

// dropsUnconfirmed takes note that frames up to a revision went although not everyone had them, or never came as
// frames: what was written in them can only be found in the data.
func (a *applier) dropsUnconfirmed(origin string, upTo int64) {
	s := &a.dc.state
	if len(s.homes.regs) == 0 || s.dropped[origin] >= upTo {
		return
	}
	next := map[string]int64{origin: upTo}
	for o, r := range s.dropped {
		next[o] = max(next[o], r)
	}
	s.dropped = next
	a.batch.SetMeta(metaDropped, mustMarshal(next))
}

func decodeDropped(raw []byte) (m map[string]int64, err error) {
	if raw == nil {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("unconfirmed frames that were dropped: %w: the store is damaged", err)
	}
	return m, nil
}
