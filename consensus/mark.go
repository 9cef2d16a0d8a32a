package consensus

import (
	"context"
	"sort"
	"sync"
)

// mark is the applied index and those who wait for it. Waiters of one index share a channel, so it grows with
// the log that is not applied yet and not with the number of readers.
type mark struct {
	mu      sync.Mutex
	index   uint64
	waiting []waitMark // ascending
}

type waitMark struct {
	index uint64
	done  chan struct{}
}

func (m *mark) get() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index
}

// reach moves the mark forward and releases those it reaches.
func (m *mark) reach(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index = max(m.index, index)
	n := 0
	for n < len(m.waiting) && m.waiting[n].index <= m.index {
		close(m.waiting[n].done)
		n++
	}
	if m.waiting = m.waiting[n:]; len(m.waiting) == 0 {
		m.waiting = nil
	}
}

// wait returns nil once the mark has reached index.
func (m *mark) wait(ctx context.Context, index uint64, stopped <-chan struct{}) error {
	m.mu.Lock()
	if index <= m.index {
		m.mu.Unlock()
		return nil
	}
	i := sort.Search(len(m.waiting), func(i int) bool { return m.waiting[i].index >= index })
	if i == len(m.waiting) || m.waiting[i].index != index {
		m.waiting = append(m.waiting, waitMark{})
		copy(m.waiting[i+1:], m.waiting[i:])
		m.waiting[i] = waitMark{index: index, done: make(chan struct{})}
	}
	done := m.waiting[i].done
	m.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-stopped:
		return ErrStopped
	}
}
