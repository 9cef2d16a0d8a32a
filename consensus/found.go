package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.etcd.io/etcd/server/v3/wal/walpb"
	"go.uber.org/zap"
)

// Founding says of which group a log begins, and where.
type Founding struct {
	Dir       string   // the log comes to Dir/wal, which must not be there
	ClusterID uint64   // as in [Config]
	NodeID    uint64   // as in [Config]
	Voters    []uint64 // the members of the group, the same list on every node
	Index     uint64   // of the state machine's state, which is the same on every node
	Term      uint64

	book     *Membership // of a survivor; nil: the voters are those of Config.Members
	identity *Config     // likewise: whose log it is
}

// Applied is the position at which the state machine must be.
func (f *Founding) Applied() (Applied, error) {
	conf, err := encodeConf(&raftpb.ConfState{Voters: f.Voters}, f.book)
	return Applied{Index: f.Index, Term: f.Term, ConfState: conf}, err
}

// Found makes the log of a group that begins with a state instead of nothing, as if all its nodes had been
// given the same snapshot. It is on disk when Found returns. A node that is opened on it must have its state
// machine at [Founding.Applied].
func Found(f Founding) error {
	cfg := Config{Dir: f.Dir, ClusterID: f.ClusterID, NodeID: f.NodeID}
	if f.identity != nil {
		cfg = *f.identity
	}
	dir := filepath.Join(f.Dir, "wal")
	if f.ClusterID == 0 || f.NodeID == 0 || len(f.Voters) == 0 || f.Index < founding || f.Term < founding {
		return fmt.Errorf("%w: found a log: cluster %x, node %x, members %x, index %d, term %d", ErrConfig, f.ClusterID, f.NodeID, f.Voters, f.Index, f.Term)
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	w, err := wal.Create(zap.NewNop(), dir, cfg.identity())
	if err != nil {
		return fmt.Errorf("create log in %s: %w", dir, err)
	}
	conf := raftpb.ConfState{Voters: f.Voters}
	err = w.SaveSnapshot(walpb.Snapshot{Index: f.Index, Term: f.Term, ConfState: &conf})
	if err == nil {
		err = w.Save(raftpb.HardState{Term: f.Term, Commit: f.Index}, nil)
	}
	if err == nil {
		err = w.Sync()
	}
	if err != nil {
		return closing(w, fmt.Errorf("%w: %w", ErrLogWrite, err))
	}
	return errors.Join(w.Close(), syncDir(f.Dir))
}
