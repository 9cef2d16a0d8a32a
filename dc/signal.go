package dc

import "sync"

// signal wakes everyone who waits for the next change. Take the channel before looking at what may change.
type signal struct {
	mu   sync.Mutex
	next chan struct{} // guarded by mu
}

func newSignal() signal { return signal{next: make(chan struct{})} }

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.next)
	s.next = make(chan struct{})
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}
