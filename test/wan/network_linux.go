package wan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Config describes a network.
type Config struct {
	Sites      []string   // names, each once, at most 250
	Conditions Conditions // of every direction at first
	Seed       uint64     // of the chances of loss and jitter
}

func (c Config) validate() error {
	if len(c.Sites) == 0 || len(c.Sites) > 250 {
		return fmt.Errorf("network of %d sites, want 1 to 250", len(c.Sites))
	}
	return nil
}

// Network joins sites.
type Network struct {
	sites  []*Site
	byName map[string]*Site
	byAddr map[netip.Addr]*Site
	links  map[[2]*Site]*link
	quit   chan struct{}
	wg     sync.WaitGroup
}

// Available says why there can be no network here; nil means that there can.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: needs root, the user is %d", ErrUnavailable, os.Geteuid())
	}
	n, err := Open(Config{Sites: []string{"probe"}})
	if err != nil {
		return err
	}
	return n.Close()
}

// Open makes the sites and carries packets between them until Close.
func Open(cfg Config) (*Network, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Network{byName: map[string]*Site{}, byAddr: map[netip.Addr]*Site{}, links: map[[2]*Site]*link{}, quit: make(chan struct{})}
	for i, name := range cfg.Sites {
		s, err := openSite(name, netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}))
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		n.sites = append(n.sites, s)
		n.byName[name], n.byAddr[s.Addr] = s, s
	}
	for i, from := range n.sites {
		for j, to := range n.sites {
			if i == j {
				continue
			}
			l := newLink(rand.New(rand.NewPCG(cfg.Seed, uint64(i)<<32|uint64(j))), cfg.Conditions)
			n.links[[2]*Site{from, to}] = l
			n.wg.Go(func() { l.deliver(to, n.quit) })
		}
	}
	for _, s := range n.sites {
		n.wg.Go(func() { n.route(s) })
	}
	return n, nil
}

// Site finds a site by name; nil when there is none.
func (n *Network) Site(name string) *Site { return n.byName[name] }

// Set changes how packets travel from one site to another; the way back is not touched.
func (n *Network) Set(from, to string, c Conditions) error {
	l, err := n.link(from, to)
	if err == nil {
		l.conditions.Store(&c)
	}
	return err
}

// Conditions are how packets travel from one site to another.
func (n *Network) Conditions(from, to string) (Conditions, error) {
	l, err := n.link(from, to)
	if err != nil {
		return Conditions{}, err
	}
	return *l.conditions.Load(), nil
}

// Counts are what became of the packets of one direction so far.
func (n *Network) Counts(from, to string) (Counts, error) {
	l, err := n.link(from, to)
	if err != nil {
		return Counts{}, err
	}
	return l.counts(), nil
}

func (n *Network) link(from, to string) (*link, error) {
	l, ok := n.links[[2]*Site{n.byName[from], n.byName[to]}]
	if !ok {
		return nil, fmt.Errorf("%w: from %q to %q", ErrUnknownSite, from, to)
	}
	return l, nil
}

// route takes what a site sends and hands it to the link of its destination, in one goroutine per site.
func (n *Network) route(from *Site) {
	buf := make([]byte, 64<<10)
	for {
		size, err := from.tun.Read(buf)
		if err != nil {
			return // the device was closed
		}
		const header = 20
		if size < header || buf[0]>>4 != 4 {
			continue // IPv6 asks for routers in every new namespace
		}
		to, ok := n.byAddr[netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(buf[16:20]))))]
		if !ok || to == from {
			continue
		}
		n.links[[2]*Site{from, to}].send(time.Now(), buf[:size])
	}
}

// Close ends everything: processes that were started in the sites are killed.
func (n *Network) Close() error {
	close(n.quit)
	var errs []error
	for _, s := range n.sites {
		errs = append(errs, s.close())
	}
	n.wg.Wait()
	return errors.Join(errs...)
}
