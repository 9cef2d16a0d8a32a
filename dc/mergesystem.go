package dc

import (
	"encoding/json"
	"fmt"

	"geogate/dc/store"
	"geogate/replication/event"
)

// mergeSystem is mergeOp for an entry of the system table: the same rule. The value of a loser is not kept with
// the conflict, since it may be a password's hash.
func mergeSystem(b *store.Batch, op *event.Op, g store.Geo, seen event.Vector) (changed, conflict bool, err error) {
	name := string(op.Key)
	head := b.System(name)
	changed = mergeSystemState(b, &store.SystemEntry{Name: name, Value: op.Value, Deleted: op.Kind == event.OpSystemDelete, Geo: g})
	if head == nil || head.Geo.Origin == g.Origin || seen[head.Geo.Origin] >= head.Geo.OriginRevision {
		return changed, false, nil
	}
	if seenOf(head.Geo.Seen, g.Origin) >= g.OriginRevision {
		return changed, false, nil
	}
	c := Conflict{Key: op.Key, System: true, Winner: sideOf(&head.Geo, head.Deleted), Loser: sideOf(&g, op.Kind == event.OpSystemDelete)}
	if changed {
		c.Winner, c.Loser = c.Loser, c.Winner
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return changed, false, fmt.Errorf("encode conflict: %w", err)
	}
	b.Conflict(raw)
	return changed, true, nil
}

func sideOf(g *store.Geo, deleted bool) Side {
	return Side{Origin: g.Origin, Revision: g.OriginRevision, Time: g.Stamp.Time().UTC(), Stamp: uint64(g.Stamp), Deleted: deleted}
}

// mergeSystemState keeps the later of two states of an entry, and says whether it changed anything.
func mergeSystemState(b *store.Batch, e *store.SystemEntry) bool {
	head := b.System(e.Name)
	if head != nil && !event.Later(e.Geo.Stamp, e.Geo.Origin, head.Geo.Stamp, head.Geo.Origin) {
		return false
	}
	switch {
	case !e.Deleted:
		b.PutSystem(e.Name, e.Value, e.Geo)
	case head != nil && !head.Deleted:
		b.DeleteSystem(e.Name, e.Geo)
	default:
		b.BurySystem(e.Name, e.Geo)
	}
	return true
}
