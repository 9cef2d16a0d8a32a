package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
	"geogate/gateway/geopb"
)

// grant makes a user with password pw who may read and write a range.
func (s *site) grant(name, key, end string) {
	s.t.Helper()
	for _, r := range []*pb.InternalRaftRequest{
		{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: name}},
		{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: name,
			Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte(key), RangeEnd: []byte(end)}}},
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: name, HashedPassword: s.hash("pw")}},
		{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: name, Role: name}},
	} {
		if _, err := s.users.apply(r); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) hash(password string) string {
	s.t.Helper()
	hash, err := s.nodes[0].passwords.hash(s.t.Context(), password)
	if err != nil {
		s.t.Fatal(err)
	}
	return hash
}

// login is a client of node 0 with a new user's name and password.
func (s *site) login(name, key, end string) *clientv3.Client {
	s.t.Helper()
	s.grant(name, key, end)
	return s.userClient(0, name, "pw")
}

func (s *site) userClient(i int, name, password string) *clientv3.Client {
	s.t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + s.nodes[i].addr}, Username: name, Password: password, Logger: zap.NewNop(), DialOptions: s.dialOptions(i),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// as is a context with a new user's token.
func (s *site) as(name, key, end string) context.Context {
	s.t.Helper()
	s.grant(name, key, end)
	return s.withToken(0, name, "pw")
}

func (s *site) withToken(i int, name, password string) context.Context {
	s.t.Helper()
	resp, err := pb.NewAuthClient(s.conn(i)).Authenticate(testContext(s.t), &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		s.t.Fatal(err)
	}
	return testContext(s.t, "token", resp.Token)
}

// A user's writes go through a follower, whose leader checks them by itself; the changes too.
func TestUsersThroughAFollower(t *testing.T) {
	var logged lockedLog
	s := newSite(t, 2, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
	c, ctx := s.client(1), testContext(t)
	for i, err := range []error{
		second(c.UserAdd(ctx, "root", "root-secret")), second(c.UserGrantRole(ctx, "root", "root")),
		second(c.RoleAdd(ctx, "app")), second(c.UserAdd(ctx, "ann", "ann-secret")),
		second(c.RoleGrantPermission(ctx, "app", "/a/", "/a0", clientv3.PermissionType(clientv3.PermReadWrite))),
		second(c.UserGrantRole(ctx, "ann", "app")), second(c.UserChangePassword(ctx, "ann", "new-secret")),
		second(c.AuthEnable(ctx)),
	} {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if err := second(c.Put(ctx, "/a/x", "1")); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Errorf("nobody's put: %v", err)
	}
	if _, err := pb.NewAuthClient(s.conn(1)).Authenticate(ctx, &pb.AuthenticateRequest{Name: "ann", Password: "ann-secret"}); status.Convert(err).Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCAuthFailed) {
		t.Errorf("the old password: %v", err)
	}
	ann := s.userClient(1, "ann", "new-secret")
	if err := second(ann.Put(ctx, "/a/x", "1")); err != nil {
		t.Error(err)
	}
	if r, err := ann.Get(ctx, "/a/", clientv3.WithPrefix()); err != nil || len(r.Kvs) != 1 {
		t.Errorf("get: %v, %v", r, err)
	}
	for name, err := range map[string]error{
		"put":       second(ann.Put(ctx, "/b/x", "1")),
		"get all":   second(ann.Get(ctx, "", clientv3.WithFromKey())),
		"user list": second(ann.UserList(ctx)),
		"user add":  second(ann.UserAdd(ctx, "x", "x")),
		"compact":   second(ann.Compact(ctx, 1)),
	} {
		if !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := ann.UserGet(ctx, "ann"); err != nil || fmt.Sprint(r.Roles) != "[app]" {
		t.Errorf("herself: %v, %v", r, err)
	}
	for _, secret := range []string{"root-secret", "ann-secret", "new-secret"} {
		if strings.Contains(s.users.log(), secret) || strings.Contains(logged.String(), secret) {
			t.Errorf("password %q is in the log", secret)
		}
	}
	if !strings.Contains(s.users.log(), `hashedPassword:"JD`) {
		t.Errorf("no hash in\n%s", s.users.log())
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A node that lags must neither refuse what is granted already nor serve what is revoked already.
func TestNodesThatAreBehind(t *testing.T) {
	s := newSite(t, 2, nil)
	s.rooted(t)
	s.users.freeze(2)
	s.grant("ann", "a", "b")
	annAtLeader := s.withToken(0, "ann", "pw")
	if err := second(s.kv(1).Range(annAtLeader, &pb.RangeRequest{Key: []byte("a")})); err != nil {
		t.Errorf("a user whom the node has not heard of: %v", err)
	}
	s.users.freeze(2)
	revoke := &pb.InternalRaftRequest{AuthUserRevokeRole: &pb.AuthUserRevokeRoleRequest{Name: "ann", Role: "ann"}}
	if _, err := s.users.apply(revoke); err != nil {
		t.Fatal(err)
	}
	if err := second(s.kv(1).Put(annAtLeader, &pb.PutRequest{Key: []byte("a")})); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a put through a node that does not know of the revocation: %v", err)
	}
}

// A right that goes while a read is under way does not serve it.
func TestRevokedDuringARead(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	ctx := s.as("ann", "a", "b")
	s.data.mu.Lock()
	gate := make(chan struct{})
	s.data.gate = gate
	s.data.mu.Unlock()
	answered := make(chan error, 1)
	kv := s.kv(0)
	go func() { answered <- second(kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})) }()
	eventually(t, "the read is permitted", func() bool { return s.nodes[0].tokens.known() > 0 })
	if _, err := s.users.apply(&pb.InternalRaftRequest{AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: "ann"}}); err != nil {
		t.Fatal(err)
	}
	close(gate)
	if err := <-answered; status.Code(err) != codes.PermissionDenied {
		t.Errorf("the read: %v", err)
	}
}

func (t *tokens) known() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.checked)
}

// A write that was permitted by users and roles that have changed is permitted anew, some times.
func TestPermittedAnew(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	kv := s.kv(0)
	ctx := s.as("ann", "a", "b")
	for n, want := range map[int]codes.Code{1: codes.OK, maxPermits: codes.OK, maxPermits + 1: codes.InvalidArgument} {
		s.data.mu.Lock()
		s.data.refuse = nil
		for range n {
			s.data.refuse = append(s.data.refuse, auth.ErrOldRevision)
		}
		s.data.mu.Unlock()
		if err := second(kv.Put(ctx, &pb.PutRequest{Key: []byte("a")})); status.Code(err) != want {
			t.Errorf("%d changes meanwhile: %v, want %v", n, err, want)
		}
	}
}

// A client goes on by itself when its token is not valid any more.
func TestClientLogsInAgain(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	ann, ctx := s.login("ann", "a", "b"), testContext(t)
	raw := s.withToken(0, "ann", "pw")
	if err := second(ann.Put(ctx, "a", "1")); err != nil {
		t.Fatal(err)
	}
	again := &pb.InternalRaftRequest{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: "ann", HashedPassword: s.hash("pw")}}
	if _, err := s.users.apply(again); err != nil {
		t.Fatal(err)
	}
	if err := second(s.kv(0).Put(raw, &pb.PutRequest{Key: []byte("a")})); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the token of the old password: %v", err)
	}
	if err := second(ann.Put(ctx, "a", "2")); err != nil {
		t.Errorf("the client: %v", err)
	}
}

func TestTokens(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	s.grant("ann", "a", "b")
	st := fakeUsersNode{s.users, s.nodes[0].fake}.Auth()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tokens := newTokens("dc-a", time.Minute, func() time.Time { return now })
	good, err := tokens.sign(st, "ann", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	other := *st
	other.Secret = []byte("another secret")
	foreign, _ := tokens.sign(&other, "ann", time.Minute)
	elsewhere, _ := newTokens("dc-b", time.Minute, tokens.now).sign(st, "ann", time.Minute)
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims{RegisteredClaims: jwt.RegisteredClaims{
		Issuer: "dc-a", Subject: "root", ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour))}}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		if name, err := tokens.user(st, good); err != nil || name != "ann" {
			t.Errorf("a good token: %q, %v", name, err)
		}
	}
	if _, err := tokens.user(&other, good); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a token that is known, under a new secret: %v", err)
	}
	for name, token := range map[string]string{
		"empty": "", "garbage": "a.b.c", "cut": good[:len(good)-1], "unsigned": none, "other secret": foreign,
		"other datacenter": elsewhere, "long": strings.Repeat("x", maxTokenBytes+1),
	} {
		if user, err := tokens.user(st, token); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s: %q, %v", name, user, err)
		}
	}
	now = now.Add(time.Minute + tokenLeeway + time.Second)
	if _, err := tokens.user(st, good); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a token that is known and too old: %v", err)
	}
	if _, err := newTokens("dc-a", time.Minute, tokens.now).user(st, good); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a token that is too old: %v", err)
	}
	if _, err := tokens.sign(st, "nobody", time.Minute); !errors.Is(err, auth.ErrAuthFailed) {
		t.Errorf("a token for nobody: %v", err)
	}
	for range maxCachedTokens + 10 {
		now = now.Add(time.Second)
		token, err := tokens.sign(st, "ann", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokens.user(st, token); err != nil {
			t.Fatal(err)
		}
	}
	if n := tokens.known(); n > maxCachedTokens {
		t.Errorf("%d tokens are kept", n)
	}
}

func TestTokensAreAcceptedAsHTTPSendsThem(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	md, _ := metadata.FromOutgoingContext(s.as("ann", "a", "b"))
	token := md.Get("token")[0]
	for _, header := range []string{token, "Bearer " + token} {
		ctx := testContext(t, "authorization", header)
		if err := second(s.kv(0).Put(ctx, &pb.PutRequest{Key: []byte("a")})); err != nil {
			t.Error(err)
		}
	}
}

func certified(name string, md ...string) context.Context {
	chain := []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}}
	ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: credentials.TLSInfo{
		State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chain}}}})
	return metadata.NewIncomingContext(ctx, metadata.Pairs(md...))
}

// The common name of a verified certificate is a user, and the leader is told of it by a token.
func TestCertificates(t *testing.T) {
	s := newSite(t, 2, nil)
	s.rooted(t)
	s.grant("ann", "a", "b")
	leader, follower := s.nodes[0].Server, s.nodes[1].Server
	for name, c := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"certificate":      {certified("ann"), "ann"},
		"of a node":        {certified("node-2", metaForwarded, "2"), ""},
		"of a translation": {certified("ann", metaJSON, "x"), ""},
		"none":             {metadata.NewIncomingContext(context.Background(), nil), ""},
	} {
		got, err := leader.caller(c.ctx)
		if err != nil || got.name != c.want {
			t.Errorf("%s: %q, %v", name, got.name, err)
		}
	}
	if _, err := leader.caller(certified("ann", "token", "bad")); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a bad token beside a certificate: %v", err)
	}
	out, _ := metadata.FromOutgoingContext(follower.forward.outgoing(certified("ann")))
	got, err := leader.caller(metadata.NewIncomingContext(certified("node-2"), out))
	if err != nil || got.name != "ann" {
		t.Errorf("at the leader: %q, %v (%v)", got.name, err, out)
	}
	out, _ = metadata.FromOutgoingContext(follower.forward.outgoing(certified("nobody")))
	if got, err := leader.caller(metadata.NewIncomingContext(certified("root"), out)); err != nil || got.name != "" {
		t.Errorf("an unknown name at the leader: %q, %v", got.name, err)
	}
}

func TestPasswordsAreBounded(t *testing.T) {
	p, err := newPasswords(bcrypt.MinCost, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	hold, holding := make(chan struct{}), make(chan struct{})
	done := make(chan error, 2)
	go func() {
		done <- p.run(t.Context(), func() error { close(holding); <-hold; return nil })
	}()
	<-holding
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- p.run(ctx, func() error { return nil }) }()
	eventually(t, "one waits", func() bool { return p.waiting.Load() == 2 })
	if err := p.run(t.Context(), func() error { return nil }); !errors.Is(err, rpctypes.ErrGRPCRequestTooManyRequests) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("one that left: %v", err)
	}
	close(hold)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := p.hash(t.Context(), strings.Repeat("x", 73)); status.Convert(err).Message() != bcrypt.ErrPasswordTooLong.Error() {
		t.Errorf("a long password: %v", err)
	}
}

// What needs the root role, and what needs any user.
func TestWhoMayDoWhat(t *testing.T) {
	s := newSite(t, 1, nil)
	s.rooted(t)
	ann, conn := s.as("ann", "a", "b"), s.conn(0)
	root := s.withToken(0, "root", "rootpw")
	m, g, a := pb.NewMaintenanceClient(conn), geopb.NewGeoClient(conn), pb.NewAuthClient(conn)
	for name, c := range map[string]struct {
		call  func(context.Context) error
		users codes.Code // for ann
	}{
		"defragment": {func(ctx context.Context) error { return second(m.Defragment(ctx, &pb.DefragmentRequest{})) }, codes.PermissionDenied},
		"status":     {func(ctx context.Context) error { return second(m.Status(ctx, &pb.StatusRequest{})) }, codes.OK},
		"alarms":     {func(ctx context.Context) error { return second(m.Alarm(ctx, &pb.AlarmRequest{})) }, codes.OK},
		"hash":       {func(ctx context.Context) error { return second(m.HashKV(ctx, &pb.HashKVRequest{})) }, codes.PermissionDenied},
		"snapshot": {func(ctx context.Context) error {
			stream, err := m.Snapshot(ctx, &pb.SnapshotRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.PermissionDenied},
		"add member": {func(ctx context.Context) error {
			return second(pb.NewClusterClient(conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://x:1"}}))
		}, codes.PermissionDenied},
		"clear alarm": {func(ctx context.Context) error {
			return second(m.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE}))
		}, codes.PermissionDenied},
		"geo status": {func(ctx context.Context) error { return second(g.Status(ctx, &geopb.StatusRequest{})) }, codes.OK},
		"geo wait":   {func(ctx context.Context) error { return second(g.Wait(ctx, &geopb.WaitRequest{Token: "dc-a:0:99"})) }, codes.OutOfRange},
		"role list":  {func(ctx context.Context) error { return second(a.RoleList(ctx, &pb.AuthRoleListRequest{})) }, codes.PermissionDenied},
		"own role":   {func(ctx context.Context) error { return second(a.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "ann"})) }, codes.OK},
		"role":       {func(ctx context.Context) error { return second(a.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "root"})) }, codes.PermissionDenied},
		"disable":    {func(ctx context.Context) error { return second(a.AuthDisable(ctx, &pb.AuthDisableRequest{})) }, codes.PermissionDenied},
	} {
		if err := c.call(testContext(t)); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCUserEmpty) {
			t.Errorf("%s by nobody: %v", name, err)
		}
		if err := c.call(ann); status.Code(err) != c.users {
			t.Errorf("%s by ann: %v, want %v", name, err, c.users)
		}
		if err := c.call(testContext(t, "token", "bad")); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s with a bad token: %v", name, err)
		}
	}
	if err := second(a.AuthStatus(testContext(t), &pb.AuthStatusRequest{})); err != nil {
		t.Errorf("auth status is for everybody: %v", err)
	}
	if err := second(a.AuthDisable(root, &pb.AuthDisableRequest{})); err != nil {
		t.Error(err)
	}
	srv := s.nodes[0].Server
	if err := srv.authorizeLeases(t.Context(), ActionWrite, 7); err != nil {
		t.Errorf("a lease while it is off: %v", err)
	}
}
