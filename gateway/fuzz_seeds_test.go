package gateway

import (
	"math"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"geogate/gateway/electionpb"
	"geogate/gateway/geopb"
	"geogate/gateway/lockpb"
)

// fuzzSeeds are requests from which others are made up, by method.
func fuzzSeeds() map[string][]proto.Message {
	out := map[string][]proto.Message{}
	add := func(service string, methods map[string][]proto.Message) {
		for m, requests := range methods {
			out["/"+service+"/"+m] = requests
		}
	}
	add("etcdserverpb.KV", kvSeeds())
	add("etcdserverpb.Lease", map[string][]proto.Message{
		"LeaseGrant":      {&pb.LeaseGrantRequest{TTL: 5, ID: 7}, &pb.LeaseGrantRequest{TTL: math.MaxInt64, ID: -1}},
		"LeaseRevoke":     {&pb.LeaseRevokeRequest{ID: 7}},
		"LeaseKeepAlive":  {&pb.LeaseKeepAliveRequest{ID: 7}, &pb.LeaseKeepAliveRequest{ID: math.MinInt64}},
		"LeaseTimeToLive": {&pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}},
	})
	add("etcdserverpb.Watch", map[string][]proto.Message{"Watch": {
		&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: []byte("k"), RangeEnd: []byte{0}, StartRevision: 1, PrevKv: true, ProgressNotify: true, Fragment: true, WatchId: -9,
			Filters: []pb.WatchCreateRequest_FilterType{0, 1, 2},
		}}},
		&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: -1}}},
		&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}},
	}})
	add("etcdserverpb.Cluster", map[string][]proto.Message{
		"MemberAdd":     {&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true}},
		"MemberUpdate":  {&pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"http://[::1]:1"}}},
		"MemberRemove":  {&pb.MemberRemoveRequest{ID: 9}},
		"MemberPromote": {&pb.MemberPromoteRequest{ID: 9}},
		"MemberList":    {&pb.MemberListRequest{Linearizable: true}},
	})
	add("etcdserverpb.Maintenance", map[string][]proto.Message{
		"Alarm":      {&pb.AlarmRequest{Action: 9, MemberID: 1, Alarm: 1}, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: 2}},
		"HashKV":     {&pb.HashKVRequest{Revision: -1}},
		"MoveLeader": {&pb.MoveLeaderRequest{TargetID: 1}},
		"Downgrade":  {&pb.DowngradeRequest{Action: 1, Version: "3.6"}},
	})
	add("etcdserverpb.Auth", authSeeds())
	add("v3lockpb.Lock", map[string][]proto.Message{
		"Lock":   {&lockpb.LockRequest{Name: []byte("l"), Lease: 7}},
		"Unlock": {&lockpb.UnlockRequest{Key: []byte("l/7")}},
	})
	leader := &electionpb.LeaderKey{Name: []byte("e"), Key: []byte("e/7"), Rev: 2, Lease: 7}
	add("v3electionpb.Election", map[string][]proto.Message{
		"Campaign": {&electionpb.CampaignRequest{Name: []byte("e"), Lease: 7, Value: []byte("v")}},
		"Proclaim": {&electionpb.ProclaimRequest{Leader: leader, Value: []byte("w")}},
		"Leader":   {&electionpb.LeaderRequest{Name: []byte("e")}},
		"Observe":  {&electionpb.LeaderRequest{Name: []byte("e")}},
		"Resign":   {&electionpb.ResignRequest{Leader: leader}},
	})
	add("geogate.v1.Geo", map[string][]proto.Message{
		"Wait": {&geopb.WaitRequest{Token: "dc-a:0:1", Policy: "ALL", Timeout: durationpb.New(5)}, &geopb.WaitRequest{
			Token: "dc-a:0:9223372036854775807", Timeout: &durationpb.Duration{Seconds: math.MinInt64, Nanos: math.MinInt32},
		}},
		"RenewLeases": {&geopb.RenewLeasesRequest{Ids: []int64{7, -1, 0}}},
	})
	return out
}

func kvSeeds() map[string][]proto.Message {
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 7, PrevKv: true}
	get := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), Limit: 3, Revision: 2, SortOrder: 2, SortTarget: 3, KeysOnly: true, MinModRevision: 1}
	del := &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), PrevKv: true}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_VALUE, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_Value{Value: []byte("x")}}},
		Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("t")}}},
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}},
		},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: get}}, {}},
	}
	nested := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}}}
	for range 60 {
		nested = &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: nested}}}}
	}
	return map[string][]proto.Message{
		"Put":         {put, &pb.PutRequest{Key: []byte("k"), IgnoreValue: true, IgnoreLease: true}},
		"Range":       {get, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: math.MinInt64, Revision: math.MinInt64}},
		"RangeStream": {get, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}},
		"DeleteRange": {del},
		"Txn":         {txn, nested},
		"Compact":     {&pb.CompactionRequest{Revision: 2, Physical: true}, &pb.CompactionRequest{Revision: math.MinInt64}},
	}
}

func authSeeds() map[string][]proto.Message {
	perm := &authpb.Permission{PermType: authpb.READWRITE, Key: []byte("a"), RangeEnd: []byte("b")}
	return map[string][]proto.Message{
		"UserAdd": {
			&pb.AuthUserAddRequest{Name: "u", HashedPassword: "YQ==", Options: &authpb.UserAddOptions{NoPassword: true}},
			&pb.AuthUserAddRequest{Name: strings.Repeat("u", 4000), HashedPassword: "!"},
		},
		"UserGet":              {&pb.AuthUserGetRequest{Name: "u"}},
		"UserDelete":           {&pb.AuthUserDeleteRequest{Name: "u"}},
		"UserChangePassword":   {&pb.AuthUserChangePasswordRequest{Name: "u", HashedPassword: "YQ=="}},
		"UserGrantRole":        {&pb.AuthUserGrantRoleRequest{User: "u", Role: "r"}},
		"UserRevokeRole":       {&pb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"}},
		"RoleAdd":              {&pb.AuthRoleAddRequest{Name: "r"}},
		"RoleGet":              {&pb.AuthRoleGetRequest{Role: "r"}},
		"RoleDelete":           {&pb.AuthRoleDeleteRequest{Role: "r"}},
		"RoleGrantPermission":  {&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: perm}},
		"RoleRevokePermission": {&pb.AuthRoleRevokePermissionRequest{Role: "r", Key: perm.Key, RangeEnd: perm.RangeEnd}},
		"Authenticate":         {&pb.AuthenticateRequest{Name: "u", Password: "p"}},
	}
}
