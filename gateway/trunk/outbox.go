package trunk

import "sync"

// outbox holds what waits for the next message of a stream. One goroutine takes, any number put.
type outbox[T any] struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	items []T // guarded by mu
}

func newOutbox[T any]() *outbox[T] { return &outbox[T]{wake: make(chan struct{}, 1)} }

func (o *outbox[T]) put(item T) {
	o.mu.Lock()
	o.items = append(o.items, item)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits.
func (o *outbox[T]) take() []T {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.items
	o.items = nil
	if len(taken) > 0 {
		o.items = make([]T, 0, len(taken)) // the next moment is about as busy
	}
	return taken
}
