package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"

	"geogate/configs"
)

// Links emulates the WAN. A datacenter pulls from its peers over connections of its own, so for every
// ordered pair (puller, origin) and every node of the origin there is one proxy in front of that node's
// NATS. A link is all proxies of two datacenters, in both directions.
type Links struct {
	server *toxiproxy.ApiServer

	mu    sync.Mutex
	links []*link // one for each pair of datacenters
}

// link is guarded by Links.mu.
type link struct {
	state   LinkState
	proxies []*wire
}

// wire is one proxy.
type wire struct {
	from, to, node string
	proxy          *toxiproxy.Proxy
}

// LinkState is how a link is now.
type LinkState struct {
	A         string `json:"a"`
	B         string `json:"b"`
	Cut       bool   `json:"cut"`
	RTTMillis int64  `json:"rtt_ms"`                     // 0 means no delay
	Bandwidth int64  `json:"bandwidth_bytes_per_second"` // of each connection, each way; 0 means no limit
}

// OpenLinks starts the proxies between all datacenters of t. Close them when done.
func OpenLinks(t *configs.Topology, rtt time.Duration) (*Links, error) {
	toxics.Register(blackholeType, new(blackhole))
	toxics.Register(delayType, new(delay))
	l := &Links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	for i, a := range t.Datacenters {
		for _, b := range t.Datacenters[i+1:] {
			lk := &link{state: LinkState{A: a.Name, B: b.Name}}
			l.links = append(l.links, lk)
			for _, pair := range [][2]configs.Datacenter{{a, b}, {b, a}} {
				if err := l.connect(lk, pair[0].Name, pair[1]); err != nil {
					l.Close()
					return nil, err
				}
			}
			if err := lk.set(Change{RTT: &rtt}); err != nil {
				l.Close()
				return nil, err
			}
		}
	}
	return l, nil
}

func (l *Links) connect(lk *link, from string, to configs.Datacenter) error {
	for _, n := range to.Nodes {
		p := toxiproxy.NewProxy(l.server, from+" to "+to.Name+"/"+n.Name, "127.0.0.1:0", n.NATS)
		if err := p.Start(); err != nil {
			return fmt.Errorf("start the link from %s to %s: %w", from, to.Name, err)
		}
		lk.proxies = append(lk.proxies, &wire{from, to.Name, n.Name, p})
	}
	return nil
}

// Topology is the links section that leads every datacenter through the proxies.
func (l *Links) Topology() []configs.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []configs.Link
	for _, lk := range l.links {
		for _, w := range lk.proxies {
			e := configs.Endpoint{Node: w.node, URL: "nats://" + w.proxy.Listen}
			i := slices.IndexFunc(out, func(x configs.Link) bool { return x.From == w.from && x.To == w.to })
			if i < 0 {
				out = append(out, configs.Link{From: w.from, To: w.to, Endpoints: []configs.Endpoint{e}})
			} else {
				out[i].Endpoints = append(out[i].Endpoints, e)
			}
		}
	}
	return out
}

// State lists the links.
func (l *Links) State() []LinkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]LinkState, len(l.links))
	for i, lk := range l.links {
		out[i] = lk.state
	}
	return out
}

// Set changes the link between two datacenters, in whichever order they are named.
func (l *Links) Set(a, b string, c Change) (LinkState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lk := range l.links {
		if s := lk.state; s.A == a && s.B == b || s.A == b && s.B == a {
			err := lk.set(c)
			return lk.state, err
		}
	}
	var known []string
	for _, lk := range l.links {
		known = append(known, lk.state.A+" "+lk.state.B)
	}
	return LinkState{}, fmt.Errorf("%w link %s %s; there are: %s", ErrUnknown, a, b, strings.Join(known, ", "))
}

// Close ends all connections and stops the proxies.
func (l *Links) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	whole := false
	for _, lk := range l.links {
		_ = lk.set(Change{Cut: &whole}) // a cut link would keep its connections open; removing can't fail
		for _, w := range lk.proxies {
			w.proxy.Stop()
		}
	}
}

// set brings every proxy of the link to the changed state.
func (lk *link) set(c Change) error {
	next := lk.state
	if c.RTT != nil {
		next.RTTMillis = c.RTT.Milliseconds()
	}
	if c.Bandwidth != nil {
		next.Bandwidth = int64(*c.Bandwidth)
	}
	if c.Cut != nil {
		next.Cut = *c.Cut
	}
	// Toxics count milliseconds and kilobytes. The two ways need not be equal, their sum must be the RTT.
	delay := map[string]int64{"upstream": next.RTTMillis / 2, "downstream": next.RTTMillis - next.RTTMillis/2}
	rate := max(next.Bandwidth/1000, 1)
	for _, w := range lk.proxies {
		for _, dir := range []string{"upstream", "downstream"} {
			err := errors.Join(
				w.toxic(delayType, dir, delay[dir] > 0, lk.state.RTTMillis != next.RTTMillis, map[string]int64{"millis": delay[dir]}),
				w.toxic("bandwidth", dir, next.Bandwidth > 0, lk.state.Bandwidth != next.Bandwidth, map[string]int64{"rate": rate}),
				w.toxic(blackholeType, dir, next.Cut, false, nil),
			)
			if err != nil {
				return fmt.Errorf("change the link from %s to %s: %w", w.from, w.to, err)
			}
		}
	}
	lk.state = next
	return nil
}

// toxic makes a wire have, or not have, a toxic. A changed one is removed and added, never updated: an
// update writes into attributes that running connections read.
func (w *wire) toxic(kind, dir string, want, changed bool, attributes map[string]int64) error {
	name := kind + "_" + dir
	have := w.proxy.Toxics.GetToxic(name) != nil
	if have && (!want || changed) {
		if err := w.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			return err
		}
		have = false
	}
	if have || !want {
		return nil
	}
	spec, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": dir, "attributes": attributes})
	if err != nil {
		return err
	}
	_, err = w.proxy.Toxics.AddToxicJson(strings.NewReader(string(spec)))
	return err
}
