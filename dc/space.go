package dc

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// space watches the room on the replica's disk. Below the least that must be free, writes that need more room are
// refused while deletes, compaction and what other datacenters send go on. A disk that is full stops the node; one
// that is nearly full leaves it time to be helped.
type space struct {
	dir   string
	least int64 // bytes; not above 0: nothing is refused
	free  func(dir string) (bytes int64, err error)
	log   *slog.Logger

	left atomic.Int64 // what was free when it was looked at last; -1 before that and when it is unknown
	low  atomic.Bool
	kept bool // it was said that nobody takes the leadership over; of the goroutine that looks
}

func newSpace(cfg *Config) *space {
	s := &space{dir: cfg.Dir, least: cfg.MinFreeBytes, free: cfg.FreeBytes, log: cfg.Logger}
	s.left.Store(-1)
	return s
}

// enough is what must be free to take writes again: a quarter more than what stopped them, so that a disk on the
// brink does not flap.
func (s *space) enough() int64 { return s.least + s.least/4 }

func (s *space) look() {
	left, err := s.free(s.dir)
	if err != nil {
		if s.left.Swap(-1) >= 0 {
			s.log.Warn("could not find out what is free on the disk", "dir", s.dir, "error", err)
		}
		return
	}
	s.left.Store(left)
	switch low := s.low.Load(); {
	case !low && left < s.least:
		s.low.Store(true)
		s.log.Error("the disk is nearly full: puts are refused while this node leads, until space is freed", "dir", s.dir, "free_bytes", left,
			"min_free_bytes", s.least, "enough_bytes", s.enough())
	case low && left >= s.enough():
		s.low.Store(false)
		s.log.Info("the disk has room again", "dir", s.dir, "free_bytes", left)
	}
}

// problem is "" while there is room.
func (s *space) problem() string {
	if !s.low.Load() {
		return ""
	}
	return fmt.Sprintf("the disk of %s has %d bytes free, fewer than %d (limits.min_free_bytes): puts are refused while this node leads, until %d are free",
		s.dir, s.left.Load(), s.least, s.enough())
}

// refuse says whether a write must wait for room. Deletes are what makes room.
func (s *space) refuse(k kind, req proto.Message) bool {
	if !s.low.Load() {
		return false
	}
	switch k {
	case kindPut:
		return true
	case kindTxn:
		return puts(req.(*pb.TxnRequest))
	}
	return false
}

// puts says whether a transaction may put anything.
func puts(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && puts(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}

// Problem is why this replica can't serve fully, "" when it can: a store that takes no more writes, which ends
// the process soon, data that differs from the leader's, or a disk that is nearly full.
func (d *DC) Problem() string {
	if err := d.store.Problem(); err != nil {
		return err.Error()
	}
	if c := d.ReplicaCheck(); c.Problem != "" {
		return c.Problem
	}
	return d.space.problem()
}
