package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"geogate/consensus/pb"
)

// book holds the newest membership for readers; the loop sets it.
type book struct {
	now atomic.Pointer[Membership]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced on each change. guarded by mu
}

func newBook(m *Membership) *book {
	b := &book{changed: make(chan struct{})}
	b.now.Store(m)
	return b
}

func (b *book) get() *Membership { return b.now.Load() }

func (b *book) set(m *Membership) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.Store(m)
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *book) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Membership is who belongs to the group as far as this node knows. It is not to be changed.
func (n *Node) Membership() *Membership { return n.book.get() }

// MembershipChanged is closed at the next change; take it before reading [Node.Membership].
func (n *Node) MembershipChanged() <-chan struct{} { return n.book.next() }

// Removed is closed when this node has learned that it is no member any more. It takes no part from then on, and
// Run returns ErrRemoved at the end of its context or after Config.RemovalGrace.
func (n *Node) Removed() <-chan struct{} { return n.removal.told }

// removal is whether this node was removed, and how it knows.
type removal struct {
	node *Node
	told chan struct{} // closed by tell
	once sync.Once
	by   string // may be read once told is closed
}

func (r *removal) tell(by string) {
	r.once.Do(func() {
		r.by = by
		close(r.told)
		r.node.log.Warn("this node was removed from the group and stops", "told_by", by)
	})
}

// err is nil while the node belongs to the group.
func (r *removal) err() error {
	select {
	case <-r.told:
		return r.errNow()
	default:
		return nil
	}
}

func (r *removal) errNow() error { return fmt.Errorf("%w (%s); %s", ErrRemoved, r.by, rejoin) }

// rejoin is what to do with the data of a removed node.
const rejoin = "to use this machine again, empty the node's directory, add it as a new member, and let it join"

// Pauses of the publisher.
const (
	firstPublish = 100 * time.Millisecond // after a failure; doubles
	lastPublish  = 5 * time.Second        // up to this
	askTimeout   = 3 * time.Second        // for the answer of another node
)

// publish makes the group know what this node says of itself: after its first start as a new member, and when its
// configuration has changed.
func (n *Node) publish(ctx context.Context) {
	pause, said := firstPublish, ""
	if n.applied.wait(ctx, founding, n.stopped) != nil {
		return // a node that joins has nothing to serve before its first snapshot
	}
	for ctx.Err() == nil && n.cfg.Self.Name != "" {
		changed := n.book.next()
		me, known := n.book.get().Member(n.cfg.NodeID)
		if !known || me.saysTheSame(&n.cfg.Self) {
			select { // until it is a member, or somebody else speaks for it
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		err := n.publishOnce(ctx)
		if err == nil {
			pause = firstPublish
		} else if text := err.Error(); text != said && !errors.Is(err, ErrNoLeader) && ctx.Err() == nil {
			said = text
			n.log.Info("could not tell the group this node's name and addresses yet", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(pause):
			pause = min(2*pause, lastPublish)
		}
	}
}

func (n *Node) publishOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	self := n.cfg.Self
	self.ID = n.cfg.NodeID
	switch leader := n.view.get().leader; leader {
	case 0:
		return ErrNoLeader
	case n.cfg.NodeID:
		return n.change(ctx, pb.Change_OPERATION_PUBLISH, &self)
	default:
		p := n.transport.peer(leader)
		if p == nil {
			return fmt.Errorf("%w: the leader %x is not among the members known here", ErrNoLeader, leader)
		}
		_, err := p.client.Publish(ctx, &pb.PublishRequest{Hello: n.transport.hello(leader), Member: memberToProto(&self)})
		return err
	}
}
