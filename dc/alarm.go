package dc

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// alarm is one that is raised; each belongs to a member of the group.
type alarm struct {
	Member uint64 `json:"member"`
	Type   int32  `json:"alarm"` // etcdserverpb.AlarmType
}

func (a alarm) member() *pb.AlarmMember {
	return &pb.AlarmMember{MemberID: a.Member, Alarm: pb.AlarmType(a.Type)}
}

// alarms are raised and cleared through the log, so all nodes refuse the same writes. They are a DC's own:
// nothing that comes from another DC is refused for one.
type alarms map[alarm]bool

// sorted lists alarms by member; NONE stands for all types.
func (as alarms) sorted(of pb.AlarmType) []*pb.AlarmMember {
	var out []*pb.AlarmMember
	for _, a := range slices.SortedFunc(maps.Keys(as), func(a, b alarm) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Type, b.Type))
	}) {
		if of == pb.AlarmType_NONE || pb.AlarmType(a.Type) == of {
			out = append(out, a.member())
		}
	}
	return out
}

func (as alarms) raised(t pb.AlarmType) bool {
	for a := range as {
		if pb.AlarmType(a.Type) == t {
			return true
		}
	}
	return false
}

// refusal is why a request of a client must not be applied, nil when it may. Deletes and compactions are
// let through when there is no space, for they make some.
func (as alarms) refusal(k kind, puts func() bool) error {
	switch {
	case len(as) == 0:
		return nil
	case as.raised(pb.AlarmType_CORRUPT):
		return ErrCorrupt
	case (k == kindPut || k == kindTxn && puts()) && as.raised(pb.AlarmType_NOSPACE):
		return ErrNoSpace
	}
	return nil
}

// canPut says whether either branch of a Txn puts something.
func canPut(t *pb.TxnRequest) bool {
	for _, branch := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && canPut(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}

// Alarm raises or clears an alarm, as etcd does: what is raised already, or was not raised, is no error and
// is not listed in the answer. Only the leader can.
func (d *DC) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	resp, _, err := write[*pb.AlarmResponse](ctx, d, kindAlarm, r)
	return resp, err
}

// Alarms are those that this node knows to be raised.
func (d *DC) Alarms() []*pb.AlarmMember { return d.published.Load().alarms.sorted(pb.AlarmType_NONE) }

// room refuses a write that makes no sense to propose: it would be refused when it is applied, or the file is
// too large already and only the alarm is not raised yet.
func (d *DC) room(k kind, req proto.Message) error {
	puts := func() bool {
		t, ok := req.(*pb.TxnRequest)
		return ok && canPut(t)
	}
	over := d.cfg.QuotaBytes > 0 && d.store.DBSize() > d.cfg.QuotaBytes
	if over && (k == kindPut || k == kindTxn && puts()) {
		return fmt.Errorf("%w: the database has %d bytes, the quota is %d", ErrNoSpace, d.store.DBSize(), d.cfg.QuotaBytes)
	}
	if k == kindAlarm {
		return nil
	}
	return d.published.Load().alarms.refusal(k, puts)
}

// alarm applies a request to raise or clear one.
func (a *applier) alarm(payload []byte) (result, error) {
	var r pb.AlarmRequest
	if err := proto.Unmarshal(payload, &r); err != nil {
		return result{}, fmt.Errorf("%w: alarm: %w", ErrMalformed, err)
	}
	resp := &pb.AlarmResponse{Header: &pb.ResponseHeader{Revision: a.batch.Revision()}}
	s := &a.dc.state
	x := alarm{Member: r.MemberID, Type: int32(r.Alarm)}
	switch {
	case r.Action == pb.AlarmRequest_GET:
		resp.Alarms = s.alarms.sorted(r.Alarm)
	case r.Alarm == pb.AlarmType_NONE:
	case r.Action == pb.AlarmRequest_ACTIVATE && !s.alarms[x]:
		// Readers have the map of before: it is never changed.
		next := alarms{x: true}
		maps.Copy(next, s.alarms)
		a.setAlarms(next)
		resp.Alarms = append(resp.Alarms, x.member())
		a.dc.log.Warn("alarm is raised", "alarm", r.Alarm.String(), "member", fmt.Sprintf("%016x", r.MemberID))
	case r.Action == pb.AlarmRequest_DEACTIVATE && s.alarms[x]:
		next := maps.Clone(s.alarms)
		delete(next, x)
		a.setAlarms(next)
		resp.Alarms = append(resp.Alarms, x.member())
		a.dc.log.Info("alarm is cleared", "alarm", r.Alarm.String(), "member", fmt.Sprintf("%016x", r.MemberID))
	}
	return result{response: resp}, nil
}

func (a *applier) setAlarms(next alarms) {
	a.dc.state.alarms = next
	if len(next) == 0 {
		a.batch.SetMeta(metaAlarms, nil)
	} else {
		var list []alarm
		for _, m := range next.sorted(pb.AlarmType_NONE) {
			list = append(list, alarm{Member: m.MemberID, Type: int32(m.Alarm)})
		}
		a.batch.SetMeta(metaAlarms, mustMarshal(list))
	}
	a.dc.metrics.showAlarms(next)
}

func decodeAlarms(raw []byte) (alarms, error) {
	if raw == nil {
		return nil, nil
	}
	var list []alarm
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("alarms: %w: the store is damaged", err)
	}
	as := alarms{}
	for _, a := range list {
		as[a] = true
	}
	return as, nil
}
