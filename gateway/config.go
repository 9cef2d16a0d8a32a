package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"geogate/replication/registrar"
)

// Defaults of [Config]. Those with a counterpart in etcd have etcd's value.
const (
	defaultMaxRequestBytes  = 1536 * 1024
	defaultMaxTxnOps        = 128
	defaultPolicyTimeout    = 5 * time.Second
	defaultMaxPolicyTimeout = 10 * time.Minute
	defaultRequestTimeout   = 7 * time.Second
	defaultRouteTimeout     = 5 * time.Second
	defaultLeaderLoss       = 3 * time.Second
	defaultProgressInterval = 10 * time.Minute
	minProgressInterval     = 100 * time.Millisecond
	defaultStopTimeout      = 5 * time.Second
	defaultMaxHeldWrites    = 10_000
	defaultTokenTTL         = 5 * time.Minute
	defaultMaxWaitingLogins = 1000
	defaultStreamWorkers    = 64
	defaultKeepAliveWindow  = 256
	defaultMaxMaintenance   = 4
	defaultQuorumRounds     = 8
	// defaultVersion is what clients see: the etcd whose API is served.
	defaultVersion = "3.7.3"

	// LongestWrite bounds a write of a gateway with the default timeouts, its wait for the peers included.
	LongestWrite = defaultRequestTimeout + defaultMaxPolicyTimeout + time.Second

	grpcOverheadBytes = 512 * 1024
)

// Config is what a gateway needs. Fields without a stated default are required.
type Config struct {
	Listener   net.Listener // of the client port; Run closes it
	TLS        *tls.Config  // of the client port; nil means plain text
	ForwardTLS *tls.Config  // with which this node dials the other nodes' client ports; required when TLS is set, else not used

	ClusterID uint64   // of the header; not zero, and another one in each datacenter
	MemberID  uint64   // this node in Members; not zero
	Members   []Member // the nodes of this datacenter, this one included; not looked at when Membership is set

	Membership Membership // the nodes of this datacenter where they may change; nil means that Members are all, for good

	Datacenter  Datacenter
	Inspector   Inspector
	Replication Replication
	Users       Users // nil: there are none, and everything is permitted

	Witness bool // this datacenter votes and holds no data: reads and writes are refused

	Metrics http.Handler // of /metrics on the client port, where etcd's tools look for it; nil: not found

	Homes         Homes               // nil when no keyspace is single-writer, else required
	Calls         Caller              // reaches the other datacenters for reads that ask them; nil means that Homes does, where there is one
	Peers         []string            // the other datacenters that hold data
	Origins       Origins             // required with Homes and with Peers
	HomeEndpoints map[string][]string // client URLs of other datacenters, by name, for the refusal of what is to be asked for there; may be nil

	Keyspaces []Keyspace // "" is the cluster's default and exists even when it is not listed

	QuotaBytes       int64         // of this node's database; past it the alarm NOSPACE is raised. 0 means none
	MaxRequestBytes  int           // of one write; 0 means 1.5 MiB. grpc takes 512 KiB more
	MaxTxnOps        int           // of each list of a transaction, nested ones included; 0 means 128
	MaxPolicyTimeout time.Duration // longest policy timeout that may be asked for; 0 means 10 min
	MaxHeldWrites    int           // that the RPO budget delays or makes wait at a time; more are refused; 0 means 10,000
	MaxMaintenance   int           // snapshots, hashes and defragmentations at a time; more are refused; 0 means 4
	MaxQuorumRounds  int           // for quorum reads, of questions to the other datacenters, at a time; reads share them; 0 means 8
	KeepAliveWindow  int           // lease keepalives of a stream that wait for the leader, up to 4096; 0 means 256
	RequestTimeout   time.Duration // of a local commit or a linearizable read; 0 means 7 s
	RouteTimeout     time.Duration // how long a write looks for a leader; 0 means 5 s
	LeaderLoss       time.Duration // without a leader for so long, streams that require one end; 0 means 3 s
	ProgressInterval time.Duration // of periodic watch progress; 0 means 10 min, at least 100 ms
	StopTimeout      time.Duration // how long Run waits for requests when it is told to stop; 0 means 5 s

	TokenTTL         time.Duration // for how long who has logged in need not do so again; 0 means 5 min, as etcd
	BcryptCost       int           // of hashes of new passwords, 4 to 31; 0 means 10, as etcd. Each step doubles the time
	MaxLogins        int           // passwords hashed or compared at a time; 0 means half of the cores, at least 1
	MaxWaitingLogins int           // that wait for one of those; more are refused; 0 means 1,000

	MaxConcurrentStreams uint32 // of one connection; 0 means 2^32-1
	StreamWorkers        uint32 // goroutines that stay for requests to come, whose stacks need not grow each time; 0 means 64

	Version string // of Maintenance.Status; "" means 3.7.3. Clients switch features by it

	// Uptime is the clock by which the age of a state is told: monotonic, and it must not stand still while the machine is
	// suspended. nil means the operating system's.
	Uptime func() time.Duration

	// Dialer opens connections to other nodes; nil means TCP.
	Dialer     func(ctx context.Context, addr string) (net.Conn, error)
	Logger     *slog.Logger          // nil means none
	Registerer prometheus.Registerer // nil means none
}

// Member is one node of the datacenter.
type Member struct {
	ID         uint64
	Name       string
	PeerURLs   []string
	ClientURLs []string // as clients reach it
	Learner    bool     // it follows and does not vote
	ClientAddr string   // host:port at which other nodes reach its client port
	AdminURL   string   // at which other nodes reach its admin API
}

// withDefaults fills in what was left at zero.
func (c Config) withDefaults() Config {
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, defaultMaxRequestBytes)
	c.MaxTxnOps = cmp.Or(c.MaxTxnOps, defaultMaxTxnOps)
	c.MaxHeldWrites = cmp.Or(c.MaxHeldWrites, defaultMaxHeldWrites)
	c.MaxMaintenance = cmp.Or(c.MaxMaintenance, defaultMaxMaintenance)
	c.MaxQuorumRounds = cmp.Or(c.MaxQuorumRounds, defaultQuorumRounds)
	c.KeepAliveWindow = cmp.Or(c.KeepAliveWindow, defaultKeepAliveWindow)
	c.StreamWorkers = cmp.Or(c.StreamWorkers, defaultStreamWorkers)
	c.TokenTTL = cmp.Or(c.TokenTTL, defaultTokenTTL)
	c.BcryptCost = cmp.Or(c.BcryptCost, bcrypt.DefaultCost)
	c.MaxLogins = cmp.Or(c.MaxLogins, max(1, runtime.GOMAXPROCS(0)/2))
	c.MaxWaitingLogins = cmp.Or(c.MaxWaitingLogins, defaultMaxWaitingLogins)
	c.MaxPolicyTimeout = cmp.Or(c.MaxPolicyTimeout, defaultMaxPolicyTimeout)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaultRequestTimeout)
	c.RouteTimeout = cmp.Or(c.RouteTimeout, defaultRouteTimeout)
	c.LeaderLoss = cmp.Or(c.LeaderLoss, defaultLeaderLoss)
	c.ProgressInterval = cmp.Or(c.ProgressInterval, defaultProgressInterval)
	c.StopTimeout = cmp.Or(c.StopTimeout, defaultStopTimeout)
	c.MaxConcurrentStreams = cmp.Or(c.MaxConcurrentStreams, math.MaxUint32)
	c.Version = cmp.Or(c.Version, defaultVersion)
	if c.Membership == nil {
		c.Membership = fixed(c.Members)
	}
	if c.Calls == nil && c.Homes != nil {
		c.Calls = c.Homes
	}
	if c.Uptime == nil {
		c.Uptime = registrar.Uptime()
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// validate names the first thing that is wrong; it expects the defaults to be filled in.
func (c *Config) validate() error {
	switch {
	case c.Listener == nil:
		return errors.New("a listener is required")
	case c.Datacenter == nil, c.Inspector == nil, c.Replication == nil:
		return errors.New("datacenter, inspector and replication are required")
	case c.ClusterID == 0:
		return errors.New("cluster id must not be 0")
	case c.TLS != nil && c.ForwardTLS == nil:
		return errors.New("the client port uses TLS, so TLS to forward to the leader's client port is required too")
	case c.MaxRequestBytes < 0, c.MaxTxnOps < 0:
		return fmt.Errorf("max request bytes %d and max txn ops %d must not be negative", c.MaxRequestBytes, c.MaxTxnOps)
	case len(c.Peers) > 0 && (c.Calls == nil || c.Origins == nil):
		return fmt.Errorf("peers %q hold data, so calls (or homes) and origins are required", c.Peers)
	case c.MaxQuorumRounds < 0:
		return fmt.Errorf("max quorum rounds %d must not be negative", c.MaxQuorumRounds)
	case c.QuotaBytes < 0:
		return fmt.Errorf("quota %d must not be negative", c.QuotaBytes)
	case c.MaxHeldWrites < 0, c.MaxMaintenance < 0:
		return fmt.Errorf("max held writes %d and max maintenance %d must not be negative", c.MaxHeldWrites, c.MaxMaintenance)
	case c.KeepAliveWindow < 0 || c.KeepAliveWindow > maxRenewals:
		return fmt.Errorf("keepalive window %d is not between 0 and %d", c.KeepAliveWindow, maxRenewals)
	case c.BcryptCost < bcrypt.MinCost || c.BcryptCost > bcrypt.MaxCost:
		return fmt.Errorf("bcrypt cost %d must be %d to %d", c.BcryptCost, bcrypt.MinCost, bcrypt.MaxCost)
	case c.MaxLogins < 0, c.MaxWaitingLogins < 0:
		return fmt.Errorf("max logins %d and max waiting logins %d must not be negative", c.MaxLogins, c.MaxWaitingLogins)
	case c.MaxRequestBytes > math.MaxInt32-grpcOverheadBytes:
		return fmt.Errorf("max request bytes is %d, more than %d", c.MaxRequestBytes, math.MaxInt32-grpcOverheadBytes)
	case c.ProgressInterval < minProgressInterval:
		return fmt.Errorf("progress interval is %s, the least is %s", c.ProgressInterval, minProgressInterval)
	}
	for name, d := range map[string]time.Duration{
		"max policy timeout": c.MaxPolicyTimeout, "request timeout": c.RequestTimeout, "route timeout": c.RouteTimeout,
		"leader loss": c.LeaderLoss, "stop timeout": c.StopTimeout, "token ttl": c.TokenTTL,
	} {
		if d < 0 {
			return fmt.Errorf("%s is %s, it must not be negative", name, d)
		}
	}
	return c.validateMembers()
}

func (c *Config) validateMembers() error {
	if _, ok := c.Membership.(fixed); !ok {
		return nil
	}
	seen := map[uint64]bool{}
	for _, m := range c.Members {
		switch {
		case m.ID == 0:
			return fmt.Errorf("member %q has id 0", m.Name)
		case seen[m.ID]:
			return fmt.Errorf("member id %x is there twice", m.ID)
		case m.ID != c.MemberID && m.ClientAddr == "":
			return fmt.Errorf("member %q has no client address to forward to", m.Name)
		case strings.Contains(m.ClientAddr, "://"):
			return fmt.Errorf("member %q: client address %q must be host:port", m.Name, m.ClientAddr)
		}
		seen[m.ID] = true
	}
	if !seen[c.MemberID] {
		return fmt.Errorf("member id %x is not among the members", c.MemberID)
	}
	return nil
}
