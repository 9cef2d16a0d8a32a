package importer

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// run is an import under way. Only the goroutine of Run uses it, but for leases.
type run struct {
	Config
	source  string // cluster id
	leases  *leases
	waiting batch
	applied int64 // revision of the source up to which everything is here
	result  Result
}

// Run imports until source and destination are equal; with Follow, until ctx ends, whose cause is the error
// then. An import that did not end with a nil error goes on when it is run again.
func Run(ctx context.Context, cfg Config) (Result, error) {
	r := &run{Config: cfg.withDefaults()}
	r.leases = newLeases(r.From, r.To, r.Logger)
	leaseCtx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { r.leases.run(leaseCtx) })
	defer group.Wait()
	defer stop()
	err := r.patiently(ctx, "begin", func() error { return r.begin(ctx) })
	if err == nil {
		err = r.passes(ctx)
	}
	r.result.Leases, r.result.Revision = r.leases.count(), r.applied
	return r.result, err
}

// passes copies and follows until both sides agree.
func (r *run) passes(ctx context.Context) error {
	for failed := 0; failed < r.MaxPasses; failed++ {
		err := r.once(ctx)
		if !again(err) {
			return err
		}
		if r.Follow && r.result.Verified {
			failed = 0
		}
		r.waiting.reset()
		r.Logger.Info("comparing all keys again", "reason", err)
	}
	return fmt.Errorf("%w after %d passes: is somebody writing at the destination?", ErrUnstable, r.MaxPasses)
}

// once is a pass, the changes behind it, and the proof.
func (r *run) once(ctx context.Context) error {
	at, _, err := r.pass(ctx, PhaseCopy, 0, func(c change) error { return r.write(ctx, c) })
	if err != nil {
		return err
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	target := int64(0)
	if !r.Follow {
		if target, err = r.sourceRevision(ctx); err != nil {
			return err
		}
	}
	if err := r.follow(ctx, at, target); err != nil {
		return err
	}
	_, differences, err := r.pass(ctx, PhaseVerify, r.applied, nil)
	if err != nil {
		return err
	}
	if differences > 0 {
		return fmt.Errorf("%w: %d keys differ at revision %d", errAgain, differences, r.applied)
	}
	r.result.Verified = true
	r.leases.renewAll(ctx)
	return r.end(ctx)
}

func (r *run) sourceRevision(ctx context.Context) (revision int64, err error) {
	err = r.patiently(ctx, "read from the source", func() error {
		resp, err := r.From.Get(ctx, "\x00", clientv3.WithCountOnly())
		if err == nil {
			revision = resp.Header.Revision
		}
		return err
	})
	return revision, err
}

func (r *run) tell(phase string, keys, total, source int64) {
	r.Report(Progress{
		Phase: phase, Keys: keys, Total: total, Written: r.result.Written, Revision: r.applied, SourceRevision: source,
	})
}
