package consensus

import (
	"context"
	"sync"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// mailbox is a queue of Raft messages, bounded in number and bytes. One message always fits.
type mailbox struct {
	maxMessages int
	maxBytes    int
	ready       chan struct{} // capacity 1; receives when there may be something to take

	mu    sync.Mutex
	queue []raftpb.Message
	bytes int
	space chan struct{}    // closed when messages are taken; nil while nobody waits for that
	spare []raftpb.Message // empty; queue when the next message comes
}

// keptMessages bounds the queue that is kept for the next messages.
const keptMessages = 64

func newMailbox(messages, bytes int) *mailbox {
	return &mailbox{maxMessages: messages, maxBytes: bytes, ready: make(chan struct{}, 1)}
}

// offer adds a message unless the queue is full or already holds limit messages.
func (b *mailbox) offer(m raftpb.Message, limit int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) < limit && b.addLocked(m)
}

// push adds a message and waits for space until ctx ends.
func (b *mailbox) push(ctx context.Context, m raftpb.Message) error {
	for {
		b.mu.Lock()
		if b.addLocked(m) {
			b.mu.Unlock()
			return nil
		}
		if b.space == nil {
			b.space = make(chan struct{})
		}
		space := b.space
		b.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *mailbox) addLocked(m raftpb.Message) bool {
	n := m.Size()
	if len(b.queue) > 0 && (len(b.queue) >= b.maxMessages || b.bytes+n > b.maxBytes) {
		return false
	}
	if b.queue == nil {
		b.queue, b.spare = b.spare, nil
	}
	b.queue = append(b.queue, m)
	b.bytes += n
	b.signal()
	return true
}

func (b *mailbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) == 0
}

func (b *mailbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take removes messages from the front until about limit bytes are reached, at least one if there is any. The caller
// may give the memory back with done.
func (b *mailbox) take(limit int) []raftpb.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	n, taken := 0, 0
	for n < len(b.queue) && taken < limit {
		taken += b.queue[n].Size()
		n++
	}
	out := b.queue
	if n == len(b.queue) {
		b.queue = nil
	} else {
		out, b.queue = b.queue[:n:n], b.queue[n:]
		b.signal()
	}
	b.bytes -= taken
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
	return out
}

// done gives back what was taken and is not used any more.
func (b *mailbox) done(taken []raftpb.Message) {
	if cap(taken) == 0 || cap(taken) > keptMessages {
		return
	}
	clear(taken)
	b.mu.Lock()
	b.spare = taken[:0]
	b.mu.Unlock()
}

// clear drops everything.
func (b *mailbox) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue, b.bytes = nil, 0
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
}
