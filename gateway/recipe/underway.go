package recipe

import "sync"

// underway counts what goes on.
type underway struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	none chan struct{} // guarded by mu: closed when n falls to 0; nil while nobody asks
}

func (u *underway) add(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n += n; u.n == 0 && u.none != nil {
		close(u.none)
		u.none = nil
	}
}

// idle is closed once nothing goes on.
func (u *underway) idle() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if u.none == nil {
		u.none = make(chan struct{})
	}
	return u.none
}
