package drill

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"geogate/cmd/status"
	"geogate/configs"
	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/registrar"
)

// fakeSite answers as an admin port does.
func fakeSite(t *testing.T, name string, r *status.Report, homes *admin.HomesReport) *site {
	t.Helper()
	mux := http.NewServeMux()
	serve := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) })
	}
	serve("GET /v1/status", r)
	if homes != nil {
		serve("GET /v1/dr", homes)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return &site{name: name, admins: []string{strings.TrimPrefix(srv.URL, "http://")}}
}

func TestPrecheckSaysWhatIsNotWell(t *testing.T) {
	well := func() *status.Report {
		return &status.Report{DC: "a", Node: "n0", Leader: "n0", Peers: []status.Peer{{DC: "b", Health: "healthy", Verify: &status.Verify{State: "pending"}}}}
	}
	if got := fakeSite(t, "a", well(), nil).unwell(t.Context()); len(got) != 0 {
		t.Errorf("a cluster that is well: %q", got)
	}
	for want, change := range map[string]func(*status.Report){
		"to a, b is suspected: no heartbeat":        func(r *status.Report) { r.Peers[0].Health, r.Peers[0].Reason = "suspected", "no heartbeat" },
		"the data of a and b differs in 3 keys":     func(r *status.Report) { r.Peers[0].Verify = &status.Verify{State: "different", Keys: 3} },
		"a/n0: the disk is full":                    func(r *status.Report) { r.Problem = "the disk is full" },
		"a refuses writes: the clock is ahead":      func(r *status.Report) { r.Clock = &status.Clock{Refused: "the clock is ahead"} },
		"can't be asked how it is: a has no leader": func(r *status.Report) { r.Leader = "" },
		"can't be asked how it is: a does not know": func(r *status.Report) { r.Peers = nil },
		"the reply of 127.0.0.1:":                   func(r *status.Report) { r.DC = "" },
	} {
		r := well()
		change(r)
		if got := fakeSite(t, "a", r, nil).unwell(t.Context()); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPrecheckOfAHome(t *testing.T) {
	look := func(home string, open bool, moves ...registrar.MoveStatus) *admin.HomesReport {
		return &admin.HomesReport{DC: "x", Keyspaces: []replication.HomeStatus{{Status: registrar.Status{Keyspace: "/k/", Home: home, Open: open}, Moves: moves}}}
	}
	done := registrar.MoveStatus{Keyspace: "/k/", To: "b", Result: "moved"}
	going := registrar.MoveStatus{Keyspace: "/k/", To: "b"}
	for name, c := range map[string]struct {
		a, b *admin.HomesReport
		want []string
	}{
		"well":      {look("a", true, done), look("a", false), nil},
		"no home":   {look("a", false), look("a", false), []string{"has no home that takes writes"}},
		"moving":    {look("a", true, done, going), look("a", false), []string{`is moving the home of "/k/" to b`}},
		"two homes": {look("a", true), look("b", true), []string{`b holds "b" to be the home of "/k/", others "a"`}},
		"no answer": {look("a", true), nil, []string{"the homes of b are not known"}},
	} {
		d := &drill{keyspace: configs.Keyspace{Prefix: "/k/", Mode: configs.SingleWriter}, sites: []*site{
			fakeSite(t, "a", &status.Report{}, c.a), fakeSite(t, "b", &status.Report{}, c.b),
		}}
		got := d.homesUnwell(t.Context())
		if !slices.EqualFunc(got, c.want, strings.Contains) || d.home != "a" {
			t.Errorf("%s: %q, want %q; the home is %q", name, got, c.want, d.home)
		}
	}
}
