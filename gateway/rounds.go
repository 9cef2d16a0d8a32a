package gateway

import "sync"

// rounds shares the answers to a question that many ask: whoever comes gets that of a round which begins afterwards.
type rounds[T any] struct {
	most  int          // at a time
	spawn func(func()) // runs it in a goroutine
	run   func() (T, error)

	mu      sync.Mutex
	running int       // guarded by mu
	next    *round[T] // begins when one that runs has ended. guarded by mu
}

// round is one of them. Its result may be read once done is closed.
type round[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// join is the next round to begin.
func (g *rounds[T]) join() *round[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running < g.most {
		r := &round[T]{done: make(chan struct{})}
		g.running++
		g.begin(r)
		return r
	}
	if g.next == nil {
		g.next = &round[T]{done: make(chan struct{})}
	}
	return g.next
}

func (g *rounds[T]) begin(r *round[T]) {
	g.spawn(func() {
		r.value, r.err = g.run()
		close(r.done)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.next == nil {
			g.running--
			return
		}
		r, g.next = g.next, nil
		g.begin(r)
	})
}
