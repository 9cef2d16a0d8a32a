package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal"
	"go.etcd.io/etcd/server/v3/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"geogate/consensus/pb"
)

// rebuildPause is between two rounds of asking all other nodes for a copy.
const rebuildPause = time.Second

// Rebuild prepares a node whose state machine is lost for the next [Open]: it gets a copy of the state machine from
// another node and records it in the log, as if the leader had sent a snapshot and this node had stopped before
// restoring it. The caller then removes what is left of the lost data, so that Durable is zero, and opens the node.
//
// This is safe because the log must be whole. Term, vote and every entry that the node has confirmed stay, and it
// takes part in nothing until it is opened. Without its log a node might vote twice, or miss what it confirmed, so
// Rebuild refuses then.
//
// verify reads the copy before it is recorded, and returns what is wrong with it. Until Config.SnapshotTimeout is
// over Rebuild asks the other nodes in turn. Nothing of the node is changed when it fails. Config needs no state
// machine here.
func Rebuild(ctx context.Context, cfg Config, verify func(at Applied, r io.Reader) error) (Applied, error) {
	if err := cfg.validate(); err != nil {
		return Applied{}, err
	}
	b, err := openRebuild(&cfg)
	if err != nil {
		return Applied{}, err
	}
	if len(b.members) == 1 {
		return Applied{}, closing(b.wal, fmt.Errorf("%w: this group has no other node that could give a copy of the data", ErrNoCopy))
	}
	b.verify = verify
	file, err := b.fetchAny(ctx)
	if err != nil {
		return Applied{}, closing(b.wal, err)
	}
	conf, err := encodeConf(&file.conf, file.book)
	if err == nil {
		err = b.record(file)
	}
	if err != nil {
		return Applied{}, closing(b.wal, err)
	}
	return Applied{Index: file.index, Term: file.term, ConfState: conf}, b.wal.Close()
}

// rebuild is a whole log that waits for a copy.
type rebuild struct {
	*recovered
	cfg     *Config
	members []Member // who may give a copy
	verify  func(at Applied, r io.Reader) error
}

// openRebuild opens the log behind its newest record of a durable position: a copy from before it does not help.
func openRebuild(cfg *Config) (*rebuild, error) {
	dir := filepath.Join(cfg.Dir, "wal")
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("%w: there is no log in %s: this node might have confirmed what it no longer has; %s", ErrNoCopy, dir, replaceNode)
	}
	scan, err := scanLog(dir, segments)
	if err != nil {
		return nil, err
	}
	id, err := cfg.checkIdentity(scan.identity, filepath.Join(dir, segments[0].name))
	if err != nil {
		return nil, err
	}
	if scan.torn != "" && !wal.Repair(nil, dir) {
		return nil, fmt.Errorf("%w: %s: %s: the torn end can't be cut off; %s", ErrDamaged, dir, scan.torn, replaceNode)
	}
	b := &rebuild{recovered: &recovered{}, cfg: cfg, members: cfg.Members}
	if book := membershipFromProto(id.Membership); book != nil {
		b.members = book.Members // a node that joined is in no configuration
	}
	for _, s := range scan.snapshots {
		if s.Index <= scan.state.Commit {
			b.start = s
		}
	}
	if b.start.Index < founding {
		return nil, fmt.Errorf("%w: the log in %s was never founded; remove the directory %s", ErrNoCopy, dir, cfg.Dir)
	}
	if b.wal, err = wal.Open(zap.NewNop(), dir, walpb.Snapshot{Index: b.start.Index, Term: b.start.Term}); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	if _, b.hard, b.entries, err = b.wal.ReadAll(); err != nil {
		return nil, closing(b.wal, fmt.Errorf("%w: read log in %s from index %d: %w; %s", ErrDamaged, dir, b.start.Index, err, replaceNode))
	}
	b.dropStale()
	return b, nil
}

// fetchAny asks the other nodes, again and again, until one gives a copy that fits.
func (b *rebuild) fetchAny(ctx context.Context) (*snapshotFile, error) {
	deadline := time.Now().Add(b.cfg.SnapshotTimeout)
	for {
		var errs []error
		for _, m := range b.members {
			if m.ID == b.cfg.NodeID {
				continue
			}
			file, err := b.fetch(ctx, m)
			if err == nil {
				return file, nil
			}
			errs = append(errs, fmt.Errorf("node %x at %s: %w", m.ID, m.Addr, err))
			b.cfg.Logger.Warn("no copy of the data from this node", "peer", m.ID, "addr", m.Addr, "error", err)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w: no other node gave a copy within %s; start one of them: %w", ErrNoCopy, b.cfg.SnapshotTimeout, errors.Join(errs...))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rebuildPause):
		}
	}
}

// fetch gets one node's copy, and checks it.
func (b *rebuild) fetch(ctx context.Context, m Member) (*snapshotFile, error) {
	creds := insecure.NewCredentials()
	if b.cfg.TLS != nil {
		creds = credentials.NewTLS(b.cfg.TLS)
	}
	t := &transport{cfg: b.cfg, creds: creds}
	conn, err := grpc.NewClient("passthrough:///"+m.Addr, t.dialOptions()...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // only read
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(b.cfg.SnapshotTimeout, func() { cancel(errors.New("no progress")) })
	defer stuck.Stop()
	st, err := pb.NewPeerClient(conn).Copy(ctx, &pb.CopyRequest{Hello: t.hello(m.ID)})
	if err != nil {
		return nil, err
	}
	first, err := st.Recv()
	if err != nil {
		return nil, err
	}
	head := first.Header
	if head == nil || head.Size > math.MaxInt64 || len(head.Conf) > maxConfBytes {
		return nil, errors.New("header of the copy is missing or wrong")
	}
	if err := b.fits(head.Index, head.Term); err != nil {
		return nil, err
	}
	file, err := b.write(head, func() (*pb.SnapshotPart, error) {
		stuck.Reset(b.cfg.SnapshotTimeout)
		return st.Recv()
	})
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	if err := b.examine(file); err != nil {
		return nil, errors.Join(fmt.Errorf("its copy at index %d is not sound: %w", file.index, err), os.Remove(file.path))
	}
	return file, nil
}

func (b *rebuild) write(head *pb.SnapshotHeader, next func() (*pb.SnapshotPart, error)) (*snapshotFile, error) {
	w, err := createSnapshot(b.cfg.snapDir(), head.Index, head.Term, head.Conf, int64(head.Size))
	if err != nil {
		return nil, err
	}
	defer w.discard()
	for {
		part, err := next()
		if err != nil {
			return nil, fmt.Errorf("%d bytes before the end: %w", w.left, noEOF(err))
		}
		if part.End != nil {
			return w.finish(part.End.Checksum)
		}
		if _, err := w.Write(part.Data); err != nil {
			return nil, err
		}
	}
}

// fits refuses a copy with which the log can't go on. Behind the end of the log the copy stands for all of it: the
// copy is committed. Within, the log's own entries go on behind it, so the entry there must be the same.
func (b *rebuild) fits(index, term uint64) error {
	last := b.start.Index + uint64(len(b.entries))
	if index < b.start.Index {
		return fmt.Errorf("its copy is at index %d, the log here goes back to %d only: that node is behind, try again later", index, b.start.Index)
	}
	if index > last {
		return nil
	}
	own := b.start.Term
	if index > b.start.Index {
		own = b.entries[index-b.start.Index-1].Term
	}
	if own != term {
		return fmt.Errorf("its copy is at index %d of term %d, the log here has an entry of term %d there that was never committed: "+
			"try again when the datacenter has committed more than %d", index, term, own, last)
	}
	return nil
}

func (b *rebuild) examine(file *snapshotFile) error {
	conf, err := encodeConf(&file.conf, file.book)
	if err != nil {
		return err
	}
	r, err := file.data()
	if err != nil {
		return err
	}
	return errors.Join(b.verify(Applied{Index: file.index, Term: file.term, ConfState: conf}, r), r.Close())
}

// record writes what the loop writes when the leader has sent a snapshot. Until the state is there too, a record
// from beyond the commit index does not count.
func (b *rebuild) record(file *snapshotFile) error {
	hard := b.hard
	if hard.Term < file.term {
		hard = raftpb.HardState{Term: file.term, Commit: hard.Commit} // no vote in that term yet
	}
	hard.Commit = max(hard.Commit, file.index)
	err := b.wal.SaveSnapshot(walpb.Snapshot{Index: file.index, Term: file.term, ConfState: &file.conf})
	if err == nil {
		err = b.wal.Save(hard, nil)
	}
	if err == nil {
		err = b.wal.Sync()
	}
	if err != nil {
		return fmt.Errorf("%w: record of the copy: %w", ErrLogWrite, err)
	}
	return nil
}
