package dr

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"geogate/gateway/admin"
)

// Why some of what was set aside was not written again.
var (
	// ErrChanged says that keys were written since.
	ErrChanged = errors.New("keys have changed since")
	// ErrLeaseGone says that keys were bound to leases that have ended.
	ErrLeaseGone = errors.New("leases have ended")
	// ErrElsewhere says that the two addresses are not of one datacenter.
	ErrElsewhere = errors.New("addresses of two datacenters")
)

// Results of [Replayed].
const (
	resultReplayed    = "replayed"    // written again
	resultOverwritten = "overwritten" // the same, over a newer state
	resultIdentical   = "identical"   // the key is as the write wanted it, by another one
	resultSuperseded  = "superseded"  // somebody has written since; nothing was done
	resultLeaseGone   = "lease_gone"  // the key would be there without its lease; nothing was done
)

// What became of the lease of a write.
const (
	leaseBound   = "bound"
	leaseDropped = "dropped"
)

const writeTimeout = 15 * time.Second

// Replayed is what became of a write that was to be written again.
type Replayed struct {
	ID     uint64 `json:"id"`
	Key    []byte `json:"key"`
	Result string `json:"result"` // replayed, overwritten, identical, superseded, lease_gone
	Kept   []byte `json:"kept"`   // null when it deleted the key
	Now    []byte `json:"now"`    // before the replay, of a key that had changed; null when it is not there
	// By is the write that the key had instead of Base; null when it is not known.
	By *admin.KeyState `json:"by,omitempty"`
	// ByValue says that an older build has set the write aside, so that only values could be compared: a key that
	// was changed and changed back goes unseen.
	ByValue   bool   `json:"compared_by_value,omitempty"`
	Lease     int64  `json:"lease,omitempty"`      // that the write was bound to
	LeaseFate string `json:"lease_fate,omitempty"` // bound, dropped; empty when nothing was written
}

// Replay says how writes that were set aside are written again.
type Replay struct {
	KV        clientv3.KV // a client of the endpoint's datacenter
	Keyspace  string
	IDs       []uint64 // none: all
	Overwrite bool     // also over newer states
	// WithoutLease writes keys without the leases that they were bound to, when those have ended.
	WithoutLease bool
}

// Replay writes what was set aside in the endpoint's datacenter again, as new writes through etcd's API, in their order,
// where the key still has the very state that it got back when they were set aside, or that this replay has
// given it. What is written, or is there already, is no longer kept. It goes on behind what it leaves alone, and
// fails with [ErrChanged] or [ErrLeaseGone] at the end then.
func (c Client) Replay(ctx context.Context, q Replay) ([]Replayed, error) {
	writes, err := c.pick(ctx, q.Keyspace, q.IDs)
	if err != nil {
		return nil, err
	}
	r := replayer{Client: c, Replay: q, made: map[string]int64{}}
	if i := slices.IndexFunc(writes, func(w admin.AsideWrite) bool { return w.Base != nil }); i >= 0 {
		if err := r.oneDatacenter(ctx, writes[i].Key); err != nil {
			return nil, err
		}
	}
	var out []Replayed
	for i := range writes {
		done, err := r.write(ctx, &writes[i])
		if err != nil {
			return out, fmt.Errorf("write %d of key %q: %w", writes[i].ID, writes[i].Key, err)
		}
		out = append(out, done)
		if done.Result == resultSuperseded || done.Result == resultLeaseGone {
			continue
		}
		if _, err := c.discard(ctx, q.Keyspace, writes[i:i+1]); err != nil {
			return out, fmt.Errorf("write %d is written again, and still kept: %w", done.ID, err)
		}
	}
	return out, leftAlone(out)
}

// leftAlone says what was not written again.
func leftAlone(list []Replayed) error {
	changed, gone := 0, 0
	for i := range list {
		switch list[i].Result {
		case resultSuperseded:
			changed++
		case resultLeaseGone:
			gone++
		}
	}
	var errs []error
	if changed > 0 {
		errs = append(errs, fmt.Errorf("%w: %d of %d; look at both values, and write the kept ones with --overwrite or drop them with `quarantine discard`",
			ErrChanged, changed, len(list)))
	}
	if gone > 0 {
		errs = append(errs, fmt.Errorf("%w: %d of %d writes were bound to one, and whoever held it believes that its keys are gone; write them as keys that stay "+
			"with --without-lease, or drop them with `quarantine discard`", ErrLeaseGone, gone, len(list)))
	}
	return errors.Join(errs...)
}

// oneDatacenter refuses a client of another datacenter than the endpoint's: revisions are other numbers there.
func (r *replayer) oneDatacenter(ctx context.Context, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	here, err := r.key(ctx, key)
	if err != nil {
		return err
	}
	resp, err := r.KV.Get(ctx, string(key), clientv3.WithSerializable(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("look at key %q: %w", key, err)
	}
	if there := strconv.FormatUint(resp.Header.GetClusterId(), 16); there != here.Cluster {
		return fmt.Errorf("%w, and nothing was done: --endpoint is of %s, and --to is not; give it a client address of %s", ErrElsewhere, here.DC, here.DC)
	}
	return nil
}

// replayer is one run of Replay.
type replayer struct {
	Client
	Replay
	made map[string]int64 // by key, the revision of what this run wrote or found identical; 0 where the key is not there
}

// write writes one of them again, if it may.
func (r *replayer) write(ctx context.Context, w *admin.AsideWrite) (Replayed, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	out := Replayed{ID: w.ID, Key: w.Key, Kept: w.New, ByValue: w.Base == nil}
	if !w.Deleted {
		out.Lease = w.Lease
	}
	if is, ok, err := r.untouched(ctx, w); err != nil {
		return out, err
	} else if ok {
		revision, done, err := r.commit(ctx, w, &out, &is)
		if err != nil {
			return out, err
		}
		if done {
			r.wrote(w, &out, revision, resultReplayed)
			return out, nil
		}
	}
	return r.changed(ctx, w, out)
}

// wrote keeps in mind what a key is now.
func (r *replayer) wrote(w *admin.AsideWrite, out *Replayed, revision int64, result string) {
	if out.Result == "" {
		out.Result = result
	}
	if out.Result == resultLeaseGone {
		return
	}
	if w.Deleted {
		revision = 0
	}
	r.made[string(w.Key)] = revision
}

// untouched is the condition under which nobody has written a key since; false when somebody is known to have.
func (r *replayer) untouched(ctx context.Context, w *admin.AsideWrite) (clientv3.Cmp, bool, error) {
	key := string(w.Key)
	absent := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	if mod, ok := r.made[key]; ok {
		if mod == 0 {
			return absent, true, nil
		}
		return clientv3.Compare(clientv3.ModRevision(key), "=", mod), true, nil
	}
	if w.Base == nil {
		if w.Old != nil {
			return clientv3.Compare(clientv3.Value(key), "=", string(w.Old)), true, nil
		}
		return absent, true, nil
	}
	now, err := r.key(ctx, w.Key)
	switch {
	case err != nil || !sameState(w.Base, &now.KeyState):
		return absent, false, err
	case !now.Live:
		return absent, true, nil
	}
	return clientv3.Compare(clientv3.ModRevision(key), "=", now.ModRevision), true, nil
}

// sameState says whether a key has not been written. What deleted a key is forgotten in time, so of one that is not
// there only a delete that is known, and another one, says that it was there meanwhile.
func sameState(base, now *admin.KeyState) bool {
	if !base.Live && !now.Live && now.Origin == "" {
		return true
	}
	return base.Live == now.Live && base.Origin == now.Origin && base.Revision == now.Revision
}

// key asks for the present state of a key.
func (c Client) key(ctx context.Context, key []byte) (out admin.KeyReport, err error) {
	err = c.get(ctx, "/v1/dr/quarantine/key", url.Values{"key": {base64.URLEncoding.EncodeToString(key)}}, &out)
	return out, err
}

// commit makes the write if the condition holds, or without one. It says at which revision of the datacenter it was
// made; when the lease is gone it is done with too, and the result says so.
func (r *replayer) commit(ctx context.Context, w *admin.AsideWrite, out *Replayed, is *clientv3.Cmp) (revision int64, done bool, err error) {
	try := func(do clientv3.Op) (*clientv3.TxnResponse, error) {
		txn := r.KV.Txn(ctx)
		if is != nil {
			txn = txn.If(*is)
		}
		return txn.Then(do).Commit()
	}
	key, fate := string(w.Key), ""
	do := clientv3.OpPut(key, string(w.New))
	switch {
	case w.Deleted:
		do = clientv3.OpDelete(key)
	case w.Lease != 0:
		do, fate = clientv3.OpPut(key, string(w.New), clientv3.WithLease(clientv3.LeaseID(w.Lease))), leaseBound
	}
	txn, err := try(do)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		if !r.WithoutLease {
			out.Result = resultLeaseGone
			return 0, true, nil
		}
		fate = leaseDropped
		txn, err = try(clientv3.OpPut(key, string(w.New)))
	}
	if err != nil || !txn.Succeeded {
		return 0, false, err
	}
	out.LeaseFate = fate
	return txn.Header.Revision, true, nil
}

// changed deals with a key that somebody has written.
func (r *replayer) changed(ctx context.Context, w *admin.AsideWrite, out Replayed) (Replayed, error) {
	resp, err := r.KV.Get(ctx, string(w.Key))
	if err != nil {
		return out, err
	}
	if w.Base != nil { // else the node does not name writes
		now, err := r.key(ctx, w.Key)
		if err != nil {
			return out, err
		}
		out.By = &now.KeyState
	}
	revision := int64(0)
	if len(resp.Kvs) > 0 {
		out.Now, revision = append([]byte{}, resp.Kvs[0].Value...), resp.Kvs[0].ModRevision
	}
	switch {
	case w.Deleted && out.Now == nil, !w.Deleted && out.Now != nil && bytes.Equal(out.Now, w.New):
		r.wrote(w, &out, revision, resultIdentical)
		return out, nil
	case !r.Overwrite:
		out.Result = resultSuperseded
		return out, nil
	}
	revision, _, err = r.commit(ctx, w, &out, nil)
	if err == nil {
		r.wrote(w, &out, revision, resultOverwritten)
	}
	return out, err
}

// ReplayedRows is the table of `geogate dr quarantine replay`.
func ReplayedRows(list []Replayed) [][]string {
	out := [][]string{{"ID", "KEY", "RESULT", "BY", "LEASE", "KEPT", "NOW"}}
	for i := range list {
		r := &list[i]
		kept, by := brief(r.Kept), "-"
		if r.Kept == nil {
			kept = "(deleted)"
		}
		switch {
		case r.ByValue:
			by = "? (values alone were compared)"
		case r.By != nil && r.By.Origin != "":
			by = fmt.Sprintf("%s:%d", r.By.Origin, r.By.Revision)
			if !r.By.Live {
				by += " (deleted)"
			}
		}
		bound := lease(r.Lease)
		if r.LeaseFate != "" {
			bound += " " + r.LeaseFate
		}
		out = append(out, []string{strconv.FormatUint(r.ID, 10), brief(r.Key), r.Result, by, bound, kept, brief(r.Now)})
	}
	return out
}
