package gateway

import "sync"

// outcomes hands outcomes from the goroutine that applies to one that answers, while there are any: all that were applied
// together are answered together.
type outcomes struct {
	mu      sync.Mutex
	waiting []*quickWrite // guarded by mu
	working bool          // guarded by mu
}

func (o *outcomes) put(w *quickWrite) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, w)
	if !o.working {
		o.working = true
		go o.work()
	}
}

func (o *outcomes) work() {
	var done []*quickWrite
	for {
		clear(done)
		o.mu.Lock()
		done, o.waiting = o.waiting, done[:0]
		o.working = len(done) > 0
		o.mu.Unlock()
		if len(done) == 0 {
			return
		}
		for _, w := range done {
			w.settle()
		}
	}
}
