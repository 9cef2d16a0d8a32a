package consensus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/raft/v3"
)

// reads coalesces readers into rounds. All readers that arrive while a round is under way share the next one,
// and one answer from Raft serves a whole round.
//
// A round may be answered only by a request that was issued after its last reader had joined. So every request,
// a repeated one too, has an id that no node of the group ever uses again; a round keeps the set of ids issued
// for it, and an answer with any other id is thrown away. A change of leader or term empties the set.
type reads struct {
	limit int
	ready chan struct{} // capacity 1; receives when a reader has opened a round

	mu   sync.Mutex
	next *round // being joined; nil when nobody waits

	// Owned by the loop.
	prefix  [16]byte // node id and a random number of this run
	counter uint64
	current *round
	ids     map[string]struct{} // requests issued for current since leader and term last changed
	asked   time.Time           // when the newest of them was issued
}

// round is one answer in the making. index and err may be read once done is closed.
type round struct {
	done    chan struct{}
	opened  time.Time
	readers int // guarded by reads.mu
	index   uint64
	err     error
}

func newReads(node uint64, limit int) *reads {
	r := &reads{limit: limit, ready: make(chan struct{}, 1), ids: make(map[string]struct{})}
	binary.BigEndian.PutUint64(r.prefix[:], node)
	rand.Read(r.prefix[8:]) // never fails
	return r
}

// join adds a reader to the next round.
func (r *reads) join() (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{}), opened: time.Now()}
		select {
		case r.ready <- struct{}{}:
		default:
		}
	}
	if r.next.readers >= r.limit {
		return nil, ErrOverloaded
	}
	r.next.readers++
	return r.next, nil
}

// leave takes a reader that gave up out of the round it joined.
func (r *reads) leave(joined *round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	joined.readers--
}

// begin makes the joined round the current one if there is none. It reports whether a round is under way.
func (r *reads) begin() bool {
	if r.current == nil {
		r.mu.Lock()
		r.current, r.next = r.next, nil
		r.mu.Unlock()
	}
	return r.current != nil
}

// request returns the id to ask Raft for now, nil when nothing is to be asked. There must be a leader.
func (r *reads) request(now time.Time, retry time.Duration) (id []byte, again bool) {
	if !r.begin() {
		return nil, false
	}
	if again = len(r.ids) > 0; again && now.Sub(r.asked) < retry {
		return nil, false
	}
	r.counter++
	id = binary.BigEndian.AppendUint64(append([]byte(nil), r.prefix[:]...), r.counter)
	r.ids[string(id)] = struct{}{}
	r.asked = now
	return id, again
}

// answer ends the current round if one of its requests was answered. It returns the time the round took.
func (r *reads) answer(states []raft.ReadState) (took time.Duration, ended bool) {
	for _, s := range states {
		if _, ok := r.ids[string(s.RequestCtx)]; !ok || r.current == nil {
			continue
		}
		took, ended = time.Since(r.current.opened), true
		r.current.index = s.Index
		close(r.current.done)
		r.current = nil
		clear(r.ids)
	}
	return took, ended
}

// leaderChanged forgets what was asked for: the current round asks the next leader again.
func (r *reads) leaderChanged() { clear(r.ids) }

// fail ends all rounds; the loop is gone.
func (r *reads) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ro := range []*round{r.current, r.next} {
		if ro != nil {
			ro.err = err
			close(ro.done)
		}
	}
	r.current, r.next = nil, nil
}

// ReadIndex returns an index such that a read at it or later, on this node, sees every write that was
// acknowledged anywhere in the group before the call: wait for it with WaitApplied. It works on every node and
// costs one round trip to a majority for all callers that wait at the same time. A change of leader is waited
// out; only the end of ctx ends it, joined with ErrNoLeader if that is the reason.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	if n.isStopped() {
		return 0, ErrStopped
	}
	if err := n.removal.err(); err != nil {
		return 0, err
	}
	r, err := n.reads.join()
	if err != nil {
		return 0, err
	}
	select {
	case <-r.done:
		return r.index, r.err
	case <-n.stopped:
		return 0, ErrStopped
	case <-n.removal.told:
		n.reads.leave(r)
		return 0, n.removal.err()
	case <-ctx.Done():
	}
	n.reads.leave(r)
	if n.Status().Leader == 0 {
		return 0, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
	}
	return 0, ctx.Err()
}

// WaitApplied returns nil once this node's state machine has applied index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	return n.applied.wait(ctx, index, n.stopped)
}
