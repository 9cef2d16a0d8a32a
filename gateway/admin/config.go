package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"geogate/dc"
	"geogate/gateway"
	"geogate/replication"
)

// ErrConfig marks a configuration that [New] refuses.
var ErrConfig = errors.New("admin configuration")

const (
	defaultAskTimeout  = time.Second
	defaultStopTimeout = 2 * time.Second
	defaultLimit       = 100
	maxLimit           = 10_000
	maxReplyBytes      = 4 << 20
)

// Peers is what this node knows of the other datacenters while it leads. [replication.Engine] is one.
type Peers interface {
	Peers() []replication.PeerStatus
}

// Clock is where this node's clock stands while it leads. [replication.Engine] is one.
type Clock interface {
	Clock() replication.ClockStatus
}

// Keyspaces is how the keyspaces are doing while this node leads. [gateway.Server] is one.
type Keyspaces interface {
	Keyspaces() []gateway.KeyspaceStatus
	// PolicyEvents are the newest changes of the policies under which writes are taken, the newest last.
	PolicyEvents() []gateway.PolicyEvent
}

// Conflicts is the log of writes that lost against a later one of another datacenter. [dc.DC] is one.
type Conflicts interface {
	// Conflicts are the newest of them, at most so many, and the number of all that ever were.
	Conflicts(limit int) ([]dc.Conflict, uint64, error)
}

var (
	_ Peers     = (*replication.Engine)(nil)
	_ Clock     = (*replication.Engine)(nil)
	_ Conflicts = (*dc.DC)(nil)

	_ Verification = (*replication.Engine)(nil)
	_ Keyspaces    = (*gateway.Server)(nil)
)

// Config is what the admin API needs. Fields without a stated default are required.
type Config struct {
	Listener   net.Listener            // Run closes it
	DC         string                  // name of this datacenter
	MemberID   uint64                  // this node in Members
	Members    func() []gateway.Member // the nodes of this datacenter as they are now
	Inspector  gateway.Inspector
	Leadership gateway.Leadership
	Peers      Peers
	Conflicts  Conflicts
	// Verification may be nil: then there is no /v1/verify.
	Verification Verification
	Homes        Homes      // nil means that there is no /v1/dr
	Quarantine   Quarantine // nil means that there is no /v1/dr/quarantine
	Keyspaces    Keyspaces  // nil means that the status tells of none
	Clock        Clock      // nil means that the status says nothing of it

	// Ready returns why this node can't serve linearizable requests now, nil when it can.
	Ready    func(context.Context) error
	Gatherer prometheus.Gatherer // of /metrics; nil means that there is none

	AskTimeout  time.Duration // of the question to the leader, and of Ready; 0 means 1 s
	StopTimeout time.Duration // for requests when Run is told to stop; 0 means 2 s
	Client      *http.Client  // to reach the leader's admin API; nil means Go's default
	Logger      *slog.Logger  // nil means none
}

func (c Config) withDefaults() Config {
	c.AskTimeout = cmp.Or(c.AskTimeout, defaultAskTimeout)
	c.StopTimeout = cmp.Or(c.StopTimeout, defaultStopTimeout)
	c.Client = cmp.Or(c.Client, http.DefaultClient)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Listener == nil:
		return errors.New("a listener is required")
	case c.DC == "":
		return errors.New("the datacenter's name is required")
	case c.Inspector == nil, c.Leadership == nil, c.Peers == nil, c.Conflicts == nil, c.Ready == nil, c.Members == nil:
		return errors.New("members, inspector, leadership, peers, conflicts and ready are required")
	case c.AskTimeout < 0, c.StopTimeout < 0:
		return fmt.Errorf("ask timeout %s and stop timeout %s must not be negative", c.AskTimeout, c.StopTimeout)
	}
	return nil
}
