package dc

import (
	"encoding/json"
	"fmt"
	"time"

	"geogate/dc/store"
	"geogate/replication/event"
)

// maxConflictValue bounds the value kept with a conflict, in bytes; longer ones are cut and marked.
const maxConflictValue = 64 << 10

// Side is one of the two versions in a conflict.
type Side struct {
	Origin   string    `json:"origin"`
	Revision int64     `json:"revision"` // origin revision
	Time     time.Time `json:"time"`     // of its stamp
	Stamp    uint64    `json:"stamp"`
	Deleted  bool      `json:"deleted,omitempty"`
}

// Conflict records two versions of a key that were written without knowledge of each other, and what was
// lost: the merge rule keeps the later stamp.
type Conflict struct {
	Key       []byte `json:"key"`
	Winner    Side   `json:"winner"`
	Loser     Side   `json:"loser"`
	Value     []byte `json:"value,omitempty"` // of the loser
	Truncated bool   `json:"truncated,omitempty"`
	System    bool   `json:"system,omitempty"` // Key is the name of an entry of the system table, whose value is not kept
}

// merge applies a frame of another DC key by key: the later stamp wins, ties go to the greater DC name.
// It runs in every replica in the same order and reads nothing but the batch, so all of them agree.
// Of the requests that the transactions carry, the newest `keep` are remembered. touched names the entries of
// the system table that changed.
func merge(b *store.Batch, f *event.Frame, keep int) (conflicts int, touched []string, err error) {
	seen := f.Seen.Clone()
	seen[f.Origin] = f.PrevRevision
	encoded := encodeSeen(seen)
	for i := range f.Txns {
		t := &f.Txns[i]
		b.NextTxn()
		g := store.Geo{Origin: f.Origin, OriginRevision: t.Revision, Stamp: t.Stamp, Seen: encoded}
		for j := range t.Ops {
			op := &t.Ops[j]
			merge := mergeOp
			if op.Kind.System() {
				merge = mergeSystem
			}
			changed, conflict, err := merge(b, op, g, f.Seen)
			if err != nil {
				return conflicts, touched, err
			}
			if changed && op.Kind.System() {
				touched = append(touched, string(op.Key))
			}
			if conflict {
				conflicts++
			}
		}
		if t.Request != nil {
			if err := rememberForeign(b, f.Origin, t, keep); err != nil {
				return conflicts, touched, err
			}
		}
	}
	return conflicts, touched, nil
}

func mergeOp(b *store.Batch, op *event.Op, g store.Geo, seen event.Vector) (changed, conflict bool, err error) {
	head, known := b.Head(op.Key)
	wins := !known || event.Later(g.Stamp, g.Origin, head.Geo.Stamp, head.Geo.Origin)
	if known && head.Geo.Origin != g.Origin && seen[head.Geo.Origin] < head.Geo.OriginRevision {
		if conflict, err = recordIfConcurrent(b, op, g, head, wins); err != nil {
			return false, false, err
		}
	}
	if !wins {
		return false, conflict, nil
	}
	switch {
	case op.Kind == event.OpPut:
		b.Put(op.Key, op.Value, op.Lease, g)
	case known && head.Live:
		b.Delete(op.Key, g)
	default:
		b.Bury(op.Key, g)
	}
	return true, conflict, nil
}

// recordIfConcurrent logs a conflict between op and the key's present state, which op's origin had not
// seen. It is none when the present state was written with knowledge of op: then op is only late, having
// come by a slower way than what replaced it.
func recordIfConcurrent(b *store.Batch, op *event.Op, g store.Geo, head store.Head, wins bool) (bool, error) {
	if seenOf(b.Seen(op.Key), g.Origin) >= g.OriginRevision {
		return false, nil
	}
	arriving := Side{Origin: g.Origin, Revision: g.OriginRevision, Time: g.Stamp.Time().UTC(), Stamp: uint64(g.Stamp), Deleted: op.Kind == event.OpDelete}
	present := Side{Origin: head.Geo.Origin, Revision: head.Geo.OriginRevision, Time: head.Geo.Stamp.Time().UTC(), Stamp: uint64(head.Geo.Stamp), Deleted: !head.Live}
	c := Conflict{Key: op.Key, Winner: present, Loser: arriving, Value: op.Value}
	if wins {
		c.Winner, c.Loser, c.Value = arriving, present, nil
		if head.Live {
			old, err := b.Get(op.Key)
			if err != nil {
				return false, err
			}
			if old != nil {
				c.Value = old.Value
			}
		}
	}
	if len(c.Value) > maxConflictValue {
		c.Value, c.Truncated = c.Value[:maxConflictValue], true
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return false, fmt.Errorf("encode conflict: %w", err)
	}
	b.Conflict(raw)
	return true, nil
}
