package verify

import (
	"errors"
	"strings"
	"testing"

	"geogate/dc"
	"geogate/replication"
	rule "geogate/replication/verify"
)

func differing(keys ...string) *report {
	age := 0.1
	v := replication.Verification{DC: "b", VerifyStatus: replication.VerifyStatus{State: "different", LastRound: &age}}
	for _, k := range keys {
		c := rule.Copy{Key: []byte(k), Known: true, Live: true}
		v.Differences = append(v.Differences, replication.Difference{Here: c, There: c})
	}
	return &report{DC: "a", Node: "n1", Keyspaces: []string{"", "app/", "app/locks/"}, Peers: []replication.Verification{v}}
}

// Each key that differs is told with the keyspace of the longest prefix, and one keyspace can be asked for.
func TestDifferencesNameTheirKeyspace(t *testing.T) {
	rep := differing("app/locks/1", "app/x", "other")
	r, settled := judge([]*report{rep}, 1e9, nil)
	if !settled || r.State != "different" || len(r.Differences) != 3 {
		t.Fatalf("%+v, settled %t", r, settled)
	}
	want := map[string]string{"app/locks/1": "app/locks/", "app/x": "app/", "other": ""}
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Differences {
		if d.Keyspace == nil || *d.Keyspace != want[d.Text] || !strings.Contains(out.String(), `"`+d.Text+`" (keyspace "`+want[d.Text]+`")`) {
			t.Errorf("%s is of keyspace %v in\n%s", d.Text, d.Keyspace, out.String())
		}
	}
	only := "app/"
	if r, _ = judge([]*report{rep}, 1e9, &only); r.State != "different" || len(r.Differences) != 1 || r.Differences[0].Text != "app/x" {
		t.Errorf("of keyspace %q: %+v", only, r.Differences)
	}
	only = "nothing/"
	r, _ = judge([]*report{rep}, 1e9, &only)
	if err := verdict(r, nil); !errors.Is(err, ErrDifferent) || !strings.Contains(err.Error(), "other keyspaces") {
		t.Errorf("of another keyspace: %v", err)
	}
}

// A node that differs from its leader makes the data different, whatever the peers say.
func TestDifferingNodeIsTold(t *testing.T) {
	rep := differing()
	rep.Replica = dc.ReplicaCheck{State: "different", Problem: "rebuild it"}
	r, _ := judge([]*report{rep}, 1e9, nil)
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	if err := verdict(r, nil); !errors.Is(err, ErrDifferent) || !strings.Contains(err.Error(), "a/n1") || !strings.Contains(out.String(), "a/n1: rebuild it") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
