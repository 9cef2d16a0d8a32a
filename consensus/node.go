package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/raft/v3"
	"go.etcd.io/etcd/server/v3/wal"
)

// Node is one member of the group.
type Node struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	wal       *wal.WAL
	mem       *memoryLog
	loop      *loop
	transport *transport
	trimmer   *trimmer
	paver     *paver
	pulse     *pulse
	queue     *applyQueue
	reads     *reads
	applied   mark
	view      viewer
	ledTerm   atomic.Uint64 // term in which the state machine was told that this node leads
	asked     chan *transfer
	changes   chan *change
	book      *book
	removal   *removal
	always    chan struct{} // closed

	killOnce sync.Once
	killed   chan struct{}
	stopped  chan struct{} // closed when Run has ended, or by Close

	mu    sync.Mutex
	began bool // Run or Close was called
}

// Status is a node's own view of the group.
type Status struct {
	NodeID    uint64
	Term      uint64
	Leader    uint64 // 0 while none is known
	Leading   bool   // this node leads and has applied an entry of its term
	Commit    uint64 // never below Applied, nor below what an acknowledged write was applied at
	Applied   uint64
	LastIndex uint64
	Members   []Member // not to be changed
}

// view is the part of Status that the loop knows.
type view struct {
	term, leader, commit, last uint64
	leads                      bool
}

// viewer passes it on.
type viewer struct {
	mu  sync.Mutex
	now view
}

func (v *viewer) set(now view) {
	v.mu.Lock()
	v.now = now
	v.mu.Unlock()
}

// commit makes a commit index visible on its own, so that nobody sees an entry's effect before it.
func (v *viewer) commit(index uint64) {
	v.mu.Lock()
	v.now.commit = max(v.now.commit, index)
	v.mu.Unlock()
}

func (v *viewer) get() view {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Open opens or founds the log, brings it together with the state machine, and takes the port. It starts
// nothing: call Run, or Close if that is not to be.
func Open(cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.StateMachine == nil {
		return nil, fmt.Errorf("%w: StateMachine is missing", ErrConfig)
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("member", fmt.Sprintf("%016x", cfg.NodeID)), metrics: newMetrics(), queue: newApplyQueue(cfg.MaxApplyQueueBytes),
		reads: newReads(cfg.NodeID, cfg.MaxWaitingReads), asked: make(chan *transfer), changes: make(chan *change),
		always: make(chan struct{}), killed: make(chan struct{}), stopped: make(chan struct{}),
	}
	close(n.always)
	n.removal = &removal{node: n, told: make(chan struct{})}
	n.cfg.Logger = n.log
	r, err := openLog(&n.cfg)
	if err != nil {
		return nil, err
	}
	n.wal = r.wal
	if err := n.build(r); err != nil {
		return nil, closing(r.wal, err)
	}
	return n, nil
}

// build makes the parts of the node around a recovered log.
func (n *Node) build(r *recovered) (err error) {
	if err := n.recoverBook(r); err != nil {
		return err
	}
	if err := clearSnapshots(n.cfg.snapDir(), r.restore); err != nil {
		return err
	}
	if n.mem, err = newMemoryLog(r); err != nil {
		return fmt.Errorf("load log: %w", err)
	}
	n.paver = newPaver(filepath.Join(n.cfg.Dir, "wal"), n.log)
	n.loop = &loop{
		Node: n, wal: pavedLog{r.wal, n.paver}, hard: r.hard, conf: r.conf, recorded: r.start.Index, written: payload(r.entries),
		heard: make(map[uint64]time.Time), said: confirmations{interval: n.cfg.heartbeatInterval()}, news: newNews(n.cfg.MaxNewsDelay),
		thrift: newThrift(n.cfg.MaxSpareDelay),
	}
	if n.loop.raft, err = n.newRaft(r); err != nil {
		return err
	}
	n.trimmer = &trimmer{Node: n, due: make(chan struct{}, 1), released: make(chan uint64, 1)}
	if r.restore == nil {
		n.applied.reach(r.applied)
	}
	st := n.loop.raft.BasicStatus()
	if err := n.loop.publish(st); err != nil {
		return err
	}
	if err := n.resume(r); err != nil {
		return err
	}
	listener := n.cfg.Listener
	if listener == nil {
		if listener, err = net.Listen("tcp", n.cfg.Listen); err != nil {
			return fmt.Errorf("listen for peers: %w", err)
		}
	}
	n.transport = newTransport(n, listener)
	n.transport.arrived.busy = r.restore != nil
	n.loop.young = young{is: n.view.get().last <= founding, self: n.cfg.NodeID, roll: n.transport.roll, book: n.book, log: n.log}
	n.pulse = newPulse(&n.cfg)
	n.pulse.send, n.pulse.count, n.pulse.peers = n.transport.send, n.metrics.stallBeats.Inc, n.transport.others
	if err := n.metrics.register(n.cfg.Registerer, n); err != nil {
		n.transport.close()
		return fmt.Errorf("%w: register metrics: %w", ErrConfig, err)
	}
	return nil
}

// resume queues what the state machine is told first: a snapshot whose restoring a crash interrupted, or who
// the members are.
func (n *Node) resume(r *recovered) error {
	if r.restore != nil {
		n.queue.add(task{restore: r.restore})
		return nil
	}
	if r.applied == 0 {
		return nil // a snapshot comes first
	}
	conf, err := encodeConf(&r.conf, r.book)
	if err != nil {
		return fmt.Errorf("%w: membership: %w", ErrBroken, err)
	}
	n.queue.add(task{conf: &confChange{index: r.applied, conf: conf}})
	return nil
}

// recoverBook finds out who the members are. What the log and the state machine say counts, and the list in Config
// only where an older build has founded the group.
func (n *Node) recoverBook(r *recovered) error {
	if r.book == nil {
		if err := n.checkMembers(r); err != nil {
			return err
		}
		r.book = newMembership(r.start.Index, n.cfg.Members)
		for i := range r.book.Members {
			x := &r.book.Members[i]
			x.Learner = slices.Contains(r.conf.Learners, x.ID)
		}
	}
	n.book = newBook(r.book)
	if r.book.WasRemoved(n.cfg.NodeID) {
		return fmt.Errorf("%w, as its log in %s says; %s", ErrRemoved, filepath.Join(n.cfg.Dir, "wal"), rejoin)
	}
	return nil
}

// checkMembers refuses a list of members that is not the group's.
func (n *Node) checkMembers(r *recovered) error {
	var want, got []uint64
	want = append(append(append(want, r.conf.Voters...), r.conf.Learners...), r.conf.VotersOutgoing...)
	slices.Sort(want)
	want = slices.Compact(want)
	for _, m := range n.cfg.Members {
		got = append(got, m.ID)
	}
	if !slices.Equal(want, got) {
		return fmt.Errorf("%w: Members are %x, but the group in %s was founded with %x; list those, change them later with the member commands",
			ErrConfig, got, filepath.Join(n.cfg.Dir, "wal"), want)
	}
	return nil
}

func (n *Node) newRaft(r *recovered) (rn *raft.RawNode, err error) {
	defer raftGivesUp(&err)
	return raft.NewRawNode(&raft.Config{
		ID:                        n.cfg.NodeID,
		ElectionTick:              n.cfg.ElectionTicks,
		HeartbeatTick:             n.cfg.HeartbeatTicks,
		Storage:                   n.mem,
		Applied:                   r.applied,
		MaxSizePerMsg:             uint64(n.cfg.MaxSizePerMsg),
		MaxCommittedSizePerReady:  uint64(n.cfg.MaxCommittedSizePerReady),
		MaxUncommittedEntriesSize: uint64(n.cfg.MaxUncommittedEntriesSize),
		MaxInflightMsgs:           n.cfg.MaxInflightMsgs,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		Logger:                    raftLogger{n.log},
	})
}

// Run runs the node until ctx ends, Kill is called, or it fails; then all its goroutines are gone and its files
// and port are closed. At the end of ctx a leader hands over first, which takes up to Config.StopTimeout. The
// error is nil after a clean stop and after Kill.
func (n *Node) Run(ctx context.Context) error {
	if !n.begin() {
		return ErrRunning
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	failed := make(chan error, 3)
	var wg, applying sync.WaitGroup
	start := func(wg *sync.WaitGroup, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(work); err != nil {
				failed <- err
			}
		})
	}
	applier := &applier{Node: n, term: n.appliedTerm()}
	start(&applying, applier.run)
	start(&wg, n.transport.run)
	start(&wg, n.trimmer.run)
	start(&wg, n.paver.run)
	wg.Go(func() { n.pulse.run(work) })
	wg.Go(func() { n.publish(work) })

	err := n.loop.run(ctx, failed)
	n.reads.fail(ErrStopped)
	close(n.stopped)
	cancel()
	wg.Wait()
	applying.Wait()
	n.metrics.unregister(n.cfg.Registerer)
	if errors.Is(err, errKilled) {
		n.wal.SetUnsafeNoFsync()
		return n.wal.Close()
	}
	applier.stop()
	if err == nil {
		select {
		case err = <-failed: // while stopping
		default:
		}
	}
	if errors.Is(err, ErrRemoved) {
		return errors.Join(err, n.closeLog())
	}
	if err != nil {
		n.log.Error("node failed", "error", err)
		return errors.Join(err, n.abandon())
	}
	return n.closeLog()
}

// closeLog saves the commit index, which was not worth an fsync before, and closes the log.
func (n *Node) closeLog() error {
	err := n.loop.wal.Save(n.loop.hard, nil)
	return errors.Join(err, n.loop.wal.Close())
}

// abandon closes the log of a failed node without another attempt to write.
func (n *Node) abandon() error {
	n.wal.SetUnsafeNoFsync()
	return n.wal.Close()
}

func (n *Node) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.began {
		return false
	}
	n.began = true
	return true
}

// Close releases the files and the port of a node that was opened and is not to run. After Run it does nothing.
func (n *Node) Close() error {
	if !n.begin() {
		return nil
	}
	close(n.stopped)
	n.transport.close()
	n.metrics.unregister(n.cfg.Registerer)
	return n.closeLog()
}

// Kill stops the node as a crash would: no hand-over, no last sync, no word to the state machine. Run returns
// soon after, once the state machine has returned from what it is doing.
func (n *Node) Kill() { n.killOnce.Do(func() { close(n.killed) }) }

// Status returns this node's view of the group.
func (n *Node) Status() Status {
	applied := n.applied.get() // first: the commit index may move on
	v := n.view.get()
	return Status{
		NodeID: n.cfg.NodeID, Term: v.term, Leader: v.leader, Leading: v.leads && n.ledTerm.Load() == v.term,
		Commit: v.commit, Applied: applied, LastIndex: v.last, Members: n.book.get().Members,
	}
}

func (n *Node) term() uint64 { return n.view.get().term }

// appliedTerm is the term of the entry at which replay begins; 0 if a snapshot comes first.
func (n *Node) appliedTerm() uint64 {
	term, err := n.mem.Term(n.applied.get())
	if err != nil {
		return 0
	}
	return term
}

func (n *Node) isStopped() bool {
	select {
	case <-n.stopped:
		return true
	default:
		return false
	}
}
