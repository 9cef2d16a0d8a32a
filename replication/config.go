package replication

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"geogate/replication/health"
	"geogate/replication/homes"
	"geogate/replication/registrar"
	"geogate/replication/wire"
)

// Config says how an [Engine] works. Fields without a remark on zero are required.
type Config struct {
	// Local is this DC's name, Node this node's. A peer finds the leader by its node name.
	Local string
	Node  string
	// Incarnation is this life of the DC's data; it returns 0 as long as none has been chosen.
	Incarnation func() uint64
	// Key is this DC's user nkey with its seed, the same on all its nodes: it authenticates to the peers' NATS
	// servers, signs, and shares the secrets of MACs with its peers.
	Key nkeys.KeyPair
	// Peers are the other DCs. None makes the engine idle.
	Peers []Peer
	// NATS is this DC's own JetStream.
	NATS NATS
	// DialTLS is used towards the peers' NATS servers; nil dials in the clear unless a URL says tls://.
	DialTLS *tls.Config

	Chain     Chain
	Applier   Applier
	Confirmer Confirmer
	// Snapshots may be nil: then none are given or taken, and an origin stops where its frames are gone.
	Snapshots Snapshots

	// Homes is this DC's acceptors of the register of homes; nil when no keyspace has a single writer.
	Homes registrar.Acceptor
	// Asides counts what moves of homes have set aside in this DC; nil means that nobody is told.
	Asides Asides
	// Keyspaces are the single-writer ones, the same in all DCs.
	Keyspaces []registrar.Keyspace
	// HomeLease are the numbers of a home's lease, the same in all DCs. See [registrar.Config].
	HomeLease homes.Terms
	// Uptime is the clock of the lease, see [registrar.Config]. nil means the operating system's.
	Uptime func() time.Duration
	// ReclaimAfter is as in [registrar.Config].
	ReclaimAfter time.Duration
	// Point is as in [registrar.Config]: for tests.
	Point func(keyspace string, phase homes.Phase) error
	// Witness says that this DC votes and holds no data: it neither ships, receives nor acknowledges frames.
	Witness bool
	// Calls answers requests of other DCs' clients; nil refuses them.
	Calls Calls
	// MaxCalls bounds the calls to a DC that are under way, and those of a DC that are being answered. 0 means 256.
	MaxCalls int
	// MaxCallBytes bounds a call, and the answer to one. 0 means 8 MiB.
	MaxCallBytes int
	// CallWindowBytes bounds the requests to a DC that are under way; who would exceed it waits. They share the connection with
	// frames and heartbeats, which must not wait behind all of them. 0 means 4 MiB.
	CallWindowBytes int
	// CallTimeout bounds a call whose deadline is later, or that has none. 0 means 30 s.
	CallTimeout time.Duration

	// Verified may be nil: then this DC's data is not compared with that of its peers.
	Verified Verified

	// VerifyInterval is how often this DC's data is compared with each peer's; a quarter of it while some part
	// could not be compared. 0 turns comparing off; peers are answered all the same.
	VerifyInterval time.Duration
	// VerifyWait is how long an answer may wait until this DC has caught up with the one that asks. 0 means 500 ms.
	VerifyWait time.Duration
	// VerifyPage is how many keys go into one message when a bucket differs. 0 means 500.
	VerifyPage int
	// VerifyFindings is how many differing keys of a peer are kept and named. 0 means 100.
	VerifyFindings int
	// Prefixes are those of all keyspaces, by which differing keys are told; "" is always one.
	Prefixes []string

	// HeartbeatInterval is how often an ack is repeated. 0 means 250 ms.
	HeartbeatInterval time.Duration
	// AckMinInterval spaces acks under load: AckBurst of them go at once, and then one in each interval; those that
	// were not used come back at the same pace. Writers that wait for acks come in waves, a wave makes some entries,
	// and none of their acks should wait. 0 means 1 ms, and 8.
	AckMinInterval time.Duration
	AckBurst       int
	// UnawaitedAckInterval spaces acks while no write of the origin waits, or has lately waited, for another DC. Its lag
	// is known later by as much. 0 means 25 ms.
	UnawaitedAckInterval time.Duration
	// Health are the limits of the peers' state machines. Zero fields mean 1 s, 3 s (silence), 3 s, 10 s
	// (no progress), 500 ms (recovery). They must exceed HeartbeatInterval clearly.
	Health health.Limits
	// HealthInterval is how often health is judged without news. 0 means 125 ms.
	HealthInterval time.Duration
	// HalfOpenWrites is how many writes may wait at a time on the strength of peers that are back and have not
	// confirmed anything yet; more are refused as if those were down. 0 means 16.
	HalfOpenWrites int
	// HealthEvents is how many changes of health are kept per peer. 0 means 64.
	HealthEvents int
	// ConfirmInterval is how often the matrix is handed to Confirmer when it changed. 0 means 1 s.
	ConfirmInterval time.Duration

	// DialTimeout bounds one attempt to connect to one endpoint. 0 means 1 s.
	DialTimeout time.Duration
	// SendTimeout ends a connection to an origin when TCP has had no answer for so long to what it sent, and sent
	// again. A round trip on a full link must fit in. 0 means 4 s. Linux only.
	SendTimeout time.Duration
	// RequestTimeout bounds a handshake and any JetStream API call. 0 means 2 s. It must exceed the round trip.
	RequestTimeout time.Duration
	// SyncMinInterval spaces the answers to handshakes of one peer. 0 means 10 ms.
	SyncMinInterval time.Duration
	// RetryMin and RetryMax bound the pause before a pull that failed is tried again. 0 means 100 ms and 500 ms.
	RetryMin, RetryMax time.Duration
	// RefusedInterval is the pause after an answer that only an operator can change. 0 means 1 s.
	RefusedInterval time.Duration
	// PullHeartbeat is how often an idle pull hears from the origin; two missed ones end it. 0 means 500 ms.
	PullHeartbeat time.Duration
	// PullExpiry bounds one pull request. 0 means 10 s; it must be at least 4 x PullHeartbeat.
	PullExpiry time.Duration
	// StallAfter ends a pull that hears heartbeats but no frames, although the origin has more. 0 means 2 s.
	StallAfter time.Duration
	// PingInterval is how often the round trip to an origin is measured. 0 means 1 s.
	PingInterval time.Duration
	// ApplyTimeout bounds the wait for the oldest proposal of a received frame. 0 means 10 s.
	ApplyTimeout time.Duration
	// FetchTimeout bounds the wait for the next message of a snapshot or of a third DC's frames. 0 means 10 s.
	FetchTimeout time.Duration
	// PublishTimeout bounds the wait for JetStream's answer to a publish; then the stream is doubted. 0 means 3 s.
	PublishTimeout time.Duration

	// PartBytes is the size of a stream message; larger frames are split. 0 means 512 KiB. It must stay 64 KiB
	// below the server's max_payload.
	PartBytes int
	// RunBytes is how many bytes of frames are compressed beside the same history, under zstd. A pull begins with the run that
	// its first frame is in. 0 means 256 KiB.
	RunBytes int
	// BundleBytes is how much of frames shares a shipment, so that its messages and its ack serve all of them. 0 means
	// 64 KiB.
	BundleBytes int
	// BundleInterval is how long a frame waits for others at most, while no write waits for other DCs: where 8,000 are written a
	// second. Where a half of that is, it waits a quarter as long, and so on. Its lag grows by as much. 0 means 20 ms.
	BundleInterval time.Duration
	// withoutBundles makes this DC one of a build that has one frame in a shipment, withoutMACs one of a build that signs and
	// verifies signatures only.
	withoutBundles, withoutMACs bool
	// WithoutZstd makes this DC take and send s2 only, as builds without zstd do; then its peers send it, and whoever shares
	// their streams with it, s2 as well. It trades bytes on the WAN for CPU time.
	WithoutZstd bool
	// MaxFrameBytes bounds a received frame, decompressed. 0 means 16 MiB.
	MaxFrameBytes int
	// PullBytes is how much an origin may have in flight to this DC: at least bandwidth x round trip. 0 means 8 MiB.
	PullBytes int
	// ProposeBytes is how much received data may be in flight to this DC's Raft group per origin. 0 means 16 MiB.
	ProposeBytes int
	// CatchUpPercent is how much of the time this DC works on what it has missed of an origin, as long as nobody there waits for
	// it and it comes nearer by a second in each second at least; the rest is for local clients. 0 means 50, 100 is all of it.
	CatchUpPercent int
	// PublishBytes is how much may be in flight to this DC's JetStream. 0 means 16 MiB.
	PublishBytes int
	// ReadBytes is how much is read from the chain at once. 0 means 1 MiB.
	ReadBytes int
	// DifferenceBytes is how far a difference may run ahead of what its peer has confirmed. 0 means 16 MiB.
	DifferenceBytes int
	// FetchWindowBytes is how much of a snapshot, or of a third DC's frames, one request asks for. 0 means 4 MiB.
	FetchWindowBytes int
	// ChunkBytes is about how much state goes into one chunk of a snapshot, which is one Raft entry where it is
	// merged. 0 means 256 KiB.
	ChunkBytes int
	// SnapshotRate bounds what this node sends of snapshots and third DCs' frames, to all peers together, in
	// bytes per second before compression. 0 means 64 MiB.
	SnapshotRate int
	// IndexEntries bounds the index from revision to stream sequence; beyond, it gets coarser. 0 means 65,536.
	IndexEntries int

	// MaxClockSkew is how far this node's clock may run ahead of the median of the peers' before it must not
	// stamp multi-writer writes any more. 0 never says so.
	MaxClockSkew time.Duration

	// Clock measures times that pass: health, lag, pauses. Its readings must carry the monotonic clock. nil means
	// time.Now.
	Clock func() time.Time
	// Wall is the clock that stamps are taken from, which may jump. It is compared with stamps and with the peers'
	// clocks, and nothing else. nil means Clock.
	Wall func() time.Time
	// Logger gets what operators should see; nil is silent.
	Logger *slog.Logger
	// Registerer gets the metrics; nil keeps them private.
	Registerer prometheus.Registerer
}

// Peer is another DC.
type Peer struct {
	// Name is its DC name.
	Name string
	// PublicKey is its public user nkey (U...): it may connect here with it, and what it sends is known by it.
	PublicKey string
	// Endpoints are the NATS servers of its nodes, the primary first, then backups.
	Endpoints []Endpoint
	// Witness says that it votes and holds no data.
	Witness bool
	// Credentials is a NATS credentials file to use towards an external NATS cluster of that DC instead of
	// Config.Key; empty for none.
	Credentials string
}

// Endpoint is one way to a DC.
type Endpoint struct {
	Node string // the node's name, by which handshakes redirect; empty with external NATS
	URL  string // nats://host:port or tls://host:port
}

// NATS is exactly one of the two.
type NATS struct {
	Embedded *Embedded
	External *External
}

// Embedded is a stand-alone NATS server inside this process, never clustered.
type Embedded struct {
	// ListenAddr is host:port for the peers; port 0 takes a free one.
	ListenAddr string
	// StoreDir keeps the outbox stream. It may be lost.
	StoreDir string
	// MaxBytes bounds the outbox stream, MaxAge how long it keeps a message. 0 means 1 GiB and 1 h.
	MaxBytes int64
	MaxAge   time.Duration
	// TLS is for the peers' connections; nil is in the clear.
	TLS *tls.Config
}

// External is this DC's own NATS cluster, which spans no other DC.
type External struct {
	// URLs of its servers.
	URLs []string
	// Credentials is a NATS credentials file; Seed a user nkey's seed. Empty for none.
	Credentials string
	Seed        string
	// TLS is used to dial; nil dials in the clear unless a URL says tls://.
	TLS *tls.Config
	// Replicas of the outbox stream. 0 means 3.
	Replicas int
	// MaxBytes and MaxAge as in Embedded.
	MaxBytes int64
	MaxAge   time.Duration
	// PeerAPIPrefix is the JetStream API as peers reach it, when the operator gives them service imports
	// under another name. Empty means $JS.API.
	PeerAPIPrefix string
}

func orDuration(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }

// validate fills the zero fields and says what makes no sense.
func (c *Config) validate() error {
	orDuration(&c.HeartbeatInterval, 250*time.Millisecond)
	orDuration(&c.AckMinInterval, time.Millisecond)
	c.AckBurst = cmp.Or(c.AckBurst, 8)
	orDuration(&c.UnawaitedAckInterval, 25*time.Millisecond)
	orDuration(&c.Health.SuspectAfter, time.Second)
	orDuration(&c.Health.DownAfter, 3*time.Second)
	orDuration(&c.Health.StallAfter, 3*time.Second)
	orDuration(&c.Health.StallDownAfter, 10*time.Second)
	orDuration(&c.Health.RecoverAfter, 500*time.Millisecond)
	orDuration(&c.HealthInterval, 125*time.Millisecond)
	orDuration(&c.ConfirmInterval, time.Second)
	orDuration(&c.DialTimeout, time.Second)
	orDuration(&c.SendTimeout, 4*time.Second)
	orDuration(&c.RequestTimeout, 2*time.Second)
	orDuration(&c.SyncMinInterval, 10*time.Millisecond)
	orDuration(&c.RetryMin, 100*time.Millisecond)
	orDuration(&c.RetryMax, 500*time.Millisecond)
	orDuration(&c.RefusedInterval, time.Second)
	orDuration(&c.PullHeartbeat, 500*time.Millisecond)
	orDuration(&c.PullExpiry, 10*time.Second)
	orDuration(&c.StallAfter, 2*time.Second)
	orDuration(&c.PingInterval, time.Second)
	orDuration(&c.ApplyTimeout, 10*time.Second)
	orDuration(&c.PublishTimeout, 3*time.Second)
	orDuration(&c.FetchTimeout, 10*time.Second)
	orDuration(&c.VerifyWait, 500*time.Millisecond)
	orDuration(&c.CallTimeout, 30*time.Second)
	c.MaxCalls = cmp.Or(c.MaxCalls, 256)
	c.CallWindowBytes = cmp.Or(c.CallWindowBytes, 4<<20)
	c.MaxCallBytes = cmp.Or(c.MaxCallBytes, 8<<20)
	c.VerifyPage = cmp.Or(c.VerifyPage, 500)
	c.VerifyFindings = cmp.Or(c.VerifyFindings, 100)
	c.HealthEvents = cmp.Or(c.HealthEvents, 64)
	c.HalfOpenWrites = cmp.Or(c.HalfOpenWrites, 16)
	c.PartBytes = cmp.Or(c.PartBytes, 512<<10)
	c.RunBytes = cmp.Or(c.RunBytes, 256<<10)
	c.BundleBytes = cmp.Or(c.BundleBytes, 64<<10)
	orDuration(&c.BundleInterval, 20*time.Millisecond)
	c.MaxFrameBytes = cmp.Or(c.MaxFrameBytes, 16<<20)
	c.PullBytes = cmp.Or(c.PullBytes, 8<<20)
	c.ProposeBytes = cmp.Or(c.ProposeBytes, 16<<20)
	c.CatchUpPercent = cmp.Or(c.CatchUpPercent, 50)
	c.PublishBytes = cmp.Or(c.PublishBytes, 16<<20)
	c.ReadBytes = cmp.Or(c.ReadBytes, 1<<20)
	c.DifferenceBytes = cmp.Or(c.DifferenceBytes, 16<<20)
	c.FetchWindowBytes = cmp.Or(c.FetchWindowBytes, 4<<20)
	c.ChunkBytes = cmp.Or(c.ChunkBytes, 256<<10)
	c.SnapshotRate = cmp.Or(c.SnapshotRate, 64<<20)
	c.IndexEntries = cmp.Or(c.IndexEntries, 1<<16)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Wall == nil {
		c.Wall = c.Clock
	}
	wall := c.Wall
	c.Wall = func() time.Time { return wall().Round(0) } // with a monotonic reading, differences would not show a step
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}

	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, a...))
	}
	switch {
	case c.Local == "" || c.Node == "":
		return bad("the names of the datacenter and of the node must not be empty")
	case c.Incarnation == nil || c.Key == nil || c.Chain == nil || c.Applier == nil || c.Confirmer == nil:
		return bad("Incarnation, Key, Chain, Applier and Confirmer must be set")
	case (c.NATS.Embedded == nil) == (c.NATS.External == nil):
		return bad("exactly one of embedded and external NATS must be set")
	case c.PullExpiry < 4*c.PullHeartbeat:
		return bad("pull expiry %s must be at least 4 times the pull heartbeat %s", c.PullExpiry, c.PullHeartbeat)
	case c.Health.SuspectAfter < 2*c.HeartbeatInterval:
		return bad("suspected after %s of silence must be at least 2 heartbeat intervals of %s", c.Health.SuspectAfter, c.HeartbeatInterval)
	case c.AckBurst < 1:
		return bad("acks at once %d must be at least 1", c.AckBurst)
	case c.MaxCalls < 1:
		return bad("calls under way %d must be at least 1", c.MaxCalls)
	case c.CallWindowBytes < 1:
		return bad("calls of %d bytes under way must be at least 1", c.CallWindowBytes)
	case c.HalfOpenWrites < 0:
		return bad("half-open writes %d must not be negative", c.HalfOpenWrites)
	case c.CatchUpPercent < 1 || c.CatchUpPercent > 100:
		return bad("to catch up %d percent of the time must be 1 to 100", c.CatchUpPercent)
	case c.MaxClockSkew < 0:
		return bad("max clock skew %s must not be negative; 0 is off", c.MaxClockSkew)
	case c.RetryMax < c.RetryMin:
		return bad("retry pauses %s to %s must ascend", c.RetryMin, c.RetryMax)
	case c.PartBytes < 1<<10 || c.PullBytes < 4*c.PartBytes:
		return bad("pull bytes %d must hold at least 4 parts of %d, and a part 1 KiB", c.PullBytes, c.PartBytes)
	case c.IndexEntries < 16 || c.HealthEvents < 1:
		return bad("index entries %d must be at least 16, health events %d at least 1", c.IndexEntries, c.HealthEvents)
	}
	if c.VerifyInterval < 0 || c.VerifyWait < 0 || c.VerifyWait > c.RequestTimeout || c.VerifyPage < 1 || c.VerifyFindings < 1 {
		return bad("verification: interval %s and wait %s must not be negative, the wait below the request timeout %s, page %d and findings %d above 0",
			c.VerifyInterval, c.VerifyWait, c.RequestTimeout, c.VerifyPage, c.VerifyFindings)
	}
	for _, d := range []time.Duration{c.HeartbeatInterval, c.AckMinInterval, c.UnawaitedAckInterval, c.BundleInterval, c.HealthInterval, c.ConfirmInterval, c.DialTimeout, c.SendTimeout,
		c.RequestTimeout, c.SyncMinInterval, c.RetryMin, c.RefusedInterval, c.PullHeartbeat, c.StallAfter, c.PingInterval, c.ApplyTimeout, c.PublishTimeout, c.FetchTimeout, c.CallTimeout} {
		if d <= 0 {
			return bad("a duration is %s; all must be positive", d)
		}
	}
	for _, n := range []int{c.RunBytes, c.BundleBytes, c.MaxFrameBytes, c.ProposeBytes, c.PublishBytes, c.ReadBytes, c.DifferenceBytes,
		c.FetchWindowBytes, c.ChunkBytes, c.SnapshotRate, c.MaxCallBytes} {
		if n <= 0 {
			return bad("a size is %d bytes; all must be positive", n)
		}
	}
	if err := c.Health.Validate(); err != nil {
		return bad("health: %w", err)
	}
	if err := c.validateNATS(); err != nil {
		return bad("%w", err)
	}
	return c.validatePeers(bad)
}

func (c *Config) validatePeers(bad func(string, ...any) error) error {
	seen := map[string]bool{c.Local: true}
	for _, p := range c.Peers {
		if p.Name == "" || seen[p.Name] {
			return bad("peer %q: names must be set and differ", p.Name)
		}
		seen[p.Name] = true
		if _, err := wire.NewVerifier(p.PublicKey); err != nil {
			return bad("peer %s: %w", p.Name, err)
		}
		if len(p.Endpoints) == 0 {
			return bad("peer %s: no endpoint", p.Name)
		}
		for _, e := range p.Endpoints {
			if e.URL == "" {
				return bad("peer %s: endpoint of node %q has no URL", p.Name, e.Node)
			}
		}
	}
	return nil
}

func (c *Config) validateNATS() error {
	maxBytes := int64(0)
	if e := c.NATS.Embedded; e != nil {
		copied := *e
		c.NATS.Embedded = &copied
		e = &copied
		e.MaxBytes = cmp.Or(e.MaxBytes, 1<<30)
		orDuration(&e.MaxAge, time.Hour)
		maxBytes = e.MaxBytes
		if e.StoreDir == "" {
			return fmt.Errorf("embedded NATS needs a store directory")
		}
		if _, _, err := splitAddr(e.ListenAddr); err != nil {
			return fmt.Errorf("embedded NATS listen address %q: %w", e.ListenAddr, err)
		}
	}
	if x := c.NATS.External; x != nil {
		copied := *x
		c.NATS.External = &copied
		x = &copied
		x.Replicas = cmp.Or(x.Replicas, 3)
		x.MaxBytes = cmp.Or(x.MaxBytes, 1<<30)
		orDuration(&x.MaxAge, time.Hour)
		x.PeerAPIPrefix = cmp.Or(x.PeerAPIPrefix, "$JS.API")
		maxBytes = x.MaxBytes
		if len(x.URLs) == 0 {
			return fmt.Errorf("external NATS needs URLs")
		}
	}
	if least := 4 * int64(c.PublishBytes+c.DifferenceBytes*len(c.Peers)); maxBytes < least {
		return fmt.Errorf("the stream of %d bytes must hold 4 times the publish window and a difference for each peer, %d bytes", maxBytes, least)
	}
	return nil
}
