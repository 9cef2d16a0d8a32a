package dc

import (
	"encoding/binary"
	"fmt"

	"geogate/replication/event"
)

// Names of the small state that rides in the same bbolt transaction as the data.
const (
	metaIncarnation = "incarnation"  // 8 bytes, big endian
	metaDegraded    = "degraded"     // JSON: writes under a weaker policy, see degraded.go
	metaHigh        = "high"         // highest stamp applied, 8 bytes, big endian
	metaPosition    = "position/"    // + origin: incarnation 8, revision 8, hash 32
	metaOrigins     = "origins"      // names of all origins that have a position, JSON
	metaBarrier     = "barrier"      // see stability.go
	metaPast        = "past"         // see marks.go
	metaRestored    = "restored"     // see restored.go
	metaReach       = "reach"        // see marks.go
	metaAlarms      = "alarms"       // see alarm.go
	metaHomes       = "homes"        // JSON: marks of decisions on homes, see register.go
	metaHomesLost   = "homes lost"   // the lease that a restored datacenter may have forgotten
	metaMulti       = "multi-writer" // prefixes of multi-writer keyspaces within single-writer ones, see multiwriter.go
	metaAside       = "aside"        // 8 bytes, big endian: the number of the last write that was set aside
	metaCheckpoints = "checkpoints"  // JSON, see keep.go
	metaDropped     = "dropped"      // JSON, see keep.go
	metaAuth        = "auth"         // auth revision (8 bytes, big endian), then the secret of tokens (32 bytes), if there is one
)

func encodePosition(p event.Position) []byte {
	b := make([]byte, 0, 16+len(p.Hash))
	b = binary.BigEndian.AppendUint64(b, p.Incarnation)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Revision))
	return append(b, p.Hash[:]...)
}

func decodePosition(origin string, b []byte) (event.Position, error) {
	p := event.Position{Origin: origin}
	if b == nil {
		return p, nil
	}
	if len(b) != 16+len(p.Hash) {
		return p, fmt.Errorf("position of %s has %d bytes, want %d: the store is damaged", origin, len(b), 16+len(p.Hash))
	}
	p.Incarnation = binary.BigEndian.Uint64(b)
	p.Revision = int64(binary.BigEndian.Uint64(b[8:]))
	copy(p.Hash[:], b[16:])
	return p, nil
}

func encodeUint64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func decodeUint64(name string, b []byte) (uint64, error) {
	if b == nil {
		return 0, nil
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%s has %d bytes, want 8: the store is damaged", name, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
