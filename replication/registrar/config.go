package registrar

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"geogate/replication/homes"
)

// Keyspace is a single-writer keyspace as the configuration has it.
type Keyspace struct {
	Prefix string
	// Home is the datacenter that becomes the first home, and that failback goes to. From epoch 1 on the register
	// says who is home.
	Home string
	// Automatic lets this datacenter start a failover when the home is down.
	Automatic bool
	// HoldOff is how long after a change of home no automatic failover is started. 0 means 5 min.
	HoldOff time.Duration
}

// Config says how a [Registrar] works. Fields without a remark on zero are required.
type Config struct {
	// Local is this datacenter's name.
	Local string
	// Voters are all datacenters, the local one included; see [homes.Config].
	Voters []homes.Voter
	// Keyspaces are the single-writer ones.
	Keyspaces []Keyspace
	// Acceptor is this datacenter's own, Carrier the way to the others.
	Acceptor Acceptor
	Carrier  Carrier

	// Lease are the numbers that all datacenters share. A zero Duration means 4 s. A drift of 0 is taken as it is:
	// clocks that are never off.
	Lease homes.Terms
	// RenewInterval is how often the home renews its lease. 0 means a quarter of the lease. At least two must fit
	// into it.
	RenewInterval time.Duration
	// LookInterval is how often the state of a keyspace is looked at. 0 means 100 ms.
	LookInterval time.Duration
	// ExchangeTimeout bounds one command to an acceptor and its answer. 0 means 2 s. It must exceed the round trip.
	ExchangeTimeout time.Duration
	// RetryMin and RetryMax bound the pause before a command is sent again: it doubles, and half of it is random.
	// 0 means 100 ms and 2 s.
	RetryMin, RetryMax time.Duration
	// RivalWait is up to how long a proposer waits before it goes above another one's ballot. 0 means 1 s.
	RivalWait time.Duration
	// ReclaimAfter is how long a keyspace may stay fenced before the home, or the datacenter whose move was
	// interrupted, ends the open instance; up to the same again is added at random. A failover from a home that
	// lives must be through within it, so it exceeds the time that the new home needs to fetch what it lacks.
	// 0 means 15 s.
	ReclaimAfter time.Duration
	// MoveTimeout is the deadline of a move that names none: of what can be given up until then. 0 means 1 min.
	MoveTimeout time.Duration
	// AnnounceFor is how long a decision is told to acceptors that don't answer; they hear of it from
	// others' acks too. 0 means 10 s.
	AnnounceFor time.Duration
	// MaxMoves is how many ended moves of a keyspace are remembered. 0 means 16.
	MaxMoves int

	// Uptime is the clock of the lease: monotonic, and it must not stand still while the machine is suspended.
	// nil means the operating system's.
	Uptime func() time.Duration
	// Clock is for everything else, with monotonic readings. nil means time.Now.
	Clock func() time.Time
	// Wall is the time of day, which other leaders of this datacenter compare with theirs. nil means Clock.
	Wall func() time.Time
	// Random draws a duration from 0 up to its argument. nil means at random.
	Random func(time.Duration) time.Duration
	// Point is called before each step of a move; an error ends the move there, as a crash of the node would. For
	// tests; nil is off.
	Point func(keyspace string, phase homes.Phase) error
	// Logger gets what operators should see; nil is silent.
	Logger *slog.Logger
	// Metrics outlive the registrar; nil keeps them private.
	Metrics *Metrics
}

func orDuration(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }

// validate fills the zero fields and says what makes no sense.
func (c *Config) validate() error {
	orDuration(&c.Lease.Duration, 4*time.Second)
	orDuration(&c.RenewInterval, c.Lease.Duration/4)
	orDuration(&c.LookInterval, 100*time.Millisecond)
	orDuration(&c.ExchangeTimeout, 2*time.Second)
	orDuration(&c.RetryMin, 100*time.Millisecond)
	orDuration(&c.RetryMax, 2*time.Second)
	orDuration(&c.RivalWait, time.Second)
	orDuration(&c.ReclaimAfter, 15*time.Second)
	orDuration(&c.MoveTimeout, time.Minute)
	orDuration(&c.AnnounceFor, 10*time.Second)
	c.MaxMoves = cmp.Or(c.MaxMoves, 16)
	if c.Uptime == nil {
		c.Uptime = newUptime()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Wall == nil {
		c.Wall = c.Clock
	}
	if c.Random == nil {
		c.Random = func(d time.Duration) time.Duration { return rand.N(d) + 1 }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = newMetrics()
	}
	bad := func(format string, a ...any) error { return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, a...)) }
	if c.Acceptor == nil || c.Carrier == nil {
		return bad("Acceptor and Carrier must be set")
	}
	if _, err := homes.NewTenancy(c.voters(), c.Lease); err != nil {
		return bad("%w", err)
	}
	for _, d := range []time.Duration{c.RenewInterval, c.LookInterval, c.ExchangeTimeout, c.RetryMin, c.RivalWait, c.ReclaimAfter, c.MoveTimeout, c.AnnounceFor} {
		if d <= 0 {
			return bad("a duration is %s; all must be positive", d)
		}
	}
	switch {
	case c.RenewInterval > c.Lease.HomeHolds()/2:
		return bad("a renewal every %s: at least two must fit into the %s that the home holds a lease of %s", c.RenewInterval, c.Lease.HomeHolds(), c.Lease.Duration)
	case c.RetryMax < c.RetryMin:
		return bad("retry pauses %s to %s must ascend", c.RetryMin, c.RetryMax)
	case c.MaxMoves < 1:
		return bad("room for %d ended moves: want 1 or more", c.MaxMoves)
	}
	return c.validateKeyspaces(bad)
}

func (c *Config) validateKeyspaces(bad func(string, ...any) error) error {
	seen := map[string]bool{}
	for i := range c.Keyspaces {
		k := &c.Keyspaces[i]
		orDuration(&k.HoldOff, 5*time.Minute)
		switch {
		case seen[k.Prefix]:
			return bad("keyspace %q is there twice", k.Prefix)
		case !c.holdsData(k.Home):
			return bad("home %q of keyspace %q is not a datacenter that holds data", k.Home, k.Prefix)
		case k.HoldOff < 0:
			return bad("hold-off %s of keyspace %q must not be negative", k.HoldOff, k.Prefix)
		}
		seen[k.Prefix] = true
	}
	return nil
}

func (c *Config) voters() homes.Config { return homes.Config{Self: c.Local, Voters: c.Voters} }

func (c *Config) holdsData(dc string) bool {
	for _, v := range c.Voters {
		if v.DC == dc {
			return !v.Witness
		}
	}
	return false
}

func (c *Config) majority() int { v := c.voters(); return v.Majority() }
