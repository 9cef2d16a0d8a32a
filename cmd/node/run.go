package node

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Run serves until ctx ends or a part fails. It stops in the order in which requests flow: first the
// gateway answers what it has taken, then replication ends, then the group hands over leadership.
func (n *Node) Run(ctx context.Context) error {
	g, failed := errgroup.WithContext(ctx)
	// Each stage outlives the one before it.
	gatewayDone, engineDone := make(chan struct{}), make(chan struct{})
	after := func(done <-chan struct{}) context.Context {
		c, cancel := context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			<-done
			cancel()
		}()
		return c
	}
	engineCtx, dcCtx := after(gatewayDone), after(engineDone)

	front, stopFront := context.WithCancel(failed)
	defer stopFront()
	var serving sync.WaitGroup
	serving.Add(2)
	g.Go(func() error { defer serving.Done(); return n.gateway.Run(front) })
	g.Go(func() error { defer serving.Done(); return n.admin.Run(front) })
	go func() {
		serving.Wait()
		close(gatewayDone)
	}()

	var engine sync.WaitGroup
	engine.Add(2)
	g.Go(func() error { defer engine.Done(); return n.engine.Run(engineCtx) })
	g.Go(func() error { defer engine.Done(); return n.lead(engineCtx) })
	go func() {
		engine.Wait()
		close(engineDone)
	}()
	g.Go(func() error { return n.dc.Run(dcCtx) })
	err := g.Wait()
	if cerr := n.engine.Close(); err == nil {
		err = cerr
	}
	return err
}

// Kill ends the node as a crash of the process would: nothing is handed over, flushed or answered.
func (n *Node) Kill() {
	n.dc.Kill()
	n.gateway.Kill()
}
