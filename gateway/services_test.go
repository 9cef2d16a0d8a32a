package gateway

import (
	"errors"
	"strings"
	"testing"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestMaintenance(t *testing.T) {
	s := newSite(t, 2, nil)
	c, ctx := s.client(1), testContext(t)
	st, err := c.Status(ctx, s.nodes[1].addr)
	if err != nil {
		t.Fatal(err)
	}
	if st.Leader != 1 || st.RaftTerm != 7 || st.RaftIndex != 11 || st.DbSize != 4096 || st.Header.MemberId != 2 || len(st.Errors) != 0 {
		t.Errorf("status: %v", st)
	}
	v := semver.New(st.Version)
	if v.LessThan(*semver.New("3.7.0")) || !v.LessThan(*semver.New("3.8.0")) {
		t.Errorf("version %s is not of the API that is served", st.Version)
	}
	if a, err := c.AlarmList(ctx); err != nil || len(a.Alarms) != 0 {
		t.Errorf("alarms: %v, %v", a, err)
	}
	if _, err := c.Defragment(ctx, s.nodes[1].addr); err != nil {
		t.Errorf("defragment: %v", err)
	}
	s.data.lead(0)
	if st, err := c.Status(ctx, s.nodes[1].addr); err != nil || len(st.Errors) != 1 || st.Leader != 0 {
		t.Errorf("status without a leader: %v, %v", st, err)
	}
}

func TestCluster(t *testing.T) {
	s := newSite(t, 3, nil)
	list, err := s.client(1).MemberList(testContext(t))
	if err != nil || len(list.Members) != 3 || list.Members[2].ClientURLs[0] != "http://node-3:2379" || list.Header.ClusterId != 42 {
		t.Errorf("members: %v, %v", list, err)
	}
}

func TestAuthIsOff(t *testing.T) {
	s := newSite(t, 1, nil)
	c, ctx := s.client(0), testContext(t)
	if st, err := c.AuthStatus(ctx); err != nil || st.Enabled {
		t.Errorf("status: %v, %v", st, err)
	}
	if _, err := c.Authenticate(ctx, "root", "x"); !errors.Is(err, rpctypes.ErrAuthNotEnabled) {
		t.Errorf("authenticate: %v", err)
	}
}

func TestWhatIsNotSupportedSaysSo(t *testing.T) {
	s := newSite(t, 1, nil)
	c, ctx := s.client(0), testContext(t)
	for name, call := range map[string]func() error{
		"nodes": func() error { _, err := c.MemberAdd(ctx, []string{"http://x:1"}); return err },
	} {
		if err := call(); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHealthFollowsTheLeader(t *testing.T) {
	s := newSite(t, 1, nil)
	h := grpc_health_v1.NewHealthClient(s.conn(0))
	is := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) func() bool {
		return func() bool {
			r, err := h.Check(testContext(t), &grpc_health_v1.HealthCheckRequest{})
			return err == nil && r.Status == want
		}
	}
	eventually(t, "serving", is(grpc_health_v1.HealthCheckResponse_SERVING))
	s.data.lead(0)
	eventually(t, "not serving", is(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
	s.data.lead(1)
	eventually(t, "serving again", is(grpc_health_v1.HealthCheckResponse_SERVING))
}

func TestReflection(t *testing.T) {
	s := newSite(t, 1, nil)
	stream, err := grpc_reflection_v1.NewServerReflectionClient(s.conn(0)).ServerReflectionInfo(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	list := &grpc_reflection_v1.ServerReflectionRequest_ListServices{}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: list}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, svc := range r.GetListServicesResponse().GetService() {
		names = append(names, svc.Name)
	}
	for _, want := range []string{"etcdserverpb.KV", "etcdserverpb.Watch", "geogate.v1.Geo", "grpc.health.v1.Health"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("%s is missing in %v", want, names)
		}
	}
}

// A client that comes with a name and a password goes on without when it is told that these are not used.
func TestClientWithPassword(t *testing.T) {
	s := newSite(t, 1, nil)
	c := s.client(0)
	withPassword, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints(), Username: "root", Password: "x", Logger: c.GetLogger(), DialOptions: s.dialOptions(0),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = withPassword.Close() }()
	if _, err := withPassword.Put(testContext(t), "a", "1"); err != nil {
		t.Error(err)
	}
}
