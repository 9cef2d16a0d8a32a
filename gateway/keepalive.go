package gateway

import (
	"context"
	"errors"
	"io"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
)

// keepAliveStream is one client's stream of keepalives. Those that arrive while earlier ones are with the leader
// go there together.
type keepAliveStream struct {
	*Server
	stream pb.Lease_LeaseKeepAliveServer
	ids    chan int64 // received and not yet taken; closed when the client has sent its last
	ended  chan error // capacity 1: why receiving failed
	name   string     // of the user, once known: a stream outlives the token that it was opened with
}

// LeaseKeepAlive answers each keepalive with the lease's TTL, 0 for one that is not there. The stream ends with an
// error when the leader can't be asked: the client opens another one.
func (l leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	lost, err := l.awaitLeader(stream.Context())
	if err != nil {
		return keepAliveStatus(err)
	}
	ks := &keepAliveStream{
		Server: l.Server, stream: stream, ids: make(chan int64, l.cfg.KeepAliveWindow), ended: make(chan error, 1),
	}
	if err := ks.authorize(nil); err != nil { // also finds out who it is, while the token is young
		return ks.refused(err)
	}
	l.metrics.keepAliveStreams.Inc()
	defer l.metrics.keepAliveStreams.Dec()
	l.receivers.Go(ks.receive) // it ends just after this returns
	for {
		select {
		case id, more := <-ks.ids:
			if !more {
				return nil
			}
			if err := ks.answer(id); err != nil {
				return ks.refused(err)
			}
		case err := <-ks.ended:
			return err
		case <-lost:
			return rpctypes.ErrGRPCNoLeader
		case <-l.stopping:
			return rpctypes.ErrGRPCStopped
		}
	}
}

func (ks *keepAliveStream) receive() {
	ctx := ks.stream.Context()
	for {
		req, err := ks.stream.Recv()
		if errors.Is(err, io.EOF) {
			close(ks.ids)
			return
		}
		if err != nil {
			ks.ended <- err
			return
		}
		select {
		case ks.ids <- req.ID:
		case <-ctx.Done():
			ks.ended <- rpctypes.ErrGRPCCanceled
			return
		}
	}
}

// answer renews a lease and all others that wait.
func (ks *keepAliveStream) answer(first int64) error {
	ids := []int64{first}
waiting:
	for len(ids) < cap(ks.ids) {
		select {
		case id, more := <-ks.ids:
			if !more {
				break waiting // seen again by who calls this
			}
			ids = append(ids, id)
		default:
			break waiting
		}
	}
	if err := ks.authorize(ids); err != nil {
		return err
	}
	revision := ks.dc.Revision() // before: what is said of the lease is not older than the header
	ttls, err := ks.renew(ks.stream.Context(), ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if err := ks.stream.Send(&pb.LeaseKeepAliveResponse{Header: ks.header(revision), ID: id, TTL: ttls[i]}); err != nil {
			return err
		}
		ks.metrics.keepAlives.Inc()
	}
	return nil
}

// renew has the leader renew leases, together with those of other streams.
func (s *Server) renew(ctx context.Context, ids []int64) ([]int64, error) {
	r, from := s.renewals.join(ids, func() { s.receivers.Go(s.runRenewals) })
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.ttls[from : from+len(ids)], nil
}

// authorize asks whether who opened the stream may renew leases now; before it says no, this node catches up.
func (ks *keepAliveStream) authorize(ids []int64) error {
	err := ks.may(ids)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ks.stream.Context(), ks.cfg.RequestTimeout)
	defer cancel()
	if ks.cfg.Users.Linearize(ctx) == nil {
		err = ks.may(ids)
	}
	if err != nil {
		ks.metrics.denied(err)
	}
	return err
}

func (ks *keepAliveStream) may(ids []int64) error {
	users := ks.users()
	if users == nil {
		return nil
	}
	if ks.name == "" {
		c, err := ks.caller(ks.stream.Context())
		if err != nil {
			return err
		}
		ks.name = c.name
	}
	c := caller{users, ks.name, ks.keysOf}
	for _, id := range ids {
		if err := c.mayLease(ActionWrite, id); err != nil {
			return err
		}
	}
	return nil
}

// refused ends a stream: for who may not, with etcd's code, and the client gives up; else it opens another one, with
// a new token if need be.
func (ks *keepAliveStream) refused(err error) error {
	if errors.Is(err, auth.ErrPermissionDenied) || errors.Is(err, auth.ErrUserEmpty) {
		return writeStatus(err)
	}
	return keepAliveStatus(err)
}
