package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// TestPatroniRequests sends the requests of Patroni's etcd3 client to each node of a datacenter in turn, and to a
// real etcd, and compares what of the answers Patroni reads.
func TestPatroniRequests(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1], Nodes: 3})
	etcd := etcdbin.New(t, 1)
	nodes := c.Nodes(allDCs[0])
	ours := newPatroniClient(t, nodes...)
	theirs := newPatroniClient(t)
	theirs.nodes = []string{"http://" + etcd.Endpoints()[0]}

	checkDiscovery(t, ours, nodes)
	replayKeys(t, ours, theirs)
	replayWatch(t, ours, theirs)
	for _, p := range []*patroniClient{ours, theirs} {
		enableUsers(t, p)
	}
	replayUsers(t, ours, theirs)
	checkErrorBodies(t, ours)
}

// checkDiscovery is how Patroni begins: which version, so which path, and where the members are.
func checkDiscovery(t *testing.T, p *patroniClient, nodes []*cluster.Process) {
	t.Helper()
	version, err := p.call(t.Context(), "/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	digits := regexp.MustCompile(`^\d+\.\d+\.\d+$`) // Patroni makes a number of each part
	for _, name := range []string{"etcdserver", "etcdcluster"} {
		if v, _ := version[name].(string); !digits.MatchString(v) || v < "3.4" {
			t.Errorf("%s is %q: Patroni takes /v3 from 3.4.0 on", name, v)
		}
	}
	answer, err := p.call(t.Context(), "/v3/cluster/member/list", fields{})
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, n := range nodes {
		want = append(want, "http://"+n.Spec.Client)
	}
	members, _ := answer["members"].([]any)
	for _, m := range members {
		urls, _ := m.(fields)["clientURLs"].([]any)
		for _, u := range urls {
			got = append(got, fmt.Sprint(u))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("members at %v, want %v", got, want)
	}
}

// comparer sends one request to both and compares the answers; leases have other ids at each.
type comparer struct {
	t            *testing.T
	ours, theirs *patroniClient
	leases       map[*patroniClient]string
	turn         int
	hide         []string // fields of the header that differ
}

// same returns our answer. LEASE in a text is the lease's id.
func (c *comparer) same(path string, body fields) fields {
	c.t.Helper()
	c.turn++
	var got [2]fields
	for i, p := range []*patroniClient{c.theirs, c.ours} {
		raw, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		var mine fields
		if err := json.Unmarshal([]byte(strings.ReplaceAll(string(raw), "LEASE", c.leases[p])), &mine); err != nil {
			c.t.Fatal(err)
		}
		answer, err := p.ask(c.t.Context(), p.nodes[c.turn%len(p.nodes)], path, mine)
		if e, ok := err.(*etcdError); ok { //nolint:errorlint // ask returns it as it is
			// etcd 3.7 has no field error any more, where Patroni looks for the text: geogate has it.
			answer = fields{"status": e.status}
			if p == c.ours {
				answer["said"] = fmt.Sprintf("%d %s", e.code, e.text)
			}
		} else if err != nil {
			c.t.Fatalf("%s: %v", path, err)
		}
		got[i] = c.masked(p, answer)
	}
	if delete(got[1], "said"); !reflect.DeepEqual(got[0], got[1]) {
		c.t.Errorf("%s %v\netcd    %v\ngeogate %v", path, body, got[0], got[1])
	}
	return got[1]
}

// masked is an answer without what differs by nature. New leases are remembered.
func (c *comparer) masked(p *patroniClient, answer fields) fields {
	id, granted := answer["ID"].(string)
	if granted {
		c.leases[p] = id
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		c.t.Fatal(err)
	}
	text := string(raw)
	if l := c.leases[p]; l != "" {
		text = strings.ReplaceAll(text, l, "LEASE")
	}
	var out fields
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		c.t.Fatal(err)
	}
	c.unhead(out)
	return out
}

// unhead takes what differs out of all headers within an answer.
func (c *comparer) unhead(v any) {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			c.unhead(inner)
		}
	case fields:
		for name, inner := range v {
			if head, ok := inner.(fields); ok && name == "header" {
				for _, n := range c.hide {
					delete(head, n)
				}
			}
			c.unhead(inner)
		}
	}
}

// replayKeys is everything that Patroni does with keys and leases, with the answers that it needs.
func replayKeys(t *testing.T, ours, theirs *patroniClient) {
	t.Helper()
	c := &comparer{t: t, ours: ours, theirs: theirs, leases: map[*patroniClient]string{}, hide: []string{"cluster_id", "member_id", "raft_term"}}
	const prefix = "/service/batman/"
	leader := encode64(prefix + "leader")
	put := func(name, value string) fields {
		return fields{"key": encode64(prefix + name), "value": encode64(value)}
	}
	leased := func(name, value string) fields {
		f := put(name, value)
		f["lease"] = "LEASE"
		return f
	}
	all := func(serializable bool) fields {
		f := fields{"key": encode64(prefix), "range_end": encodeEnd(prefix)}
		if serializable {
			f["serializable"] = true
		}
		return f
	}
	txn := func(compare, success fields) fields {
		return fields{"compare": []fields{compare}, "success": []fields{success}}
	}
	created := func(key string, rev int) fields {
		return fields{"target": "CREATE", "create_revision": rev, "key": key}
	}
	modified := func(key string, rev any) fields { return fields{"target": "MOD", "mod_revision": rev, "key": key} }
	// update is how Patroni 3.1 and later keep the leader key: put if it is ours, else create if it is gone.
	update := func(name string) fields {
		f := leased("leader", name)
		f2 := fields{"request_txn": txn(fields{"key": leader, "target": "CREATE", "create_revision": "0"}, fields{"request_put": f})}
		u := txn(fields{"key": leader, "target": "VALUE", "value": encode64(name)}, fields{"request_put": f})
		u["failure"] = []fields{f2}
		return u
	}

	c.same("/v3/kv/range", all(true)) // nothing is there
	c.same("/v3/lease/grant", fields{"TTL": 30})
	c.same("/v3/lease/keepalive", fields{"ID": "LEASE"})
	if got := c.same("/v3/lease/keepalive", fields{"ID": "77"}); got["result"].(fields)["TTL"] != nil {
		t.Errorf("a lease that is not there: %v", got)
	}
	if got := c.same("/v3/kv/txn", txn(created(encode64(prefix+"initialize"), 0), fields{"request_put": put("initialize", "7123")})); got["succeeded"] != true {
		t.Errorf("initialize: %v", got)
	}
	if got := c.same("/v3/kv/txn", txn(created(leader, 0), fields{"request_put": leased("leader", "pg0")})); got["succeeded"] != true {
		t.Errorf("the first leader: %v", got)
	}
	if got := c.same("/v3/kv/txn", txn(created(leader, 0), fields{"request_put": leased("leader", "pg1")})); got["succeeded"] != nil {
		t.Errorf("a second leader: %v", got)
	}
	c.same("/v3/kv/put", leased("members/pg0", `{"state":"running"}`))
	c.same("/v3/kv/put", put("config", `{"ttl":30}`))
	c.same("/v3/kv/txn", txn(modified(encode64(prefix+"config"), 5), fields{"request_put": put("config", `{"ttl":20}`)}))
	c.same("/v3/kv/txn", txn(modified(encode64(prefix+"config"), "5"), fields{"request_put": put("config", `{"ttl":10}`)}))
	if got := c.same("/v3/kv/txn", update("pg0")); got["succeeded"] != true {
		t.Errorf("the leader's update: %v", got)
	}
	if got := c.same("/v3/kv/txn", update("pg1")); got["succeeded"] != nil {
		t.Errorf("another one's update: %v", got)
	}
	c.same("/v3/kv/range", all(true))
	c.same("/v3/kv/range", all(false))
	c.same("/v3/kv/txn", txn(modified(leader, 3), fields{"request_delete_range": fields{"key": leader}})) // not any more
	c.same("/v3/kv/txn", txn(modified(leader, "7"), fields{"request_delete_range": fields{"key": leader}}))
	got := c.same("/v3/kv/txn", update("pg1"))
	if inner, _ := got["responses"].([]any); len(inner) != 1 || inner[0].(fields)["response_txn"].(fields)["succeeded"] != true {
		t.Errorf("update of a leader key that is gone: %v", got)
	}
	c.same("/v3/kv/deleterange", fields{"key": encode64(prefix + "initialize")})
	c.same("/v3/kv/deleterange", fields{"key": encode64(prefix + "failover")}) // is not there
	c.same("/v3/kv/put", fields{"key": encode64(prefix + "x"), "value": "", "lease": "77"})
	c.same("/v3/kv/put", fields{})
	c.same("/v3/auth/authenticate", fields{"name": "pg", "password": "secret"}) // is not on
	c.same("/v3/kv/range", all(true))
	c.same("/v3/kv/deleterange", all(false)) // patronictl remove
}

// replayWatch watches as Patroni's cache does, from the revision of its range on.
func replayWatch(t *testing.T, ours, theirs *patroniClient) {
	t.Helper()
	for _, filter := range []string{"", "NODELETE", "NOPUT"} {
		var got [2]string
		for i, p := range []*patroniClient{theirs, ours} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			answer, err := p.call(ctx, "/v3/kv/range", fields{"key": encode64("/w/"), "range_end": encodeEnd("/w/"), "serializable": true})
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"put", "deleterange", "put"} {
				if _, err := p.call(ctx, "/v3/kv/"+path, fields{"key": encode64("/w/leader")}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := p.call(ctx, "/v3/kv/deleterange", fields{"key": encode64("/w/leader")}); err != nil {
				t.Fatal(err)
			}
			filters := []string{}
			if filter != "" {
				filters = append(filters, filter)
			}
			got[i], err = p.events(ctx, revisionOf(answer)+1, filters)
			if err != nil {
				t.Fatal(err)
			}
		}
		if got[0] != got[1] || got[1] == "" {
			t.Errorf("filter %q: etcd %s, geogate %s", filter, got[0], got[1])
		}
	}
}

// events are the first two under /w/ that a filter lets pass.
func (p *patroniClient) events(ctx context.Context, from int64, filters []string) (string, error) {
	var seen []string
	err := p.watch(ctx, "/w/", from, func(kind string, kv stored) bool {
		seen = append(seen, fmt.Sprintf("%q %s +%d", kind, kv.key, kv.mod-from))
		return len(seen) < 2
	}, filters...)
	return strings.Join(seen, ", "), err
}

// enableUsers turns authentication on: root, and pg that may use /service/ alone.
func enableUsers(t *testing.T, p *patroniClient) {
	t.Helper()
	for _, step := range []struct {
		path string
		body fields
	}{
		{"user/add", fields{"name": "root", "password": "root-secret"}},
		{"user/grant", fields{"user": "root", "role": "root"}},
		{"user/add", fields{"name": "pg", "password": "secret"}},
		{"role/add", fields{"name": "patroni"}},
		{"role/grant", fields{"name": "patroni", "perm": fields{"permType": "READWRITE", "key": encode64("/service/"), "range_end": encodeEnd("/service/")}}},
		{"user/grant", fields{"user": "pg", "role": "patroni"}},
		{"enable", fields{}},
	} {
		if _, err := p.call(t.Context(), "/v3/auth/"+step.path, step.body); err != nil {
			t.Fatalf("%s: %v", step.path, err)
		}
	}
}

// replayUsers logs in as Patroni does, and does what it may and may not. Revisions differ here: changes of users
// take one.
func replayUsers(t *testing.T, ours, theirs *patroniClient) {
	t.Helper()
	c := &comparer{t: t, ours: ours, theirs: theirs, leases: map[*patroniClient]string{}, hide: []string{"cluster_id", "member_id", "raft_term", "revision"}}
	put := func(key string) fields { return fields{"key": encode64(key), "value": encode64("v")} }
	c.same("/v3/kv/put", put("/service/batman/leader")) // nobody
	c.same("/v3/auth/authenticate", fields{"name": "pg", "password": "wrong"})
	for _, p := range []*patroniClient{ours, theirs} {
		p.token = "no.such.token"
	}
	c.same("/v3/kv/put", put("/service/batman/leader"))
	for _, p := range []*patroniClient{ours, theirs} {
		p.token = ""
		answer, err := p.call(t.Context(), "/v3/auth/authenticate", fields{"name": "pg", "password": "secret"})
		if err != nil {
			t.Fatal(err)
		}
		p.token, _ = answer["token"].(string)
	}
	c.same("/v3/kv/put", put("/service/batman/leader"))
	c.same("/v3/kv/put", put("/other"))
	c.same("/v3/lease/grant", fields{"TTL": 30})
	c.same("/v3/lease/keepalive", fields{"ID": "LEASE"})
	c.same("/v3/kv/txn", fields{
		"compare": []fields{{"target": "CREATE", "create_revision": 0, "key": encode64("/service/batman/sync")}},
		"success": []fields{{"request_put": put("/service/batman/sync")}},
	})
	c.same("/v3/kv/deleterange", fields{"key": encode64("/service/batman/"), "range_end": encodeEnd("/service/batman/")})
}

// checkErrorBodies sees the texts and codes by which Patroni tells errors apart, from every node.
func checkErrorBodies(t *testing.T, p *patroniClient) {
	t.Helper()
	good := p.token
	for _, node := range p.nodes {
		for _, e := range []struct {
			token, path  string
			body         fields
			status, code int
			text         string
		}{
			{"", "/v3/kv/range", fields{"key": encode64("a")}, http.StatusBadRequest, 3, "etcdserver: user name is empty"},
			{"x", "/v3/kv/range", fields{"key": encode64("a")}, http.StatusUnauthorized, 16, "etcdserver: invalid auth token"},
			{good, "/v3/kv/range", fields{"key": encode64("a")}, http.StatusForbidden, 7, "etcdserver: permission denied"},
			{"", "/v3/auth/authenticate", fields{"name": "pg", "password": "x"}, http.StatusBadRequest, 3, "etcdserver: authentication failed, invalid user ID or password"},
			{good, "/v3/kv/put", fields{"key": encode64("/service/x"), "lease": "77"}, http.StatusNotFound, 5, "etcdserver: requested lease not found"},
			{good, "/v3/kv/put", fields{}, http.StatusBadRequest, 3, "etcdserver: key is not provided"},
			// What ends a stream is an object with the names that grpc-gateway 1 gave it.
			{good, "/v3/watch", fields{"create_request": fields{"key": "***"}}, http.StatusBadRequest, 3, ""},
		} {
			p.token = e.token
			_, err := p.ask(t.Context(), node, e.path, e.body)
			got, ok := err.(*etcdError) //nolint:errorlint // ask returns it as it is
			if !ok || got.status != e.status || got.code != e.code || e.text != "" && (got.text != e.text || got.message != e.text) || got.text == "" {
				t.Errorf("%s %v: %+v, want HTTP %d, code %d, %q", e.path, e.body, err, e.status, e.code, e.text)
			}
		}
	}
	p.token = good
}
