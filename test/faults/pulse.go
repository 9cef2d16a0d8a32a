//go:build linux

package main

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pulse measures how late the machine lets a process run that wants to: what a bound in time has to allow for
// when others work here too.
type pulse struct {
	worst atomic.Int64
	disk  atomic.Int64 // the longest that a small write to the disk took; 0 where sync does not run
	began atomic.Int64 // when the one that is under way was begun, in Unix nanoseconds; 0 for none
}

const beat = 5 * time.Millisecond

// run beats until ctx ends.
func (p *pulse) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		pauseFor(ctx, beat)
		late := time.Since(began) - beat
		p.worst.Store(max(p.worst.Load(), int64(late))) // the only writer but for reset, whose loss does no harm
	}
}

// sync writes a little to the disk that nodes are on, again and again, until ctx ends. A stall of the disk stops every
// commit.
func (p *pulse) sync(ctx context.Context, dir string) error {
	f, err := os.CreateTemp(dir, "pulse-")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // goes with the folder
	for ctx.Err() == nil {
		began := time.Now()
		p.began.Store(began.UnixNano())
		if _, err := f.WriteAt([]byte(began.String()), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		p.began.Store(0)
		p.disk.Store(max(p.disk.Load(), int64(time.Since(began)))) // the only writer but for reset, as above
		pauseFor(ctx, 10*beat)
	}
	return nil
}

// watch measures both until the function that it returns is called.
func (p *pulse) watch(ctx context.Context, dir string) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { p.run(ctx) })
	wg.Go(func() { failed = p.sync(ctx, dir) })
	return func() error {
		cancel()
		wg.Wait()
		return failed
	}
}

// longestSync counts the sync that is under way: a disk that stands still says so only at the end.
func (p *pulse) longestSync() time.Duration {
	longest := time.Duration(p.disk.Load())
	if began := p.began.Load(); began != 0 {
		longest = max(longest, time.Since(time.Unix(0, began)))
	}
	return longest
}

// reset begins anew.
func (p *pulse) reset() {
	p.worst.Store(0)
	p.disk.Store(0)
}

// allowed is a bound with what the machine was late by since reset on top, for each of the hops that take
// part one after the other, and its disk for each commit.
func (p *pulse) allowed(bound time.Duration) time.Duration {
	const hops, commits = 10, 3
	return bound + hops*time.Duration(p.worst.Load()) + commits*p.longestSync()
}
