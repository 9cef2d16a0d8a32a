package dc

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// restored says that the data comes from a backup and has not been compared with all other datacenters yet.
// What was deleted after the backup, and whose tombstone the others have collected, is a live key here that
// nothing would delete. Until this datacenter has heard from each of the others what it no longer has, it gives
// no state away. It is replaced, never changed.
type restored struct {
	Revision int64    `json:"revision"` // of the restoration: writes of the new life are behind it
	Heard    []string `json:"heard"`    // datacenters whose whole state has been compared, sorted
	Progress progress `json:"progress"`
}

// progress is how far one datacenter's state has been compared, without a gap from the beginning.
type progress struct {
	DC   string `json:"dc"`
	Life uint64 `json:"life"`
	Key  []byte `json:"key"`  // up to here
	Keys bool   `json:"keys"` // all keys
	Name string `json:"name"` // of the system table, up to here
	Done bool   `json:"done"` // all of that, too
}

// waits names the datacenters that have not been heard, of those that there are.
func (r *restored) waits(peers []string) (names []string) {
	if r == nil {
		return nil
	}
	for _, p := range peers {
		if !slices.Contains(r.Heard, p) {
			names = append(names, p)
		}
	}
	return names
}

// Awaits says why the whole state of a peer must be merged before its frames; "" when it need not be.
func (d *DC) Awaits(peer string) string {
	if slices.Contains(d.published.Load().restored.waits(d.cfg.Peers), peer) {
		return "the data was restored from a backup, and is compared with what " + peer + " has deleted since"
	}
	return ""
}

// mayGive refuses to give state to others that may bring back what was deleted.
func (d *DC) mayGive() error {
	waits := d.published.Load().restored.waits(d.cfg.Peers)
	if len(waits) == 0 {
		return nil
	}
	return fmt.Errorf("%w: still to be compared with %s: it goes on once they are reached; "+
		"if one of them is gone for good, take it out of the topology of %s", ErrRestored, strings.Join(waits, ", "), d.cfg.Name)
}

// heard ends the comparison with a datacenter whose snapshot was merged, if all of that took part in it.
func (a *applier) heard(from string, life uint64, peers []string) {
	r := a.dc.state.restored
	if r == nil || !r.Progress.Done || r.Progress.DC != from || r.Progress.Life != life {
		return
	}
	next := &restored{Revision: r.Revision, Heard: r.Heard}
	if !slices.Contains(r.Heard, from) {
		next.Heard = slices.Sorted(slices.Values(append([]string{from}, r.Heard...)))
	}
	waits := next.waits(peers)
	a.dc.log.Info("data of a backup was compared", "with", from, "waits_for", waits)
	if len(peers) > 0 && len(waits) == 0 {
		next = nil
	}
	a.setRestored(next)
}

func (a *applier) setRestored(r *restored) {
	a.dc.state.restored = r
	var raw []byte
	if r != nil {
		raw = mustMarshal(r)
	}
	a.batch.SetMeta(metaRestored, raw)
	a.dc.metrics.showRestored(r)
}

func decodeRestored(raw []byte) (*restored, error) {
	if raw == nil {
		return nil, nil
	}
	r := &restored{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("comparison of a backup: %w: the store is damaged", err)
	}
	return r, nil
}
