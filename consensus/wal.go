package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.etcd.io/etcd/server/v3/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"geogate/consensus/pb"
)

// logFile is what the loop needs of an open write-ahead log. Errors are final.
type logFile interface {
	Save(raftpb.HardState, []raftpb.Entry) error
	SaveSnapshot(walpb.Snapshot) error
	ReleaseLockTo(index uint64) error
	Sync() error
	Close() error
}

var _ logFile = (*wal.WAL)(nil)

// founding is the position at which every group begins: all nodes start equal, as if they had been given the
// same snapshot, and no entry has to introduce the members.
const founding = 1

// recovered is an opened log and the state in which the node was.
type recovered struct {
	wal     *wal.WAL
	hard    raftpb.HardState
	start   walpb.Snapshot // entries begin behind it
	entries []raftpb.Entry
	applied uint64           // where replay into the state machine begins
	conf    raftpb.ConfState // membership at applied
	book    *Membership      // likewise; nil when an older build founded the group
	restore *snapshotFile    // received before a crash and not restored yet; nil mostly
	torn    string           // what was repaired; "" mostly
}

// identity is the metadata of a log, written at the head of each segment.
func (c *Config) identity() []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Identity{
		Version: 1, ClusterId: c.ClusterID, NodeId: c.NodeID, Name: c.Self.Name, Joined: c.Join,
		Membership: membershipToProto(newMembership(c.firstIndex(), c.Members)),
	})
	if err != nil {
		panic(err) // validate has seen the texts
	}
	return b
}

// firstIndex is where the log of a new node begins: founders begin equal, one that joins begins with nothing.
func (c *Config) firstIndex() uint64 {
	if c.Join {
		return 0
	}
	return founding
}

// openLog opens or founds the log in dir and brings it together with the state machine's durable position.
func openLog(cfg *Config) (*recovered, error) {
	dir := filepath.Join(cfg.Dir, "wal")
	durable := cfg.StateMachine.Durable()
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		if durable.Index > 0 {
			return nil, fmt.Errorf("%w: there is no log in %s, but the state machine is at index %d; put the log back, or %s",
				ErrBehind, dir, durable.Index, replaceNode)
		}
		return foundLog(cfg, dir)
	}
	scan, err := scanLog(dir, segments)
	if err != nil {
		return nil, err
	}
	id, err := cfg.checkIdentity(scan.identity, filepath.Join(dir, segments[0].name))
	if err != nil {
		return nil, err
	}
	if scan.torn != "" {
		cfg.Logger.Warn("log ends in a torn write, which was never confirmed; cutting it off", "dir", dir, "torn", scan.torn)
		if !wal.Repair(nil, dir) {
			return nil, fmt.Errorf("%w: %s: %s: the torn end can't be cut off, which takes room for a copy of that segment; free some space, or %s",
				ErrDamaged, dir, scan.torn, replaceNode)
		}
	}
	if scan.last == 0 && durable.Index == 0 {
		return foundAgain(cfg, dir, id, scan.torn)
	}
	r, err := replay(cfg, dir, id, scan, durable)
	if err != nil {
		return nil, err
	}
	r.torn = scan.torn
	return r, nil
}

// foundLog creates the log of a node that has never run.
func foundLog(cfg *Config, dir string) (*recovered, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	w, err := wal.Create(zap.NewNop(), dir, cfg.identity())
	if err != nil {
		return nil, fmt.Errorf("create log in %s: %w", dir, err)
	}
	if cfg.Join {
		return &recovered{wal: w, book: newMembership(0, cfg.Members)}, nil
	}
	return found(w, newMembership(founding, cfg.Members))
}

// foundAgain goes on where a crash interrupted foundLog, or before a node that joins was given its first snapshot.
func foundAgain(cfg *Config, dir string, id *pb.Identity, torn string) (*recovered, error) {
	w, err := wal.Open(zap.NewNop(), dir, walpb.Snapshot{})
	if err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	_, hard, _, err := w.ReadAll()
	if err != nil {
		return nil, closing(w, fmt.Errorf("read log in %s: %w", dir, err))
	}
	book := membershipFromProto(id.Membership)
	if book == nil { // an older build began it
		book = newMembership(founding, cfg.Members)
	}
	if id.Joined {
		return &recovered{wal: w, hard: hard, book: book, torn: torn}, nil
	}
	r, err := found(w, book)
	if err == nil {
		r.torn = torn
	}
	return r, err
}

func found(w *wal.WAL, book *Membership) (*recovered, error) {
	r := &recovered{wal: w, hard: raftpb.HardState{Term: founding, Commit: founding}, applied: founding, book: book}
	for _, m := range book.Members {
		r.conf.Voters = append(r.conf.Voters, m.ID)
	}
	r.start = walpb.Snapshot{Index: founding, Term: founding, ConfState: &r.conf}
	err := w.Save(r.hard, nil)
	if err == nil {
		err = w.SaveSnapshot(r.start)
	}
	if err != nil {
		return nil, closing(w, fmt.Errorf("%w: %w", ErrLogWrite, err))
	}
	return r, nil
}

// checkIdentity refuses the log of another group or node.
func (c *Config) checkIdentity(identity []byte, path string) (*pb.Identity, error) {
	id := &pb.Identity{}
	if err := proto.Unmarshal(identity, id); err != nil || id.NodeId == 0 {
		return nil, fmt.Errorf("%w: %s does not say whose log it is; restore it, or %s", ErrDamaged, path, replaceNode)
	}
	if id.ClusterId != c.ClusterID || id.NodeId != c.NodeID {
		return nil, fmt.Errorf("%w: %s is of node %x in group %x, this is node %x in group %x; correct the configuration or the directory",
			ErrForeign, path, id.NodeId, id.ClusterId, c.NodeID, c.ClusterID)
	}
	return id, nil
}

// replay reads the log from the newest position that the state machine, or a received snapshot, can begin at.
func replay(cfg *Config, dir string, id *pb.Identity, scan *logScan, durable Applied) (*recovered, error) {
	r := &recovered{book: membershipFromProto(id.Membership)}
	commit := max(scan.state.Commit, durable.Index)
	var newest walpb.Snapshot
	for _, s := range scan.snapshots {
		if s.Index > commit {
			continue // a snapshot that was being received when the node stopped; it never took effect
		}
		if newest = s; s.Index <= max(durable.Index, founding) {
			r.start = s
		}
	}
	if newest.Index > max(durable.Index, founding) {
		file, err := findSnapshot(cfg.snapDir(), newest.Index, newest.Term)
		if err != nil {
			return nil, err
		}
		if r.restore = file; file != nil {
			r.start = newest
		}
	}
	if r.start.Index < founding {
		return nil, fmt.Errorf("%w: %w: the log in %s begins at index %d, but the state machine is at %d: its disk is missing or was restored from an old copy; %s",
			ErrBehind, ErrNeedsCopy, dir, newest.Index, durable.Index, rebuildNode)
	}
	w, err := wal.Open(zap.NewNop(), dir, walpb.Snapshot{Index: r.start.Index, Term: r.start.Term})
	if errors.Is(err, wal.ErrFileNotFound) {
		return nil, fmt.Errorf("%w: %w: the log in %s no longer holds index %d, which the state machine needs; %s", ErrBehind, ErrNeedsCopy, dir, r.start.Index+1, rebuildNode)
	}
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("open log in %s: %w: another process uses it", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	r.wal = w
	if _, r.hard, r.entries, err = w.ReadAll(); err != nil {
		return nil, closing(w, fmt.Errorf("%w: read log in %s from index %d: %w; %s", ErrDamaged, dir, r.start.Index, err, replaceNode))
	}
	r.dropStale()
	if err := r.fit(dir, durable); err != nil {
		return nil, closing(w, err)
	}
	return r, nil
}

// dropStale cuts off what stands behind a received snapshot from before it. Such entries were never committed;
// they show by a term that goes back.
func (r *recovered) dropStale() {
	term := r.start.Term
	for i, e := range r.entries {
		if e.Term < term {
			r.entries = r.entries[:i]
			return
		}
		term = e.Term
	}
}

// fit finds where replay into the state machine begins, and refuses what can't be of one history.
func (r *recovered) fit(dir string, durable Applied) error {
	last := r.start.Index + uint64(len(r.entries))
	r.applied = max(durable.Index, r.start.Index)
	if durable.Index > last {
		return fmt.Errorf("%w: the log in %s ends at index %d, the state machine is at %d: the log was restored from an old copy or lost writes; %s",
			ErrBehind, dir, last, durable.Index, replaceNode)
	}
	if r.hard.Commit > last {
		return fmt.Errorf("%w: the log in %s ends at index %d, but it had committed %d; %s", ErrDamaged, dir, last, r.hard.Commit, replaceNode)
	}
	term := r.start.Term
	if r.applied > r.start.Index {
		term = r.entries[r.applied-r.start.Index-1].Term
	}
	if durable.Index > 0 && r.applied == durable.Index && term != durable.Term {
		return fmt.Errorf("%w: index %d has term %d in the log in %s and term %d in the state machine; they are not of one node; %s",
			ErrBehind, durable.Index, term, dir, durable.Term, replaceNode)
	}
	r.hard.Term = max(r.hard.Term, term)
	r.hard.Commit = max(r.hard.Commit, r.applied)
	return r.membership(dir, durable)
}

// membership finds the members at the position where replay begins.
func (r *recovered) membership(dir string, durable Applied) error {
	if r.start.ConfState != nil {
		r.conf = *r.start.ConfState
	}
	if r.restore != nil {
		r.book = r.restore.book
		return nil
	}
	if r.applied == r.start.Index && len(durable.ConfState) == 0 {
		return nil
	}
	if len(durable.ConfState) > 0 {
		var err error
		if r.conf, r.book, err = decodeConf(durable.ConfState); err != nil {
			return fmt.Errorf("%w: the state machine's membership at index %d can't be decoded: %w; %s", ErrDamaged, durable.Index, err, replaceNode)
		}
		return nil
	}
	for _, e := range r.entries[:r.applied-r.start.Index] {
		if e.Type != raftpb.EntryNormal {
			return fmt.Errorf("%w: the state machine at index %d does not say who the members are, and the log in %s changes them at %d; %s",
				ErrBehind, durable.Index, dir, e.Index, replaceNode)
		}
	}
	return nil
}

// closing closes a log that can't be used and passes the error that says why.
func closing(w *wal.WAL, err error) error {
	w.SetUnsafeNoFsync() // there is nothing to save
	return errors.Join(err, w.Close())
}
