package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// quotaInterval is how often a node compares the size of its database with the quota.
const quotaInterval = time.Second

// Alarm lists alarms here, and raises and clears them at the leader. Raising and clearing is for operators.
func (m maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if err := checkAlarm(r); err != nil {
		return nil, statusOf(err)
	}
	if r.Action == pb.AlarmRequest_GET {
		return m.alarms(ctx, r.Alarm)
	}
	if err := m.authorize(ctx, ActionAdmin, nil, nil); err != nil {
		return nil, statusOf(err)
	}
	forwarded := isForwarded(ctx)
	if forwarded {
		m.markServed(ctx)
	}
	resp, err := m.setAlarm(ctx, r, forwarded)
	if err != nil {
		return nil, writeStatus(err)
	}
	return resp, nil
}

func (m maintenanceServer) alarms(ctx context.Context, of pb.AlarmType) (*pb.AlarmResponse, error) {
	if err := m.authorizeUser(ctx); err != nil {
		return nil, statusOf(err)
	}
	if err := m.linearize(ctx); err != nil {
		return nil, readStatus(err)
	}
	resp := &pb.AlarmResponse{Header: m.header(m.dc.Revision())}
	for _, a := range m.dc.Alarms() {
		if of == pb.AlarmType_NONE || a.Alarm == of {
			resp.Alarms = append(resp.Alarms, a)
		}
	}
	return resp, nil
}

func (s *Server) setAlarm(ctx context.Context, r *pb.AlarmRequest, forwarded bool) (resp *pb.AlarmResponse, err error) {
	err = s.route(ctx, forwarded, func() error {
		commitCtx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		defer cancel()
		if resp, err = s.dc.Alarm(commitCtx, r); err == nil {
			s.fill(resp.Header)
		}
		return err
	}, func(to *neighbor) (fate, error) {
		fctx, cancel := context.WithTimeout(s.forward.outgoing(ctx), s.cfg.RequestTimeout+time.Second)
		defer cancel()
		var trailer metadata.MD
		var reached peer.Peer
		resp, err = pb.NewMaintenanceClient(to).Alarm(fctx, r, grpc.Trailer(&trailer), grpc.Peer(&reached))
		return fateOf(err, trailer, &reached), err
	})
	return resp, err
}

// watchQuota raises the alarm when this node's database is larger than the quota, as each node of etcd does
// for its own. Only an operator clears it.
func (s *Server) watchQuota(ctx context.Context) {
	tick := time.NewTicker(quotaInterval)
	defer tick.Stop()
	failed := false // the last attempt; it is logged once
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		size := s.cfg.Inspector.State().DBSizeBytes
		if size <= s.cfg.QuotaBytes || s.raised() {
			failed = false
			continue
		}
		_, err := s.setAlarm(s.asOperator(ctx), &pb.AlarmRequest{
			Action: pb.AlarmRequest_ACTIVATE, MemberID: s.cfg.MemberID, Alarm: pb.AlarmType_NOSPACE,
		}, false)
		switch {
		case err == nil:
			failed = false
			s.log.Warn("the database is larger than its quota: puts are refused until it is compacted and defragmented, and the alarm cleared",
				"bytes", size, "quota_bytes", s.cfg.QuotaBytes)
		case !failed && ctx.Err() == nil:
			failed = true
			s.log.Warn("the database is larger than its quota, and the alarm could not be raised", "bytes", size, "quota_bytes", s.cfg.QuotaBytes, "error", err)
		}
	}
}

// raised says whether this node's alarm for its quota is raised already.
func (s *Server) raised() bool {
	for _, a := range s.dc.Alarms() {
		if a.MemberID == s.cfg.MemberID && a.Alarm == pb.AlarmType_NOSPACE {
			return true
		}
	}
	return false
}

// alarmText is what Status tells of an alarm, in etcd's words.
func alarmText(a *pb.AlarmMember) string {
	return fmt.Sprintf("memberID:%d alarm:%s", a.MemberID, a.Alarm)
}
