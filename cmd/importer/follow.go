package importer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// askProgress is how often an idle source is asked how far it is.
const askProgress = 200 * time.Millisecond

// follow applies the source's changes behind a revision, until it has everything up to target (0: until ctx
// ends). Each transaction of the source is one here, as far as it fits.
func (r *run) follow(ctx context.Context, behind, target int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start, end := span(r.Prefix)
	changes := r.From.Watch(clientv3.WithRequireLeader(ctx), start,
		clientv3.WithRange(end), clientv3.WithRev(behind+1), clientv3.WithProgressNotify(), clientv3.WithFragment())
	r.applied = behind
	ask := time.NewTicker(askProgress)
	defer ask.Stop()
	for target == 0 || r.applied < target {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.leases.lost:
			return fmt.Errorf("%w: a lease ended at the destination before it did at the source", errAgain)
		case <-ask.C:
			if err := r.From.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
				return fmt.Errorf("%w: ask the source for progress: %w", errAgain, err)
			}
		case resp, ok := <-changes:
			if !ok {
				return fmt.Errorf("%w: the watch of the source ended", errAgain)
			}
			if err := r.take(ctx, &resp); err != nil {
				return err
			}
		}
	}
	return nil
}

// take applies a response of the watch. Only fragments may leave a revision open; its rest is in the next
// response then.
func (r *run) take(ctx context.Context, resp *clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		return fmt.Errorf("%w: watch the source: %w", errAgain, err)
	}
	for events := resp.Events; len(events) > 0; {
		n := 1
		for n < len(events) && events[n].Kv.ModRevision == events[0].Kv.ModRevision {
			n++
		}
		if err := r.write(ctx, r.changesOf(events[:n])...); err != nil {
			return err
		}
		events = events[n:]
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	if n := len(resp.Events); n > 0 {
		r.applied = max(r.applied, resp.Events[n-1].Kv.ModRevision)
	}
	if resp.IsProgressNotify() {
		r.applied = max(r.applied, resp.Header.Revision)
	}
	r.tell(PhaseFollow, 0, 0, resp.Header.Revision)
	return nil
}

// changesOf is one revision's events. A key that was put and deleted in it is there twice; the last one counts.
func (r *run) changesOf(events []*clientv3.Event) []change {
	at := map[string]int{}
	var out []change
	for _, e := range events {
		c := change{key: r.renamed(e.Kv.Key), value: e.Kv.Value, lease: e.Kv.Lease, deleted: e.Type == mvccpb.Event_DELETE}
		if i, ok := at[c.key]; ok {
			out[i] = c
			continue
		}
		at[c.key] = len(out)
		out = append(out, c)
	}
	return out
}

func again(err error) bool { return errors.Is(err, errAgain) }
