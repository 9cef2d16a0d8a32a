package dc

import (
	"encoding/json"
	"fmt"
)

// note goes with a confirm item.
type note struct {
	// Lives are the incarnations that the matrix was made of, by origin. Revisions of another life mean
	// something else.
	Lives map[string]uint64 `json:"lives,omitempty"`
	// Trim drops frames that some DC may not have: they are past retention.
	Trim map[string]excess `json:"trim,omitempty"`
	// Left are degradations that are over, by keyspace.
	Left map[string]left `json:"left,omitempty"`
	// Mark has every replica note what it holds here, and Check compares: see replicacheck.go.
	Mark  bool         `json:"mark,omitempty"`
	Check *replicaMark `json:"check,omitempty"`
}

// excess is the part of a chain that is past retention. It was measured by the leader; every replica drops
// the same frames, because it names them.
type excess struct {
	Incarnation uint64 `json:"incarnation"`
	Revision    int64  `json:"revision"`
}

func decodeNote(raw []byte) (note, error) {
	var n note
	if raw == nil {
		return n, nil
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return n, fmt.Errorf("%w: note of a confirmation: %w", ErrMalformed, err)
	}
	return n, nil
}

// alive says whether each life is the present one of its origin.
func (s *state) alive(lives map[string]uint64) bool {
	for origin, incarnation := range lives {
		if s.positions[origin].Incarnation != incarnation {
			return false
		}
	}
	return true
}
