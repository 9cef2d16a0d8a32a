package consensus

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc"
)

// Remains is what the log of one node still holds of a group whose other nodes are lost.
type Remains struct {
	Index     uint64 // of the last entry
	Term      uint64 // highest that the node has heard of
	Committed uint64 // index up to which the node knows the entries to be committed; those behind may be
	Members   []Member
	Removed   []uint64
}

// Survey tells what a node that does not run has left. It changes nothing; a torn end of the log is cut off, as at
// every start. Config needs the state machine for its position.
func Survey(cfg Config) (Remains, error) {
	out, _, err := openRemains(&cfg)
	if err != nil {
		return Remains{}, err
	}
	return out.remains(), out.log.wal.Close()
}

// Unfold gives a state machine everything that the log holds behind it, also what this node does not know to be
// committed. A follower hears late what was, and the record of it on its disk is older still: without the end of the
// log, writes that were acknowledged last would be lost. This is what the group would do if it elected this node, so
// it is right as long as no other node is ever heard again.
func Unfold(cfg Config) (Remains, error) {
	o, n, err := openRemains(&cfg)
	if err != nil {
		return Remains{}, err
	}
	if err := o.unfold(n); err != nil {
		return Remains{}, closing(o.log.wal, err)
	}
	return o.remains(), closing(o.log.wal, nil)
}

// orphan is the log of a node whose group is lost.
type orphan struct {
	cfg  *Config
	log  *recovered
	book *Membership // at the end of what was unfolded
}

func openRemains(cfg *Config) (*orphan, *Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(cfg.Dir, "wal")
	segments, err := listSegments(dir)
	if err != nil {
		return nil, nil, err
	}
	if len(segments) == 0 {
		return nil, nil, fmt.Errorf("%w: there is no log in %s", ErrNothingLeft, dir)
	}
	r, err := openLog(cfg)
	if err != nil {
		return nil, nil, err
	}
	n := &Node{cfg: *cfg, log: cfg.Logger}
	if err := n.recoverBook(r); err != nil {
		return nil, nil, closing(r.wal, err)
	}
	if r.applied == 0 && r.restore == nil {
		return nil, nil, closing(r.wal, fmt.Errorf("%w: the node of %s was to join and never got the group's data", ErrNothingLeft, cfg.Dir))
	}
	return &orphan{cfg: cfg, log: r, book: r.book}, n, nil
}

func (o *orphan) remains() Remains {
	r := o.log
	return Remains{
		Index: r.start.Index + uint64(len(r.entries)), Term: r.hard.Term, Committed: r.hard.Commit,
		Members: o.book.Members, Removed: o.book.Removed,
	}
}

func (o *orphan) unfold(n *Node) (err error) {
	r, sm := o.log, o.cfg.StateMachine
	if n.mem, err = newMemoryLog(r); err != nil {
		return fmt.Errorf("load log: %w", err)
	}
	rn, err := n.newRaft(r) // only to count members
	if err != nil {
		return err
	}
	if err := o.begin(sm); err != nil {
		return err
	}
	for i := range r.entries {
		e := &r.entries[i]
		if e.Index <= r.applied {
			continue
		}
		next := Entry{Index: e.Index, Term: e.Term}
		if e.Type != raftpb.EntryNormal {
			cc, what, err := decodeChange(e)
			if err == nil {
				err = checkChange(&cc, what)
			}
			if err == nil {
				o.book, err = o.book.next(e.Index, what)
			}
			if err != nil {
				return fmt.Errorf("%w: membership change at index %d: %w", ErrBroken, e.Index, err)
			}
			conf, err := encodeConf(rn.ApplyConfChange(cc), o.book)
			if err != nil {
				return fmt.Errorf("%w: membership at index %d: %w", ErrBroken, e.Index, err)
			}
			sm.SetConf(e.Index, conf)
		} else if len(e.Data) > 0 {
			next.Data = e.Data
		}
		if err := sm.Apply([]Entry{next}); err != nil {
			return fmt.Errorf("apply entry %d: %w", e.Index, err)
		}
	}
	return nil
}

// begin brings the state machine to where the entries go on.
func (o *orphan) begin(sm StateMachine) error {
	r := o.log
	if r.restore == nil {
		conf, err := encodeConf(&r.conf, r.book)
		if err != nil {
			return fmt.Errorf("%w: membership: %w", ErrBroken, err)
		}
		sm.SetConf(r.applied, conf)
		return nil
	}
	data, err := r.restore.data()
	if err != nil {
		return fmt.Errorf("open received snapshot: %w", err)
	}
	sm.SetConf(r.restore.index, r.restore.raw)
	err = sm.Restore(Applied{Index: r.restore.index, Term: r.restore.term, ConfState: r.restore.raw}, data)
	return errors.Join(err, data.Close())
}

// Survivor makes a founding of the node that is left: the only member, under its id. All others count as removed,
// so one that was not lost after all is told so, and stops, when it comes back.
func (f *Founding) Survivor(cfg *Config, left Remains) {
	book := &Membership{Index: f.Index, Removed: left.Removed}
	for _, m := range left.Members {
		if m.ID == cfg.NodeID {
			m.Learner = false
			book.Members = append(book.Members, m)
		} else {
			book.Removed = append(book.Removed, m.ID)
		}
	}
	f.Voters, f.book, f.identity = []uint64{cfg.NodeID}, book, cfg
}

// Alive asks the members other than this node, and returns those that answer as nodes of this group.
func Alive(ctx context.Context, cfg Config, members []Member) (alive []Member) {
	d := Discovery{ClusterID: cfg.ClusterID}
	for _, m := range members {
		if m.ID == cfg.NodeID {
			continue
		}
		c, err := grpc.NewClient("passthrough:///"+m.Addr, grpc.WithTransportCredentials(transportCredentials(cfg.TLS)), grpc.WithNoProxy())
		if err != nil {
			continue // an address that nothing can be reached at
		}
		if _, err := d.ask(ctx, c); err == nil {
			alive = append(alive, m)
		}
		_ = c.Close() // only asked
	}
	return alive
}
