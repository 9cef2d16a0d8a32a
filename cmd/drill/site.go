package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/metadata"

	"geogate/cmd/status"
	"geogate/configs"
	"geogate/replication/policy"
)

const (
	askTimeout = time.Second // for one answer of an admin port
	// A client that lost its server comes back soon, so that the drill measures the server.
	redialDelay    = 50 * time.Millisecond
	maxRedialDelay = 250 * time.Millisecond
)

// site is one datacenter with data, as its clients and operators reach it.
type site struct {
	name   string
	client *clientv3.Client
	admins []string // addresses, of each node
}

// open connects to every datacenter with data.
func (c *Config) open() (sites []*site, err error) {
	for _, name := range c.Topology.DataNames() {
		d, _ := c.Topology.Datacenter(name)
		s := &site{name: name}
		var clients []string
		for _, n := range d.Nodes {
			address := n.Client
			if c.Topology.Security.Client != (configs.TLS{}) {
				address = "https://" + address
			}
			clients = append(clients, address)
			s.admins = append(s.admins, n.Admin)
		}
		s.client, err = c.Dial(clients, grpc.WithChainUnaryInterceptor(takeReceipt), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialDelay, Multiplier: 1.5, Jitter: 0.2, MaxDelay: maxRedialDelay},
			MinConnectTimeout: time.Second,
		}))
		if err != nil {
			shut(sites)
			return nil, fmt.Errorf("datacenter %s: %w", name, err)
		}
		sites = append(sites, s)
	}
	return sites, nil
}

func shut(sites []*site) {
	for _, s := range sites {
		_ = s.client.Close() // nothing is under way any more
	}
}

// report is what the datacenter says of itself, from a node that knows the peers, which its leader does.
func (s *site) report(ctx context.Context) (*status.Report, error) {
	var last error
	for _, a := range s.admins {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		r, _, err := status.Fetch(ctx, a)
		cancel()
		switch {
		case err != nil:
			last = err
		case r.Leader == "":
			last = fmt.Errorf("%s has no leader", s.name)
		case r.Peers == nil:
			last = fmt.Errorf("%s does not know its peers: %s", s.name, r.PeersError)
		default:
			return r, nil
		}
	}
	return nil, last
}

// admin is the address of a node that answers.
func (s *site) admin(ctx context.Context) (string, error) {
	var errs []error
	for _, a := range s.admins {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		_, _, err := status.Fetch(ctx, a)
		cancel()
		if err == nil {
			return a, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no node of %s answers: %w", s.name, errors.Join(errs...))
}

// receipt is what the trailers of a write say.
type receipt struct {
	token   policy.Token
	ackedBy []string
}

type receiptKey struct{}

// withReceipt makes a request leave its receipt.
func withReceipt(ctx context.Context, r *receipt) context.Context {
	return context.WithValue(ctx, receiptKey{}, r)
}

func takeReceipt(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	r, ok := ctx.Value(receiptKey{}).(*receipt)
	if !ok {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	var trailer metadata.MD
	err := invoke(ctx, method, req, reply, cc, append(opts, grpc.Trailer(&trailer))...)
	*r = receipt{}
	if v := trailer.Get("geogate-token"); len(v) > 0 {
		if t, terr := policy.ParseToken(v[0]); terr == nil {
			r.token = t
		}
	}
	if v := trailer.Get("geogate-acked-by"); len(v) > 0 && v[0] != "" {
		r.ackedBy = strings.Split(v[0], ",")
	}
	return err
}
