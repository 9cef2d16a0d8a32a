package consensus

import (
	"sync"

	"geogate/consensus/pb"
)

// roll is what the other members last said of their logs, when their streams began.
type roll struct {
	mu   sync.Mutex
	said map[uint64]pb.Log // guarded by mu; by id
}

func newRoll() *roll { return &roll{said: make(map[uint64]pb.Log)} }

func (r *roll) hear(id uint64, log pb.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said[id] = log
}

// own is what a node says of its log.
func (n *Node) own() pb.Log {
	if n.view.get().commit > founding {
		return pb.Log_LOG_WRITTEN
	}
	return pb.Log_LOG_EMPTY
}

// call looks who of the members has not been heard, and who has a log; 0 for nobody.
func (r *roll) call(members []uint64, self uint64) (missing []uint64, written uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range members {
		switch log, heard := r.said[id]; {
		case id == self:
		case !heard:
			missing = append(missing, id)
		case log == pb.Log_LOG_WRITTEN:
			written = id
		}
	}
	return missing, written
}
