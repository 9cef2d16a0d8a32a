package oracle

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"geogate/gateway/electionpb"
	"geogate/gateway/lockpb"
)

func itoa(n int) string { return strconv.Itoa(n) }

// named is a message whose field 1 is a string that is no UTF-8.
func named(name string) []byte { return append([]byte{1<<3 | 2, byte(len(name))}, name...) }

const badUTF8 = "a\xff\xfe"

func hostileLeases() (out []hostile) {
	call := func(name, method string, r proto.Message) {
		out = append(out, hostile{name: method + ": " + name, method: "/etcdserverpb.Lease/" + method, send: r})
	}
	for _, ttl := range []int64{0, -1, math.MinInt64, math.MaxInt64, 9_000_000_000, 9_000_000_001} {
		call("a TTL of "+strconv.FormatInt(ttl, 10), "LeaseGrant", &pb.LeaseGrantRequest{TTL: ttl})
	}
	call("an id", "LeaseGrant", &pb.LeaseGrantRequest{ID: 5, TTL: 100})
	call("an id that is taken", "LeaseGrant", &pb.LeaseGrantRequest{ID: 5, TTL: 100})
	call("an id that is taken, and a TTL that is none", "LeaseGrant", &pb.LeaseGrantRequest{ID: 5, TTL: math.MaxInt64})
	call("a negative id", "LeaseGrant", &pb.LeaseGrantRequest{ID: -5, TTL: 100})
	call("the least id", "LeaseGrant", &pb.LeaseGrantRequest{ID: math.MinInt64, TTL: 100})
	for _, id := range []int64{0, -1, 404, math.MinInt64, math.MaxInt64, -5} {
		n := strconv.FormatInt(id, 10)
		call(n, "LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
		call(n, "LeaseRevoke", &pb.LeaseRevokeRequest{ID: id})
		call(n+" again", "LeaseRevoke", &pb.LeaseRevokeRequest{ID: id})
		out = append(out, hostile{name: "keepalive of " + n, method: "/etcdserverpb.Lease/LeaseKeepAlive", send: &pb.LeaseKeepAliveRequest{ID: id}, stream: true})
	}
	return out
}

func hostileMembers() (out []hostile) {
	call := func(name, method string, r any) {
		out = append(out, hostile{name: method + ": " + name, method: "/etcdserverpb.Cluster/" + method, send: r})
	}
	for name, urls := range map[string][]string{
		"no URL": nil, "an empty URL": {""}, "no scheme": {"127.0.0.1:1"}, "another scheme": {"ftp://127.0.0.1:1"},
		"no port": {"http://127.0.0.1"}, "a path": {"http://127.0.0.1:1/x"}, "a URL of 100 kB": {"http://" + strings.Repeat("h", 100_000)},
		"what is no URL": {"http://[::1"}, "a control character": {"http://a\x00:1"},
	} {
		call(name, "MemberAdd", &pb.MemberAddRequest{PeerURLs: urls})
		call(name, "MemberUpdate", &pb.MemberUpdateRequest{ID: 404, PeerURLs: urls})
	}
	call("not UTF-8", "MemberAdd", named(badUTF8))
	for _, id := range []uint64{0, 404, math.MaxUint64} {
		n := strconv.FormatUint(id, 10)
		call(n, "MemberRemove", &pb.MemberRemoveRequest{ID: id})
		call(n, "MemberPromote", &pb.MemberPromoteRequest{ID: id})
		call(n, "MemberUpdate", &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"http://127.0.0.1:1"}})
	}
	return out
}

func hostileMaintenance() (out []hostile) {
	call := func(name, method string, r proto.Message) {
		out = append(out, hostile{name: method + ": " + name, method: "/etcdserverpb.Maintenance/" + method, send: r})
	}
	for _, n := range []int32{3, 99} {
		text := fmt.Sprintf("geogate: bad alarm request: action %d is none of GET (0), ACTIVATE (1), DEACTIVATE (2)", n)
		out = append(out, hostile{
			name: "alarm action " + itoa(int(n)), method: "/etcdserverpb.Maintenance/Alarm", deadly: true,
			send: &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(n)}, differ: &answer{codes.InvalidArgument, text},
		})
		call("get alarm "+itoa(int(n)), "Alarm", &pb.AlarmRequest{Alarm: pb.AlarmType(n)})
		call("clear alarm "+itoa(int(n)), "Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType(n)})
		call("raise and clear alarm "+itoa(int(n)), "Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: math.MaxUint64, Alarm: pb.AlarmType(n)})
		call("action "+itoa(int(n)), "Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_DowngradeAction(n), Version: "3.6.0"})
	}
	call("raise none", "Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE})
	call("clear none", "Alarm", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE})
	for _, rev := range []int64{-1, math.MinInt64, 1 << 40, math.MaxInt64} {
		call(strconv.FormatInt(rev, 10), "HashKV", &pb.HashKVRequest{Revision: rev})
	}
	for _, id := range []uint64{0, 404, math.MaxUint64} {
		call(strconv.FormatUint(id, 10), "MoveLeader", &pb.MoveLeaderRequest{TargetID: id})
	}
	for _, v := range []string{"", "x", "3", "3.6", "3.6.0.0", "-1.0.0", "9999999999999999999999.0.0", strings.Repeat("9", 100_000), "1.0.0", "9.9.9"} {
		call("validate "+v[:min(len(v), 30)], "Downgrade", &pb.DowngradeRequest{Version: v})
		call("enable "+v[:min(len(v), 30)], "Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_ENABLE, Version: v})
	}
	call("cancel none", "Downgrade", &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL})
	refused := map[string]answer{
		"Downgrade: validate 3.6": {codes.InvalidArgument, "etcdserver: invalid downgrade target version"},
		"Downgrade: enable 3.6":   {codes.InvalidArgument, "etcdserver: invalid downgrade target version"},
		"Downgrade: cancel none":  {codes.FailedPrecondition, "etcdserver: no inflight downgrade job"},
	}
	return differing(out, refused, "geogate's files are not etcd's, and no downgrade of them is ever under way")
}

// differing marks the requests that geogate answers in its own way.
func differing(all []hostile, answers map[string]answer, why string) []hostile {
	for i := range all {
		if a, ok := answers[all[i].name]; ok {
			all[i].differ, all[i].why = &a, why
		}
	}
	return all
}

func hostileRecipes() (out []hostile) {
	call := func(name, method string, r any) {
		out = append(out, hostile{name: method + ": " + name, method: method, send: r})
	}
	const lock, election = "/v3lockpb.Lock/", "/v3electionpb.Election/"
	call("a lease that is not there", lock+"Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: 404})
	call("a negative lease", lock+"Lock", &lockpb.LockRequest{Name: []byte("l"), Lease: -7})
	call("the least lease", lock+"Lock", &lockpb.LockRequest{Lease: math.MinInt64})
	call("nothing", lock+"Lock", &lockpb.LockRequest{})
	call("a name over the limit", lock+"Lock", &lockpb.LockRequest{Name: key(1536 << 10)})
	call("nothing", lock+"Unlock", &lockpb.UnlockRequest{})
	call("a key that is not there", lock+"Unlock", &lockpb.UnlockRequest{Key: []byte("none")})
	call("nothing", election+"Leader", &electionpb.LeaderRequest{})
	call("nobody", election+"Leader", &electionpb.LeaderRequest{Name: []byte("nobody")})
	call("a lease that is not there", election+"Campaign", &electionpb.CampaignRequest{Name: []byte("e"), Lease: 404})
	call("a negative lease", election+"Campaign", &electionpb.CampaignRequest{Name: []byte("e"), Lease: -1})
	call("a value over the limit", election+"Campaign", &electionpb.CampaignRequest{Name: []byte("e"), Value: key(1536 << 10)})
	for name, l := range map[string]*electionpb.LeaderKey{
		"no leader": nil, "an empty leader": {}, "a leader that is none": {Name: []byte("e"), Key: []byte("e/1"), Rev: 3, Lease: 404},
		"negative numbers": {Name: []byte("e"), Key: []byte("e/1"), Rev: -3, Lease: -4}, "a lease alone": {Lease: 9},
		"the least revision": {Name: []byte("e"), Key: []byte("e/1"), Rev: math.MinInt64, Lease: -1},
	} {
		call(name, election+"Proclaim", &electionpb.ProclaimRequest{Leader: l, Value: []byte("v")})
		call(name, election+"Resign", &electionpb.ResignRequest{Leader: l})
	}
	return out
}

func hostileWatches() (out []hostile) {
	watch := func(name string, r any) {
		out = append(out, hostile{name: "watch: " + name, method: "/etcdserverpb.Watch/Watch", send: r, stream: true})
	}
	create := func(r *pb.WatchCreateRequest) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	}
	watch("a negative revision", create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: -1}))
	watch("the least revision", create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: math.MinInt64}))
	watch("the greatest revision", create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: math.MaxInt64}))
	watch("an inverted range", create(&pb.WatchCreateRequest{Key: []byte("z"), RangeEnd: []byte("a")}))
	watch("an empty range", create(&pb.WatchCreateRequest{Key: []byte("z"), RangeEnd: []byte("z")}))
	watch("a filter that is none", create(&pb.WatchCreateRequest{Key: []byte("k"), Filters: []pb.WatchCreateRequest_FilterType{99, -1}}))
	watch("a negative id", create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: -1}))
	watch("the least id", create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: math.MinInt64}))
	watch("everything", create(&pb.WatchCreateRequest{}))
	watch("what is no message", []byte{0xff})
	return out
}

func hostileUsers() (out []hostile) {
	call := func(name, method string, r any) {
		out = append(out, hostile{name: method + ": " + name, method: "/etcdserverpb.Auth/" + method, send: r})
	}
	huge := strings.Repeat("u", 1_000_000)
	for name, user := range map[string]string{
		"no name": "", "a name of zeros": "\x00\x00", "a name of slashes": "../../etc", "a huge name": huge, "one over the limit": huge + huge[:600_000],
	} {
		call(name, "UserGet", &pb.AuthUserGetRequest{Name: user})
		call(name, "UserDelete", &pb.AuthUserDeleteRequest{Name: user})
		call(name, "RoleGet", &pb.AuthRoleGetRequest{Role: user})
		call(name, "RoleDelete", &pb.AuthRoleDeleteRequest{Role: user})
		call(name, "UserGrantRole", &pb.AuthUserGrantRoleRequest{User: user, Role: user})
		call(name, "UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: user, Role: user})
		call(name, "UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: user, Password: "p"})
		call(name, "Authenticate", &pb.AuthenticateRequest{Name: user, Password: user})
		if user == huge {
			continue
		}
		call(name, "UserAdd", &pb.AuthUserAddRequest{Name: user, Password: "p"})
		call(name+" again", "UserAdd", &pb.AuthUserAddRequest{Name: user, Password: "p"})
		call(name, "RoleAdd", &pb.AuthRoleAddRequest{Name: user})
		call(name+" again", "RoleAdd", &pb.AuthRoleAddRequest{Name: user})
	}
	tooLong := &answer{codes.InvalidArgument, `geogate: name of a user or role is too long: "uuuuuuuuuuuuuuuuuuuu"... has 1000000 bytes, at most 32768 are possible`}
	out = append(out,
		hostile{name: "UserAdd: a huge name", method: "/etcdserverpb.Auth/UserAdd", send: &pb.AuthUserAddRequest{Name: huge, Password: "p"}, deadly: true, differ: tooLong},
		hostile{name: "RoleAdd: a huge name", method: "/etcdserverpb.Auth/RoleAdd", send: &pb.AuthRoleAddRequest{Name: huge}, deadly: true, differ: tooLong})
	for _, method := range []string{"UserAdd", "UserGet", "UserDelete", "RoleAdd", "RoleGet", "RoleDelete", "UserGrantRole", "UserRevokeRole", "UserChangePassword", "Authenticate", "RoleGrantPermission", "RoleRevokePermission"} {
		call("not UTF-8", method, named(badUTF8))
		call("nothing", method, []byte{})
		call("what is no message", method, []byte{0xff, 0xff})
	}
	call("without a password", "UserAdd", &pb.AuthUserAddRequest{Name: "w"})
	call("none, and a password", "UserAdd", &pb.AuthUserAddRequest{Name: "x", Password: "p", Options: &authpb.UserAddOptions{NoPassword: true}})
	call("none, and none", "UserAdd", &pb.AuthUserAddRequest{Name: "y", Options: &authpb.UserAddOptions{NoPassword: true}})
	call("a password of 73 bytes", "UserAdd", &pb.AuthUserAddRequest{Name: "long", Password: strings.Repeat("p", 73)})
	call("a huge password", "UserAdd", &pb.AuthUserAddRequest{Name: "longer", Password: huge})
	call("a hash that is none", "UserAdd", &pb.AuthUserAddRequest{Name: "hash", HashedPassword: "!"})
	call("a hash of nothing", "UserAdd", &pb.AuthUserAddRequest{Name: "hash2", HashedPassword: "YQ=="})
	call("a password and a hash", "UserAdd", &pb.AuthUserAddRequest{Name: "hash3", Password: "p", HashedPassword: "!"})
	call("an empty password", "UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "x"})
	call("a password of 73 bytes", "UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "x", Password: strings.Repeat("p", 73)})
	call("a hash that is none", "UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "y", HashedPassword: "!"})
	call("a role that is not there", "UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "y", Role: "none"})
	call("a role", "RoleAdd", &pb.AuthRoleAddRequest{Name: "r"})
	for name, p := range map[string]*authpb.Permission{
		"no permission": nil, "an empty one": {}, "a type that is none": {Key: []byte("a"), PermType: 99}, "a negative type": {Key: []byte("a"), PermType: -1},
		"an inverted range": {Key: []byte("z"), RangeEnd: []byte("a")}, "an empty range": {Key: []byte("z"), RangeEnd: []byte("z")},
		"an end alone": {RangeEnd: []byte("z")}, "all keys": {Key: []byte{0}, RangeEnd: []byte{0}}, "no key and all": {RangeEnd: []byte{0}},
		"a key over the limit": {Key: key(1536 << 10)},
	} {
		call(name, "RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: p})
		call(name+", no role", "RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "none", Perm: p})
		call(name, "RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: p.GetKey(), RangeEnd: p.GetRangeEnd()})
		call(name+" again", "RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: p.GetKey(), RangeEnd: p.GetRangeEnd()})
	}
	call("without root", "AuthEnable", &pb.AuthEnableRequest{})
	call("root without role", "UserAdd", &pb.AuthUserAddRequest{Name: "root", Password: "p"})
	call("root without role", "AuthEnable", &pb.AuthEnableRequest{})
	call("while it is off", "AuthDisable", &pb.AuthDisableRequest{})
	call("root", "RoleAdd", &pb.AuthRoleAddRequest{Name: "root"})
	call("root, on the root role", "RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "root", Perm: &authpb.Permission{Key: []byte("k")}})
	for _, token := range []string{"", "x", "a.b.c", strings.Repeat("x", 4000)} {
		out = append(out, hostile{name: "a token of " + itoa(len(token)) + " bytes", method: kvPath + "Range", send: &pb.RangeRequest{Key: []byte("k")}, md: []string{"token", token}})
	}
	out = differing(out, map[string]answer{
		"UserGet: one over the limit": {codes.FailedPrecondition, "etcdserver: user name not found"},
		"RoleGet: one over the limit": {codes.FailedPrecondition, "etcdserver: role name not found"},
	}, "what only reads does not go through the log, whose entries the limit is for")
	return differing(out, map[string]answer{
		"RoleGrantPermission: a type that is none":  {codes.InvalidArgument, "etcdserver: invalid auth management"},
		"RoleGrantPermission: a negative type":      {codes.InvalidArgument, "etcdserver: invalid auth management"},
		"RoleRevokePermission: a type that is none": {codes.FailedPrecondition, "etcdserver: permission is not granted to the role"},
		"RoleRevokePermission: a negative type":     {codes.FailedPrecondition, "etcdserver: permission is not granted to the role"},
	}, "a permission of no type that there is would permit nothing")
}
