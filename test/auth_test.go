package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/configs"
	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// side is one of the two servers that are compared: etcd, or a datacenter.
type side struct {
	ctx    context.Context
	conn   *grpc.ClientConn
	tokens map[string]string // by user
}

func newSide(t *testing.T, endpoint string) *side {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &side{ctx: t.Context(), conn: conn, tokens: map[string]string{}}
}

// as is a context of a user's request; who has not logged in comes with none.
func (s *side) as(user string) context.Context {
	if token := s.tokens[user]; token != "" {
		return metadata.AppendToOutgoingContext(s.ctx, "token", token)
	}
	return s.ctx
}

// said is an error as clients see it.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	return fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
}

func outcome[T any](r T, err error, show func(T) any) string {
	if err != nil {
		return said(err)
	}
	return fmt.Sprint("ok ", show(r))
}

// nothing is for responses that say no more than ok.
func nothing[T any](T) any { return "" }

func (s *side) login(user, password string) string {
	r, err := pb.NewAuthClient(s.conn).Authenticate(s.ctx, &pb.AuthenticateRequest{Name: user, Password: password})
	if err == nil {
		s.tokens[user] = r.Token
	}
	return said(err)
}

// enable turns authentication on if it is off. What is there already, or not permitted, stays as it is.
func (s *side) enable() {
	auth := pb.NewAuthClient(s.conn)
	_, _ = auth.UserAdd(s.ctx, &pb.AuthUserAddRequest{Name: "root", Password: "pw-root"})
	_, _ = auth.UserGrantRole(s.ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
	_, _ = auth.AuthEnable(s.ctx, &pb.AuthEnableRequest{})
}

// populate makes, as root, what users and roles there are not.
func (s *side) populate() {
	auth := pb.NewAuthClient(s.conn)
	for i := range 3 {
		_, _ = auth.UserAdd(s.as("root"), &pb.AuthUserAddRequest{Name: fmt.Sprintf("u%d", i), Password: fmt.Sprintf("pw-u%d", i)})
		_, _ = auth.RoleAdd(s.as("root"), &pb.AuthRoleAddRequest{Name: fmt.Sprintf("r%d", i)})
	}
}

// watch is how the creation of a watch is answered.
func (s *side) watch(user string, key, end []byte) string {
	ctx, cancel := context.WithCancel(s.as(user))
	defer cancel()
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err == nil {
		err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: key, RangeEnd: end}}})
	}
	if err != nil {
		return said(err)
	}
	r, err := stream.Recv()
	if err != nil {
		return said(err)
	}
	return fmt.Sprint(r.Created, r.Canceled, r.CancelReason)
}

// dice makes steps; the same dice make the same ones for both sides.
type dice struct{ *rand.Rand }

func (d dice) of(words ...string) string { return words[d.IntN(len(words))] }
func (d dice) user() string              { return d.of("root", "u0", "u1", "u2") }
func (d dice) role() string              { return d.of("root", "r0", "r1", "r2") }

// span is a range for a request.
func (d dice) span() (key, end []byte) {
	return []byte(d.of("a", "ab", "b", "c", "d", "\x00")), []byte(d.of("", "", "", "\x00", "b", "c", "d", "e"))
}

// permission has one end for each key: etcd adds some permissions twice whose keys are equal and whose ends
// are not.
func (d dice) permission() *authpb.Permission {
	p := [][2]string{{"a", ""}, {"ab", "b"}, {"b", "d"}, {"c", "\x00"}, {"d", "b"}, {"", "x"}}[d.IntN(6)]
	return &authpb.Permission{PermType: authpb.Permission_Type(d.IntN(3)), Key: []byte(p[0]), RangeEnd: []byte(p[1])}
}

// step is one request, by some user, and what it was answered.
func (d dice) step(s *side) (what, answer string) {
	a, kv := pb.NewAuthClient(s.conn), pb.NewKVClient(s.conn)
	who := d.of("root", "root", "root", "u0", "u1", "u2", "nobody", "bad")
	ctx := s.as(who)
	u, r, perm := d.user(), d.role(), d.permission()
	key, end := d.span()
	n := d.IntN(26)
	what = fmt.Sprintf("%d by %s: user %s, role %s, permission %v, range %q %q", n, who, u, r, perm, key, end)
	switch n {
	case 0:
		return what, outcome2(a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: d.of(u, u, u, ""), Password: "pw-" + u, Options: &authpb.UserAddOptions{NoPassword: d.IntN(5) == 0 && u != "root"}}))(nothing)
	case 1:
		if d.IntN(2) == 0 {
			return what, outcome2(a.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: u}))(nothing)
		}
		return what, outcome2(a.UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: u, Password: "pw-" + u}))(nothing)
	case 2, 3:
		return what, outcome2(a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: u, Role: r}))(nothing)
	case 4:
		return what, outcome2(a.UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: u, Role: r}))(nothing)
	case 5:
		return what, outcome2(a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: d.of(r, r, r, "")}))(nothing)
	case 6:
		if d.IntN(3) == 0 {
			return what, outcome2(a.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: r}))(nothing)
		}
		return what, outcome2(a.RoleRevokePermission(ctx, &pb.AuthRoleRevokePermissionRequest{Role: r, Key: perm.Key, RangeEnd: perm.RangeEnd}))(nothing)
	case 7, 8:
		return what, outcome2(a.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: r, Perm: perm}))(nothing)
	case 9:
		return what, outcome2(a.UserGet(ctx, &pb.AuthUserGetRequest{Name: u}))(func(r *pb.AuthUserGetResponse) any { return r.Roles })
	case 10:
		return what, outcome2(a.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: r}))(func(r *pb.AuthRoleGetResponse) any {
			var out []string
			for _, p := range r.Perm {
				out = append(out, fmt.Sprintf("%s %q %q", p.PermType, p.Key, p.RangeEnd))
			}
			return out
		})
	case 11:
		return what, outcome2(a.UserList(ctx, &pb.AuthUserListRequest{}))(func(r *pb.AuthUserListResponse) any { return r.Users })
	case 12:
		return what, outcome2(a.RoleList(ctx, &pb.AuthRoleListRequest{}))(func(r *pb.AuthRoleListResponse) any { return r.Roles })
	case 13:
		return what, outcome2(a.AuthStatus(ctx, &pb.AuthStatusRequest{}))(func(r *pb.AuthStatusResponse) any { return fmt.Sprint(r.Enabled, r.AuthRevision) })
	case 14:
		return what, outcome2(a.AuthEnable(ctx, &pb.AuthEnableRequest{}))(nothing)
	case 15:
		if d.IntN(3) > 0 {
			return what, outcome2(a.AuthEnable(ctx, &pb.AuthEnableRequest{}))(nothing)
		}
		return what, outcome2(a.AuthDisable(ctx, &pb.AuthDisableRequest{}))(nothing)
	case 16, 17:
		return what + " logs in", s.login(u, d.of("pw-"+u, "pw-"+u, "pw-"+u, "wrong"))
	case 18, 19:
		return what, outcome2(kv.Put(ctx, &pb.PutRequest{Key: key, Value: []byte(u), PrevKv: d.IntN(3) == 0}))(func(r *pb.PutResponse) any {
			return string(r.PrevKv.GetValue())
		})
	case 20, 21:
		return what, outcome2(kv.Range(ctx, &pb.RangeRequest{Key: key, RangeEnd: end, Serializable: d.IntN(3) == 0}))(func(r *pb.RangeResponse) any {
			var out []string
			for _, x := range r.Kvs {
				out = append(out, fmt.Sprintf("%q=%s", x.Key, x.Value))
			}
			return out
		})
	case 22:
		return what, outcome2(kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: d.IntN(2) == 0}))(func(r *pb.DeleteRangeResponse) any {
			return fmt.Sprint(r.Deleted, len(r.PrevKvs))
		})
	case 23:
		return what, outcome2(kv.Txn(ctx, d.txn(1)))(func(r *pb.TxnResponse) any { return fmt.Sprint(r.Succeeded, len(r.Responses)) })
	case 24:
		return what, s.watch(who, key, end)
	}
	m := pb.NewMaintenanceClient(s.conn)
	if d.IntN(2) == 0 {
		return what, outcome2(m.Status(ctx, &pb.StatusRequest{}))(nothing)
	}
	return what, outcome2(m.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(d.IntN(2) * 2)}))(nothing)
}

// outcome2 takes a call's two results as they come.
func outcome2[T any](r T, err error) func(func(T) any) string {
	return func(show func(T) any) string { return outcome(r, err, show) }
}

func (d dice) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	key, end := d.span()
	if d.IntN(2) == 0 {
		t.Compare = append(t.Compare, &pb.Compare{Key: key, RangeEnd: end, Target: pb.Compare_VERSION, Result: pb.Compare_GREATER,
			TargetUnion: &pb.Compare_Version{Version: 0}})
	}
	for _, branch := range []*[]*pb.RequestOp{&t.Success, &t.Failure} {
		key, end := d.span()
		switch op := d.IntN(5); {
		case op == 0:
			*branch = append(*branch, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte("t")}}})
		case op == 1:
			*branch = append(*branch, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: end}}})
		case op == 2 && depth > 0:
			*branch = append(*branch, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: d.txn(depth - 1)}})
		default:
			*branch = append(*branch, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key, RangeEnd: end}}})
		}
	}
	return t
}

// TestUsersAndRolesAreAsInEtcd compares users, roles and permissions with a real etcd's, through etcdctl and
// by random requests of several users; then what the second datacenter has of them.
func TestUsersAndRolesAreAsInEtcd(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:2], Nodes: 1, Edit: func(top *configs.Topology) {
		top.Policy.Default, top.Auth.BcryptCost = "ASYNC", 4
	}})
	etcd := etcdbin.New(t, 1, "--bcrypt-cost=4")
	ours, theirs := c.Node("us-east", "n0").Spec.Client, etcd.Endpoints()[0]
	compareEtcdctl(t, ours, theirs)
	compareRandomly(t, ours, theirs)
	checkTheSecondDatacenter(t, c)
}

// compareEtcdctl leaves authentication off, and no user.
func compareEtcdctl(t *testing.T, ours, theirs string) {
	bin := etcdctl(t)
	run := func(endpoint, stdin string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), bin, append([]string{"--endpoints=" + endpoint, "--command-timeout=10s"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		var lines []string
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, `{"level"`) {
				lines = append(lines, line)
			}
		}
		return fmt.Sprint(strings.Join(lines, ""), err)
	}
	const root = "--user=root:clear-root-password "
	for _, step := range []struct{ args, stdin string }{
		{args: "auth status"}, {args: "auth enable"},
		{args: "user add root:clear-root-password"}, {args: "user add root:again"},
		{args: "user add ann --interactive=false", stdin: "clear-ann-password\n"},
		{args: "user add cert --no-password"}, {args: "user list"},
		{args: "role add app"}, {args: "role add app"}, {args: "role list"},
		{args: "role grant-permission app readwrite /app/ /app0"},
		{args: "role grant-permission app read --prefix /shared/"},
		{args: "role grant-permission app write --from-key z"},
		{args: "role grant-permission app read k"}, {args: "role grant-permission nothing read k"},
		{args: "role get app"}, {args: "role get nothing"},
		{args: "user grant-role ann app"}, {args: "user grant-role ann nothing"}, {args: "user get ann"},
		{args: "user get ann --detail"}, {args: "user get nobody"},
		{args: "auth enable"}, {args: "auth status"},
		{args: "put /app/x 1"}, {args: "get /app/x"},
		{args: root + "user list"}, {args: root + "auth status"}, {args: root + "put other 1"},
		{args: "--user=root:wrong put other 1"}, {args: "--user=nobody:x put other 1"}, {args: "--user=cert:x put other 1"},
		{args: "--user=ann:clear-ann-password put /app/x 1"}, {args: "--user=ann:clear-ann-password get /app/x"},
		{args: "--user=ann:clear-ann-password put other 2"}, {args: "--user=ann:clear-ann-password get --prefix /"},
		{args: "--user=ann:clear-ann-password del --prefix /app/"}, {args: "--user=ann:clear-ann-password user list"},
		{args: "--user=ann:clear-ann-password user get ann"}, {args: "--user=ann:clear-ann-password role get app"},
		{args: root + "user passwd ann --interactive=false", stdin: "clear-new-password\n"},
		{args: "--user=ann:clear-ann-password get /app/x"}, {args: "--user=ann:clear-new-password get /app/x"},
		{args: root + "role revoke-permission app /app/ /app0"}, {args: root + "role revoke-permission app /app/ /app0"},
		{args: "--user=ann:clear-new-password get /app/x"},
		{args: root + "user revoke-role ann app"}, {args: root + "user revoke-role ann app"},
		{args: root + "user delete root"}, {args: root + "role delete root"}, {args: root + "user revoke-role root root"},
		{args: root + "role delete app"}, {args: root + "user delete ann"}, {args: root + "user delete cert"},
		{args: root + "compaction 2"},
		{args: "--user=ann:clear-new-password get /app/x"},
		{args: "auth disable"}, {args: root + "auth disable"}, {args: "auth status"}, {args: "user list"}, {args: "user delete root"},
	} {
		args := strings.Fields(step.args)
		if want, got := run(theirs, step.stdin, args...), run(ours, step.stdin, args...); got != want {
			t.Errorf("etcdctl %s\n--- etcd\n%s\n--- geogate\n%s", step.args, want, got)
		}
	}
}

func compareRandomly(t *testing.T, ours, theirs string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const steps = 300
	a, b := newSide(t, theirs), newSide(t, ours)
	a.tokens["bad"], b.tokens["bad"] = "bad", "bad"
	refused, enabled := 0, 0
	for i := range steps {
		what, want := dice{rand.New(rand.NewPCG(seed, uint64(i)))}.step(a)
		_, got := dice{rand.New(rand.NewPCG(seed, uint64(i)))}.step(b)
		if got != want {
			t.Fatalf("step %d, %s\netcd says    %s\ngeogate says %s", i, what, want, got)
		}
		if strings.Contains(want, "permission denied") {
			refused++
		}
		if i%10 == 0 { // most steps should find authentication enabled, and somebody who may do something
			for _, s := range []*side{a, b} {
				s.enable()
				s.login("root", "pw-root")
				s.populate()
			}
			for _, u := range []string{"root", "u0", "u1", "u2"} {
				if want, got := a.login(u, "pw-"+u), b.login(u, "pw-"+u); got != want {
					t.Fatalf("step %d, login of %s: etcd says %s, geogate %s", i, u, want, got)
				} else if want == "ok" {
					enabled++
				}
			}
		}
	}
	if refused < steps/50 || enabled < steps/20 {
		t.Errorf("of %d steps %d were denied, and there were %d logins: this tests too little", steps, refused, enabled)
	}
}

// checkTheSecondDatacenter makes users in one datacenter and uses them in the other.
func checkTheSecondDatacenter(t *testing.T, c *cluster.Cluster) {
	us, eu := newSide(t, c.Node("us-east", "n0").Spec.Client), newSide(t, c.Node("eu-west", "n0").Spec.Client)
	a := pb.NewAuthClient(us.conn)
	us.enable()
	if said := us.login("root", "pw-root"); said != "ok" {
		t.Fatal(said)
	}
	ctx := us.as("root")
	for i, err := range []error{
		second(a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "both"})),
		second(a.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "both",
			Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("both/"), RangeEnd: []byte("both0")}})),
		second(a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "eve", Password: "clear-eve-password"})),
		second(a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "eve", Role: "both"})),
	} {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	c.WaitEqual(20 * time.Second)
	eve, err := clientv3.New(clientv3.Config{Endpoints: []string{c.Node("eu-west", "n0").Spec.Client}, Username: "eve", Password: "clear-eve-password", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = eve.Close() })
	check := func() {
		t.Helper()
		if _, err := eve.Put(t.Context(), "both/x", "1"); err != nil {
			t.Errorf("eve in the other datacenter: %v", err)
		}
		if _, err := eve.Put(t.Context(), "else", "1"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("eve where she may not: %v", err)
		}
	}
	check()
	eu.tokens["root"] = us.tokens["root"]
	if _, err := pb.NewAuthClient(eu.conn).UserList(eu.as("root"), &pb.AuthUserListRequest{}); said(err) != said(rpctypes.ErrGRPCInvalidAuthToken) {
		t.Errorf("a token of the first datacenter in the second: %v", err)
	}
	node := c.Node("eu-west", "n0")
	node.Stop()
	node.Start()
	c.WaitHealthy(20 * time.Second)
	check() // the client logs in again if it must
	c.WaitEqual(20 * time.Second)
	checkNoClearPassword(t, filepath.Dir(filepath.Dir(node.Spec.Dir)))
}

func second[T any](_ T, err error) error { return err }

// checkNoClearPassword looks into logs, Raft logs, stores and streams of all nodes.
func checkNoClearPassword(t *testing.T, dir string) {
	found, hashes := []string{}, 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte("clear-")) {
			found = append(found, path)
		}
		if bytes.Contains(b, []byte("$2a$04$")) {
			hashes++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	if len(found) > 0 || hashes == 0 {
		t.Errorf("clear passwords are in %v, hashes in %d files", found, hashes)
	}
}
