package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/replication/policy"
)

func testKeyspaces(t *testing.T, config ...Keyspace) *keyspaces {
	t.Helper()
	ks, err := newKeyspaces(config, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

// layered has a keyspace for each policy, with a timeout of its own.
func layered(t *testing.T) *keyspaces {
	return testKeyspaces(t,
		Keyspace{Prefix: "", Policy: new(policy.Async), Timeout: time.Second},
		Keyspace{Prefix: "a/", Policy: new(policy.Any), Timeout: 4 * time.Second, OnUnreachable: UnreachableWait},
		Keyspace{Prefix: "a/b/", Policy: new(policy.Quorum), Timeout: 2 * time.Second},
		Keyspace{Prefix: "z/", Policy: new(policy.All), Timeout: 3 * time.Second},
	)
}

func TestKeyspaceOfKey(t *testing.T) {
	ks := layered(t)
	for key, want := range map[string]policy.Policy{
		"x": policy.Async, "a": policy.Async, "a/": policy.Any, "a/b": policy.Any, "a/b/c": policy.Quorum, "z/1": policy.All,
	} {
		if got := ks.ofKey([]byte(key)); got.policy != want {
			t.Errorf("%s: got %s, want %s", key, got.policy, want)
		}
	}
}

func TestKeyspaceOfRange(t *testing.T) {
	ks := layered(t)
	for _, c := range []struct {
		key, end string
		want     policy.Policy
		timeout  time.Duration
	}{
		{"a/b/c", "", policy.Quorum, 2 * time.Second},
		{"a/b/", "a/b0", policy.Quorum, 2 * time.Second},   // exactly one keyspace, although others hold it
		{"a/b/c", "a/b/d", policy.Quorum, 2 * time.Second}, // inside it
		{"a/", "a0", policy.Quorum, 4 * time.Second},       // a keyspace and one nested in it
		{"a/a", "a/b", policy.Any, 4 * time.Second},        // ends before the nested one
		{"a/c", "a/d", policy.Any, 4 * time.Second},        // begins behind it
		{"b", "c", policy.Async, time.Second},              // between
		{"b", "\x00", policy.All, 3 * time.Second},         // to the end
		{"\x00", "\x00", policy.All, 4 * time.Second},      // everything
		{"a/b/x", "a/x", policy.Quorum, 4 * time.Second},   // from the nested one into the outer
		{"c", "b", policy.Async, time.Second},              // inverted: empty
		{"z/", "z0", policy.All, 3 * time.Second},          // one keyspace to its very end
		{"zz", "\x00", policy.Async, time.Second},          // behind all
		{"a/b/c", "\x00", policy.All, 4 * time.Second},     // from a nested one to the end
		{"a/b/\xff\xff", "a/b0", policy.Quorum, 2 * time.Second},
	} {
		if got := ks.ofRange([]byte(c.key), []byte(c.end)); got.policy != c.want || got.timeout != c.timeout {
			t.Errorf("[%q, %q): got %s within %s, want %s within %s", c.key, c.end, got.policy, got.timeout, c.want, c.timeout)
		}
	}
}

func TestKeyspaceInherits(t *testing.T) {
	ks := testKeyspaces(t, Keyspace{Policy: new(policy.Quorum), OnUnreachable: UnreachableWait}, Keyspace{Prefix: "a/", Timeout: time.Second})
	if got, want := ks.ofKey([]byte("a/1")), (rule{policy: policy.Quorum, timeout: time.Second, unreachable: UnreachableWait, lag: MaxLag{OnExceed: ExceedFail}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := testKeyspaces(t).ofKey([]byte("k")), (rule{policy: policy.Async, timeout: 5 * time.Second, unreachable: UnreachableFail, lag: MaxLag{OnExceed: ExceedFail}}); got != want {
		t.Errorf("nothing configured: got %+v, want %+v", got, want)
	}
}

func TestRuleOfTxnIsTheStrictest(t *testing.T) {
	s := &Server{keyspaces: layered(t)}
	got := s.ruleOfTxn(&pb.TxnRequest{
		Success: ops(opPutOf("a/1"), opRangeOf("z/1")),
		Failure: ops(opTxnOf(ops(opDeleteOf("a/b/", "a/b0")), nil)),
	})
	if want := (rule{policy: policy.Quorum, timeout: 4 * time.Second, unreachable: UnreachableFail}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = s.ruleOfTxn(&pb.TxnRequest{Success: ops(opPutOf("a/1"))})
	if want := (rule{policy: policy.Any, timeout: 4 * time.Second, unreachable: UnreachableWait}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestKeyspaceRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		space Keyspace
		want  string
	}{
		{"single-writer", Keyspace{Prefix: "a/", Mode: SingleWriter}, "mode single-writer needs a home"},
		{"mode", Keyspace{Prefix: "a/", Mode: "x"}, "use multi-writer"},
		{"degrade", Keyspace{Prefix: "a/", OnUnreachable: "ignore"}, "use fail, wait or degrade"},
		{"on timeout", Keyspace{OnTimeout: "ok"}, "use error"},
		{"timeout", Keyspace{Timeout: time.Hour}, "not between 0 and 1m0s"},
		{"policy", Keyspace{Policy: new(policy.Policy(9))}, "use ALL, QUORUM, ANY or ASYNC"},
	} {
		if _, err := newKeyspaces([]Keyspace{c.space}, time.Minute); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := newKeyspaces([]Keyspace{{Prefix: "a"}, {Prefix: "a"}}, time.Minute); err == nil {
		t.Error("a prefix may be there twice")
	}
	if _, err := New(Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("an empty configuration: %v", err)
	}
}
