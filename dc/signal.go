package dc

import "sync"

// signal wakes everyone who waits for the next change. Take the channel before looking at what may change.
type signal struct {
	mu   sync.Mutex
	next chan struct{} // guarded by mu; nil while nobody waits
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}
