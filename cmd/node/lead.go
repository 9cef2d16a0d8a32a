package node

import (
	"context"
	"errors"
	"fmt"

	"geogate/replication"
)

// lead follows the leadership of the datacenter: while this node leads, the engine ships, receives and
// counts acks; otherwise it knows whom to name.
func (n *Node) lead(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := n.dc.LeadershipChanged()
		term, leading := n.dc.Leading()
		n.engine.SetLeader(n.name(n.dc.Leader()))
		if !leading {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		if err := n.leadTerm(ctx, changed, term); err != nil {
			return err
		}
	}
	return nil
}

// leadTerm leads until ctx ends or leadership changes.
func (n *Node) leadTerm(ctx context.Context, changed <-chan struct{}, term uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- n.engine.Lead(ctx, term) }()
	select {
	case <-changed:
	case err := <-ended:
		if ctx.Err() == nil && err != nil && !errors.Is(err, replication.ErrNotLeading) {
			return fmt.Errorf("replication of term %d: %w", term, err)
		}
		return nil
	}
	cancel()
	<-ended // it ends because it was told to
	return nil
}
