package dc

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
	"geogate/dc/lease"
	"geogate/replication/event"
)

// orphanTTL is what a lease gets, in seconds, that this DC has granted in a life of which only the keys are left.
const orphanTTL = 60

// lease applies a command. Nothing of it depends on a clock: that a lease's time is over is the leader's to say.
func (a *applier) lease(it *item, stamp event.Stamp) (result, error) {
	c, err := lease.UnmarshalCommand(it.payload)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch c.Op {
	case lease.OpGrant:
		return a.grant(c.Leases[0]), nil
	case lease.OpRevoke:
		if err := a.mayRevoke(it, c); err != nil {
			return result{err: err}, nil
		}
		return a.revoke(c, stamp), nil
	default:
		for _, x := range c.Leases {
			if x, changed := a.dc.leases.checkpoint(x); changed {
				a.batch.SetLease(x.ID, x.Marshal())
				a.dc.metrics.checkpoints.Inc()
			}
		}
		return result{response: &pb.LeaseCheckpointResponse{}}, nil
	}
}

func (a *applier) grant(x lease.Lease) result {
	x.Granted, x.Remaining = a.index, 0
	if err := a.dc.leases.grant(x); err != nil {
		return result{err: err}
	}
	a.batch.SetLease(x.ID, x.Marshal())
	a.dc.metrics.granted.Inc()
	return result{response: &pb.LeaseGrantResponse{Header: a.header(), ID: x.ID, TTL: x.TTL}}
}

// mayRevoke checks a client's revoke against the keys that the lease has now: some may have been attached since it
// was permitted. The leader's own, of a lease whose time is over, needs nobody's permission.
func (a *applier) mayRevoke(it *item, c lease.Command) error {
	if c.Expired {
		return nil
	}
	users := a.users()
	switch {
	case !users.Enabled:
		return nil
	case it.auth != users.Revision:
		return auth.ErrOldRevision
	case users.MayAdminister(c.User) == nil:
		return nil
	}
	groups, err := a.attached(c.Leases[0].ID)
	if err != nil {
		return err
	}
	for _, g := range groups {
		for _, key := range g.keys {
			if err := users.May(c.User, true, key, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// revoke deletes the lease's keys, in order, as one transaction of this DC, and one more for each single-writer
// keyspace that it has keys in. Without keys it takes no revision.
func (a *applier) revoke(c lease.Command, stamp event.Stamp) result {
	id := c.Leases[0].ID
	groups, err := a.attached(id)
	if err != nil {
		return result{err: err} // the lease stays until it is known who is the home of its keys
	}
	if !a.dc.leases.revoke(id, c.Leases[0].Granted) {
		return result{err: ErrLeaseNotFound}
	}
	a.batch.SetLease(id, nil)
	if c.Expired {
		a.dc.metrics.expired.Inc()
	} else {
		a.dc.metrics.revoked.Inc()
	}
	var r result
	for _, g := range groups {
		a.batch.NextTxn()
		m := a.mutation(stamp)
		if g.register != nil {
			m.home, m.in = g.register.home, g.register
		}
		for _, key := range g.keys {
			m.delete(key)
		}
		if c := a.committed(&m); c.Revision != 0 {
			r.commit = c
		}
	}
	r.response = &pb.LeaseRevokeResponse{Header: a.header()}
	return r
}

func (a *applier) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: a.batch.Revision()}
}

// grantOrphans grants again the leases that keys name and nobody holds: a snapshot brought back keys that this
// DC wrote in an earlier life, and no lease travels. Who still renews its lease keeps it; the others' keys end.
func (a *applier) grantOrphans() {
	for _, id := range a.batch.LeasesInUse(a.dc.cfg.Name) {
		x := lease.Lease{ID: id, TTL: orphanTTL, Granted: a.index}
		if a.dc.leases.grant(x) == nil {
			a.batch.SetLease(id, x.Marshal())
			a.dc.metrics.granted.Inc()
			a.dc.log.Warn("a lease of keys that came back was granted again", "lease", id, "ttl_seconds", x.TTL)
		}
	}
}
