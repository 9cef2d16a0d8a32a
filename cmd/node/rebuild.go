package node

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"geogate/consensus"
	"geogate/dc"
	"geogate/dc/store"
)

// NeedsRebuild says of an error of [Open] that [Rebuild] may make it good.
func NeedsRebuild(err error) bool { return dc.NeedsCopy(err) }

// Rebuild replaces the data of a node that does not open by a copy from another node of its datacenter.
func Rebuild(ctx context.Context, cfg Config) error {
	n, err := find(cfg)
	if err != nil {
		return err
	}
	c, err := n.dcConfig()
	if err != nil {
		return err
	}
	c.Registerer = nil
	err = dc.Rebuild(ctx, c)
	if errors.Is(err, consensus.ErrNoCopy) && len(n.site.Nodes) == 1 {
		err = fmt.Errorf("%w: restore %s from a backup, or move it away and start with an empty one: this datacenter then begins a new life and takes "+
			"a snapshot from the other datacenters, without the writes that none of them had", err, n.spec.Dir)
	}
	return err
}

// withAdvice says what to do about a disk that failed. A node stops after the first failed write or fsync, because
// what the kernel has kept of it is unknown; what was acknowledged is on the disks of a majority.
func withAdvice(err error, dir string) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: the disk of %s is full: free some space and start this node again, no acknowledged write is lost", err, dir)
	case errors.Is(err, store.ErrDamaged), errors.Is(err, consensus.ErrDamaged):
		return err // says what to do itself
	case errors.Is(err, consensus.ErrLogWrite), errors.Is(err, store.ErrBroken), errors.Is(err, syscall.EIO):
		return fmt.Errorf("%w: writing to %s failed: look for errors of the disk in the kernel's log, then start this node again; "+
			"no acknowledged write is lost while a majority of the datacenter's nodes is whole", err, dir)
	}
	return err
}
