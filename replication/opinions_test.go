package replication

import (
	"strings"
	"testing"
	"time"
)

// newPairedCluster has a link of its own for each direction between two DCs: ways["a>b"] is the connection that
// a makes to b.
func newPairedCluster(t *testing.T, tune func(*Config), names ...string) (*cluster, map[string]*proxy) {
	ways := map[string]*proxy{}
	c := prepareCluster(t, func(cfg *Config) {
		for i := range cfg.Peers {
			p := &cfg.Peers[i]
			p.Endpoints[0].URL = ways[cfg.Local+">"+p.Name].url()
		}
		if tune != nil {
			tune(cfg)
		}
	}, names...)
	for _, from := range names {
		for _, to := range names {
			if from != to {
				ways[from+">"+to] = newProxy(t, c.links[to]["n1"].l.Addr().String())
			}
		}
	}
	for _, dc := range names {
		c.start(dc, "n1")
		c.nodes[dc]["n1"].lead(1)
	}
	return c, ways
}

func TestCauses(t *testing.T) {
	c, ways := newPairedCluster(t, func(cfg *Config) {
		cfg.PingInterval, cfg.HeartbeatInterval, cfg.DialTimeout = 100*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
		cfg.Health.SuspectAfter, cfg.Health.DownAfter, cfg.RetryMax = 700*time.Millisecond, 1500*time.Millisecond, 200*time.Millisecond
	}, "a", "b", "c")
	cut := func(names ...string) {
		for _, name := range names {
			ways[name].cut()
		}
	}
	expect := func(what string, want map[string]string) { // "a>b": what a says of b, its cause and then its detail
		t.Helper()
		for pair, says := range want {
			from, of, _ := strings.Cut(pair, ">")
			cause, detail, _ := strings.Cut(says, ": ")
			eventually(t, 10*time.Second, what+": "+from+" says of "+of+" "+says, func() bool {
				p := c.peer(from, of)
				return p.Cause == cause && strings.HasSuffix(p.CauseDetail, detail) && (cause == "") == (p.CauseDetail == "")
			})
		}
	}
	heal := func() {
		t.Helper()
		for _, p := range ways {
			p.heal()
			p.sever() // as a network would in the end
		}
		for _, from := range c.names {
			for _, of := range c.names {
				if from != of {
					expect("healed", map[string]string{from + ">" + of: ""})
					eventually(t, 10*time.Second, from+" sees "+of+" healthy", func() bool { return c.peer(from, of).Health == "healthy" })
				}
			}
		}
	}
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	eventually(t, 5*time.Second, "c's opinion on b is known to a", func() bool {
		o := c.peer("a", "b").Opinions
		return len(o) == 1 && o[0].DC == "c" && o[0].Health == "healthy" && o[0].Contact != nil && *o[0].Contact < 2
	})

	cut("a>b")
	expect("one direction", map[string]string{"a>b": "one-way: this datacenter does not reach it", "b>a": "one-way: it does not reach this datacenter", "a>c": "", "c>a": "", "b>c": "", "c>b": ""})
	if p := c.peer("a", "b"); !strings.Contains(reasons(p), "one-way: ") {
		t.Errorf("events of a: %q", reasons(p))
	}
	heal()

	cut("a>b", "b>a")
	expect("a link", map[string]string{"a>b": "link broken: c hears it", "b>a": "link broken: c hears it", "c>a": "", "c>b": ""})
	heal()

	cut("a>b", "b>a", "c>b", "b>c")
	expect("a datacenter", map[string]string{"a>b": "dc down: not heard by c either", "c>b": "dc down: not heard by a either", "b>a": "unknown", "b>c": "unknown", "a>c": "", "c>a": ""})
	if h := c.peer("a", "b").Health; h != "down" && h != "suspected" {
		t.Errorf("health %s", h)
	}
	heal()
}
