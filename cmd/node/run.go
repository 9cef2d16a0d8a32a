package node

import (
	"context"
	"errors"
	"sync"
)

// Run serves until ctx ends or a part stops. It stops in the order in which requests flow: first the gateway
// answers what it has taken, then replication ends, then the group hands over leadership.
func (n *Node) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-n.killed:
			stop()
		case <-n.dc.Removed(): // those who are still served here are served to the end
			stop()
		case <-ctx.Done():
		}
	}()
	// Each stage outlives the one before it.
	dcStage := newStage(stop, n.dc.Run)
	engineStage := newStage(stop, n.engine.Run, n.lead, n.tell)
	front := newStage(stop, n.gateway.Run, n.admin.Run)

	dcStage.start()
	engineStage.start()
	front.start()
	<-ctx.Done()
	err := front.end()
	err = errors.Join(err, engineStage.end())
	err = errors.Join(err, dcStage.end())
	return withAdvice(errors.Join(err, n.engine.Close()), n.spec.Dir)
}

// Kill ends the node as a crash of the process would: nothing is handed over, flushed or answered.
func (n *Node) Kill() {
	n.killOnce.Do(func() { close(n.killed) })
	n.dc.Kill()
	n.gateway.Kill()
}

// stage is parts of a node that stop together.
type stage struct {
	parts []func(context.Context) error
	ended func() // is called when a part returns: no part runs without the others

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	err    error // guarded by mu
}

func newStage(ended func(), parts ...func(context.Context) error) *stage {
	s := &stage{parts: parts, ended: ended}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *stage) start() {
	for _, part := range s.parts {
		s.wg.Go(func() {
			defer s.ended()
			err := part(s.ctx)
			if err == nil || s.ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = errors.Join(s.err, err)
		})
	}
}

// end stops the parts and returns what went wrong in them, when they are gone.
func (s *stage) end() error {
	s.cancel()
	s.wg.Wait()
	return s.err
}
