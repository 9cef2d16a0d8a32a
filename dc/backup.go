package dc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"geogate/consensus"
	"geogate/dc/store"
)

// Backup opens a copy of this node's data as it is applied now, and its size in bytes; the reader must be
// closed. While it is open nothing waits for it, but the file may grow.
func (d *DC) Backup() (size int64, r io.ReadCloser, err error) {
	if err := d.store.Flush(); err != nil {
		return 0, nil, err
	}
	_, size, r, err = d.store.Snapshot()
	return size, r, err
}

// Hash sums up the history of this node up to a revision; see [store.Store.Hash].
func (d *DC) Hash(ctx context.Context, revision int64) (store.Hash, error) {
	return d.store.Hash(ctx, revision)
}

// Defragment writes this node's database anew without its free pages; see [store.Store.Defragment].
func (d *DC) Defragment(ctx context.Context) error { return d.store.Defragment(ctx) }

// RestoreConfig says what becomes of a backup.
type RestoreConfig struct {
	Backup string // file of `etcdctl snapshot save`

	Name      string   // of the datacenter
	Dir       string   // of the node's data; missing or empty
	ClusterID uint64   // as in [consensus.Config], as are the next two
	NodeID    uint64   //
	Members   []uint64 // of all nodes of the datacenter, each of which is restored from the same file

	// Bump is added to the revision, and history before that is dropped: more than the datacenter has written
	// since the backup, so that no client sees a revision go back. 0 leaves revision and history as they are.
	Bump int64

	// HomeLease is at least the lease of homes of single-writer keyspaces, as configured when the backup was taken or
	// later: what this DC promised after the backup is forgotten, and another home may count on it for so long. 0
	// means a minute.
	HomeLease time.Duration

	// Resurrect leaves out the comparison with the other datacenters: what they have deleted since the backup
	// comes back everywhere when they have forgotten it. Only for when none of them has data that counts.
	Resurrect bool
}

// Restored is what a backup has become.
type Restored struct {
	Taken    int64  // revision of the backup
	Revision int64  // revision now
	Keys     int    // live keys
	Digest   uint64 // of the data
}

// leap is how far the Raft log of a restored node begins behind the one of the backup. A node that was left
// from before and not restored is behind it, and so takes the restored state over.
const leap = 1_000_000_000

// RestoreBackup makes the data of a node out of a backup: a new life of the datacenter, in which a new group
// begins. What the backup holds of every origin is kept, this datacenter's earlier life as one that has
// ended; what others have beyond it comes back from them. All nodes that are restored from one file are equal.
// The store gets its name last: what a crash leaves behind is refused at start, and here.
func RestoreBackup(cfg RestoreConfig) (Restored, error) {
	var out Restored
	if cfg.Bump < 0 {
		return out, fmt.Errorf("a revision can't be bumped by %d", cfg.Bump)
	}
	if err := checkEmpty(cfg.Dir); err != nil {
		return out, err
	}
	path := filepath.Join(cfg.Dir, "store", "db")
	work := path + ".restoring"
	if err := store.Unpack(cfg.Backup, work); err != nil {
		return out, err
	}
	s, err := store.Open(store.Config{Path: work})
	if err != nil {
		return out, fmt.Errorf("%w: %w", store.ErrBackup, err)
	}
	out.Taken = s.Revision()
	founding := consensus.Founding{
		Dir: cfg.Dir, ClusterID: cfg.ClusterID, NodeID: cfg.NodeID, Voters: slices.Sorted(slices.Values(cfg.Members)),
		Index: s.Applied().Index + leap, Term: s.Applied().Term + leap,
	}
	at, err := founding.Applied()
	if err == nil {
		err = beginLife(s, &cfg, store.Applied{Index: at.Index, Term: at.Term, Conf: at.ConfState})
	}
	if err == nil {
		err = s.Flush()
	}
	out.Revision, out.Keys, out.Digest = s.Revision(), s.Keys(), s.Digest()
	if err := errors.Join(err, s.Close()); err != nil {
		return out, fmt.Errorf("restore %s: %w", cfg.Backup, err)
	}
	if err := consensus.Found(founding); err != nil {
		return out, err
	}
	return out, store.Rename(work, path)
}

// checkEmpty refuses to restore over data.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is not empty, it holds %s: move it away, or name another directory; nothing is restored over data", dir, entries[0].Name())
}

// beginLife takes from the state what belongs to the life in which the backup was taken. The new incarnation
// is chosen by the first leader, as for a datacenter that is created.
func beginLife(s *store.Store, cfg *RestoreConfig, at store.Applied) error {
	st, err := loadState(s.Meta)
	if err != nil {
		return err
	}
	if err := st.homes.load(s, 0); err != nil {
		return err
	}
	b, err := s.Begin()
	if err != nil {
		return err
	}
	a := &applier{dc: &DC{cfg: Config{Name: cfg.Name}, state: st, metrics: newMetrics(nil)}, batch: b}
	a.endLife()
	if err := a.saveBarrier(); err != nil {
		b.Abort(err)
		return err
	}
	if len(a.dc.state.alarms) > 0 {
		a.setAlarms(nil) // of another group
	}
	if cfg.Bump > 0 {
		b.Leap(cfg.Bump)
	}
	a.barHomes(cfg.HomeLease)
	a.setRestored(nil) // of a backup that was restored itself
	if !cfg.Resurrect {
		a.setRestored(&restored{Revision: b.Revision()})
	}
	b.Commit(at)
	return nil
}

// endLife makes the present life of this datacenter one that has ended.
func (a *applier) endLife() {
	s := &a.dc.state
	name := a.dc.cfg.Name
	if p, ok := s.positions[name]; ok {
		p.Origin = name
		l := life{name, p.Incarnation}
		if p.Incarnation != 0 {
			a.remember(p)
		}
		if s.reach[l] > p.Revision {
			a.remember(fragment(l, s.incarnation))
			delete(s.reach, l)
			a.saveReach()
		}
		delete(s.positions, name)
		a.batch.SetMeta(metaPosition+name, nil)
		a.batch.SetMeta(metaOrigins, mustMarshal(slices.Sorted(maps.Keys(s.positions))))
		a.batch.ResetChain(name, 0, 0)
		a.dropsUnconfirmed(name, p.Revision)
	}
	s.incarnation = 0
	a.batch.SetMeta(metaIncarnation, nil)
	s.barrier = barrier{} // what others were known to have was said to the life that ended
}
