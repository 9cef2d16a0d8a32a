package dc

import (
	"encoding/json"
	"fmt"

	"geogate/replication/event"
)

// state is the deterministic small state, kept in the store's meta and mirrored here for the apply
// goroutine, which alone changes it.
type state struct {
	incarnation uint64
	high        event.Stamp // highest stamp applied, local or remote
	positions   map[string]event.Position
	barrier     barrier
	past        map[life]event.Position // of lives that have ended, this DC's own included
	reach       map[life]int64          // see marks.go
	degraded    map[string]Degradation  // by keyspace; replaced, never changed
	alarms      alarms                  // replaced, never changed: readers have it
	restored    *restored               // nil unless the data comes from a backup; see restored.go
	auth        authState               // see auth.go; read by loadAuth
	homes       homeTable               // see register.go; read by its load
	homeMarks   []event.Mark            // of the registers, as the small values have them
	checkpoints []checkpoint            // see keep.go; replaced, never changed
	dropped     map[string]int64        // likewise
}

func loadState(get func(string) []byte) (state, error) {
	s := state{positions: map[string]event.Position{}}
	var err error
	if s.incarnation, err = decodeUint64(metaIncarnation, get(metaIncarnation)); err != nil {
		return s, err
	}
	high, err := decodeUint64(metaHigh, get(metaHigh))
	if err != nil {
		return s, err
	}
	s.high = event.Stamp(high)
	var origins []string
	if raw := get(metaOrigins); raw != nil {
		if err := json.Unmarshal(raw, &origins); err != nil {
			return s, fmt.Errorf("names of origins: %w: the store is damaged", err)
		}
	}
	for _, o := range origins {
		if s.positions[o], err = decodePosition(o, get(metaPosition+o)); err != nil {
			return s, err
		}
	}
	if s.past, err = decodePast(get(metaPast)); err != nil {
		return s, err
	}
	if s.reach, err = decodeReach(get(metaReach)); err != nil {
		return s, err
	}
	if s.degraded, err = decodeDegraded(get(metaDegraded)); err != nil {
		return s, err
	}
	if s.alarms, err = decodeAlarms(get(metaAlarms)); err != nil {
		return s, err
	}
	if s.restored, err = decodeRestored(get(metaRestored)); err != nil {
		return s, err
	}
	if s.homeMarks, err = decodeMarks(get(metaHomes)); err != nil {
		return s, fmt.Errorf("marks of homes: %w: the store is damaged", err)
	}
	if s.checkpoints, err = decodeCheckpoints(get(metaCheckpoints)); err != nil {
		return s, err
	}
	if s.dropped, err = decodeDropped(get(metaDropped)); err != nil {
		return s, err
	}
	if _, err = decodeUint64(metaAside, get(metaAside)); err != nil {
		return s, err
	}
	s.barrier, err = decodeBarrier(get(metaBarrier))
	return s, err
}

// seen is the vector as [encodeSeen] writes it.
func (s *state) seen() []byte {
	var few [fewOrigins]seenPair
	all := few[:0]
	for origin, p := range s.positions {
		all = append(all, seenPair{origin, p.Revision})
	}
	return encodePairs(all)
}

func (s *state) vector() event.Vector {
	v := make(event.Vector, len(s.positions))
	for o, p := range s.positions {
		v[o] = p.Revision
	}
	return v
}
