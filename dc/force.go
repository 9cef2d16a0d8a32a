package dc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"geogate/consensus"
	"geogate/dc/store"
)

// A node whose group has lost its majority for good can go on alone, as a new life of the datacenter. Everything is
// made beside the node's data, in forcing-INDEX.tmp, and takes its place only when it is whole; what was there before
// is kept in before-force-INDEX, where INDEX is the end of the old log.
const (
	forcingPrefix = "forcing-"
	forcedPrefix  = "before-force-"
)

// Left is what one node has of a datacenter whose other nodes are lost.
type Left struct {
	consensus.Remains
	Revision int64
	Keys     int
	Alive    []consensus.Member // other members that answer; while there are some nothing may be forced
}

// Survey looks at what is left on a node that does not run, and asks the other members whether they are there.
func Survey(ctx context.Context, cfg Config) (Left, error) {
	d, cc, err := openAlone(cfg, cfg.Dir)
	if err != nil {
		return Left{}, err
	}
	out := Left{Revision: d.store.Revision(), Keys: d.store.Keys()}
	out.Remains, err = consensus.Survey(cc)
	if err := errors.Join(err, d.store.Close()); err != nil {
		return Left{}, err
	}
	out.Alive = consensus.Alive(ctx, cc, out.Members)
	return out, nil
}

// WasForced says whether a node has begun a new life at this index before.
func WasForced(dir string, index uint64) bool {
	_, err := os.Stat(ForcedAside(dir, index))
	return err == nil
}

// ForcedAside is where the data of before is kept.
func ForcedAside(dir string, index uint64) string {
	return filepath.Join(dir, fmt.Sprint(forcedPrefix, index))
}

// Force makes a group of this node alone, out of what [Survey] has found. Writes that only lost nodes had are
// gone, some of which were acknowledged and some of which peers have seen, and nothing here can tell. So the
// datacenter begins a new life, as after the restore of a backup: the revision leaps by bump, and peers give back what they
// have beyond this node's data. The node must not run. A crash leaves everything as it was, or done.
func Force(ctx context.Context, cfg Config, left Left, bump int64) (out Restored, err error) {
	if err := cfg.validate(); err != nil {
		return out, err
	}
	if alive := consensus.Alive(ctx, cfg.Consensus, left.Members); len(alive) > 0 {
		return out, fmt.Errorf("%w: member %s answers at %s", ErrNotLost, alive[0].Name, alive[0].Addr)
	}
	name := fmt.Sprint(forcingPrefix, left.Index)
	work := filepath.Join(cfg.Dir, name+".tmp")
	if err := os.RemoveAll(work); err != nil { // of an attempt that a crash ended
		return out, err
	}
	if err := store.Copy(cfg.store().Path, filepath.Join(work, "store", "db")); err != nil {
		return out, errors.Join(fmt.Errorf("copy the data in %s, which takes its room once more: %w", cfg.Dir, err), os.RemoveAll(work))
	}
	if out, err = beginAlone(ctx, cfg, left, work, bump); err != nil {
		return out, errors.Join(err, os.RemoveAll(work))
	}
	if err := store.Rename(work, filepath.Join(cfg.Dir, name)); err != nil {
		return out, err
	}
	return out, FinishForce(cfg.Dir)
}

// beginAlone makes the data and the log of the new group in a directory of their own.
func beginAlone(ctx context.Context, cfg Config, left Left, work string, bump int64) (out Restored, err error) {
	d, cc, err := openAlone(cfg, work)
	if err != nil {
		return out, err
	}
	runCtx, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- d.store.Run(runCtx) }() // makes room for what is unfolded
	end, err := consensus.Unfold(cc)
	stop()
	err = errors.Join(err, <-ran)
	if err == nil && end.Index != left.Index {
		err = fmt.Errorf("the log in %s ended at index %d and now at %d: does the node run?", cfg.Dir, left.Index, end.Index)
	}
	founding := consensus.Founding{
		Dir: work, ClusterID: cc.ClusterID, NodeID: cc.NodeID,
		Index: end.Index + leap, Term: end.Term + leap,
	}
	founding.Survivor(&cc, end)
	at, conferr := founding.Applied()
	out.Taken = d.store.Revision()
	if err = errors.Join(err, conferr); err == nil {
		err = beginLife(d.store, &RestoreConfig{Name: cfg.Name, Bump: bump}, store.Applied{Index: at.Index, Term: at.Term, Conf: at.ConfState})
	}
	if err == nil {
		err = d.store.Flush()
	}
	out.Revision, out.Keys, out.Digest = d.store.Revision(), d.store.Keys(), d.store.Digest()
	if err := errors.Join(err, d.store.Close()); err != nil {
		return out, fmt.Errorf("found a new group from %s: %w", cfg.Dir, err)
	}
	return out, consensus.Found(founding)
}

// openAlone opens the data in a directory without the group, and says how to read the node's log into it.
func openAlone(cfg Config, dir string) (*DC, consensus.Config, error) {
	log := cfg.Dir
	cfg.Dir, cfg.Registerer, cfg.Store.Registerer = dir, nil, nil
	if err := cfg.validate(); err != nil {
		return nil, consensus.Config{}, err
	}
	d, err := openData(cfg)
	if err != nil {
		return nil, consensus.Config{}, err
	}
	cc := cfg.Consensus
	cc.Dir, cc.StateMachine, cc.Logger = log, d, cfg.Logger
	return d, cc, nil
}

// FinishForce puts a new life that is whole in the place of the old one, where a crash interrupted [Force]. It may be
// repeated at any step, and [Open] does; who reads the directory before that calls it first.
func FinishForce(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, forcingPrefix+"*"))
	if err != nil {
		return err
	}
	for _, made := range found {
		index := strings.TrimPrefix(filepath.Base(made), forcingPrefix)
		if strings.HasSuffix(index, ".tmp") {
			continue // not whole
		}
		aside := filepath.Join(dir, forcedPrefix+index)
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return err
		}
		for _, part := range []string{"snap", "nats", "store", "wal"} { // what the old life leaves behind
			if err := exchange(filepath.Join(made, part), filepath.Join(dir, part), filepath.Join(aside, part)); err != nil {
				return fmt.Errorf("put the new group's data in its place: %w; start again to go on", err)
			}
		}
		if err := os.Remove(made); err != nil {
			return err
		}
	}
	return nil
}

// exchange moves what stands at a place aside, and what was made for it there.
func exchange(made, place, aside string) error {
	_, err := os.Stat(aside)
	if done := err == nil; !done {
		if err := store.Rename(place, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := store.Rename(made, place); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
