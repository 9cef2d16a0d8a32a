package dc

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (r *replica) alarm(action pb.AlarmRequest_AlarmAction, member uint64, t pb.AlarmType) string {
	r.t.Helper()
	res := r.do(kindAlarm, &pb.AlarmRequest{Action: action, MemberID: member, Alarm: t})
	if res.err != nil {
		r.t.Fatal(res.err)
	}
	return alarmList(res.response.(*pb.AlarmResponse).Alarms)
}

func alarmList(as []*pb.AlarmMember) (out string) {
	for _, a := range as {
		out += fmt.Sprintf("%d:%s ", a.MemberID, a.Alarm)
	}
	return out
}

func TestAlarmsAsEtcdHasThem(t *testing.T) {
	const get, on, off = pb.AlarmRequest_GET, pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE
	const none, space, corrupt = pb.AlarmType_NONE, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT
	r := newReplica(t, "a")
	for i, step := range []struct {
		action pb.AlarmRequest_AlarmAction
		member uint64
		alarm  pb.AlarmType
		answer string
		raised string
	}{
		{get, 0, none, "", ""},
		{on, 1, none, "", ""},
		{on, 1, space, "1:NOSPACE ", "1:NOSPACE "},
		{on, 1, space, "", "1:NOSPACE "},
		{on, 2, space, "2:NOSPACE ", "1:NOSPACE 2:NOSPACE "},
		{on, 1, corrupt, "1:CORRUPT ", "1:NOSPACE 1:CORRUPT 2:NOSPACE "},
		{get, 0, none, "1:NOSPACE 1:CORRUPT 2:NOSPACE ", "1:NOSPACE 1:CORRUPT 2:NOSPACE "},
		{get, 0, corrupt, "1:CORRUPT ", "1:NOSPACE 1:CORRUPT 2:NOSPACE "},
		{off, 3, space, "", "1:NOSPACE 1:CORRUPT 2:NOSPACE "},
		{off, 1, none, "", "1:NOSPACE 1:CORRUPT 2:NOSPACE "},
		{off, 1, corrupt, "1:CORRUPT ", "1:NOSPACE 2:NOSPACE "},
		{off, 1, space, "1:NOSPACE ", "2:NOSPACE "},
		{off, 1, space, "", "2:NOSPACE "},
		{off, 2, space, "2:NOSPACE ", ""},
	} {
		if got := r.alarm(step.action, step.member, step.alarm); got != step.answer {
			t.Errorf("step %d: answer %q, want %q", i, got, step.answer)
		}
		if got := alarmList(r.Alarms()); got != step.raised {
			t.Errorf("step %d: raised %q, want %q", i, got, step.raised)
		}
		// What is raised survives a restart.
		if s, err := loadState(r.store.Meta); err != nil || alarmList(s.alarms.sorted(none)) != step.raised {
			t.Errorf("step %d: the store has %q, %v", i, alarmList(s.alarms.sorted(none)), err)
		}
	}
}

func TestWhatAlarmsRefuse(t *testing.T) {
	a, b := newReplica(t, "a", "b"), newReplica(t, "b", "a")
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	for _, step := range []struct {
		name  string
		alarm pb.AlarmType
		kind  kind
		req   proto.Message
		want  error
	}{
		{"put", pb.AlarmType_NOSPACE, kindPut, put, ErrNoSpace},
		{"txn that puts", pb.AlarmType_NOSPACE, kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "v")}}, ErrNoSpace},
		{"txn that may put", pb.AlarmType_NOSPACE, kindTxn, &pb.TxnRequest{Failure: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("k", "v")}})}}, ErrNoSpace},
		{"txn that deletes", pb.AlarmType_NOSPACE, kindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opDelete("k", "")}}, nil},
		{"delete", pb.AlarmType_NOSPACE, kindDelete, &pb.DeleteRangeRequest{Key: []byte("k")}, nil},
		{"compact", pb.AlarmType_NOSPACE, kindCompact, &pb.CompactionRequest{Revision: 2}, nil},
		{"put", pb.AlarmType_CORRUPT, kindPut, put, ErrCorrupt},
		{"delete", pb.AlarmType_CORRUPT, kindDelete, &pb.DeleteRangeRequest{Key: []byte("k")}, ErrCorrupt},
		{"compact", pb.AlarmType_CORRUPT, kindCompact, &pb.CompactionRequest{Revision: 3}, ErrCorrupt},
	} {
		a.put("fill", step.name) // there is a revision to compact
		a.alarm(pb.AlarmRequest_ACTIVATE, 1, step.alarm)
		if res := a.do(step.kind, step.req); !errors.Is(res.err, step.want) || (res.err == nil) != (step.want == nil) {
			t.Errorf("%s under %s: %v, want %v", step.name, step.alarm, res.err, step.want)
		}
		if err := a.room(step.kind, step.req); !errors.Is(err, step.want) || (err == nil) != (step.want == nil) {
			t.Errorf("%s under %s before it is proposed: %v, want %v", step.name, step.alarm, err, step.want)
		}
		// What other datacenters have committed is applied.
		b.put(step.name, step.alarm.String())
		ship(t, b, a)
		if v, _ := a.get(step.name); v != step.alarm.String() {
			t.Errorf("a frame was not applied under %s", step.alarm)
		}
		a.alarm(pb.AlarmRequest_DEACTIVATE, 1, step.alarm)
	}
}

// A request that found no space is not remembered: its repetition is applied once there is some.
func TestNoSpaceIsNotRemembered(t *testing.T) {
	r := newReplica(t, "a")
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	if res := r.doAs("before", kindPut, put); res.err != nil {
		t.Fatal(res.err)
	}
	r.alarm(pb.AlarmRequest_ACTIVATE, 1, pb.AlarmType_NOSPACE)
	if res := r.doAs("id", kindPut, put); !errors.Is(res.err, ErrNoSpace) {
		t.Fatal(res.err)
	}
	if res := r.doAs("before", kindPut, put); res.err != nil || !res.commit.Repeated {
		t.Errorf("a repetition of what was written before: %+v", res)
	}
	r.alarm(pb.AlarmRequest_DEACTIVATE, 1, pb.AlarmType_NOSPACE)
	if res := r.doAs("id", kindPut, put); res.err != nil || res.commit.Repeated {
		t.Errorf("once there is space: %+v", res)
	}
}

// Past the quota puts are refused at once, before the alarm is raised.
func TestQuota(t *testing.T) {
	r := newReplica(t, "a")
	if err := r.store.Flush(); err != nil {
		t.Fatal(err)
	}
	put := &pb.PutRequest{Key: []byte("k")}
	for quota, want := range map[int64]error{0: nil, r.store.DBSize(): nil, r.store.DBSize() - 1: ErrNoSpace} {
		r.cfg.QuotaBytes = quota
		if err := r.room(kindPut, put); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("put with a quota of %d: %v, want %v", quota, err, want)
		}
		if err := r.room(kindDelete, &pb.DeleteRangeRequest{Key: []byte("k")}); err != nil {
			t.Errorf("delete with a quota of %d: %v", quota, err)
		}
	}
}
