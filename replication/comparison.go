package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"geogate/replication/health"
	"geogate/replication/verify"
	"geogate/replication/wire"
)

// Difference is a key that differs although both datacenters have applied the same writes of it.
type Difference struct {
	Bucket   int         `json:"bucket"`
	Keyspace *string     `json:"keyspace,omitempty"` // its prefix; nil for an entry of the system table
	Here     verify.Copy `json:"here"`
	There    verify.Copy `json:"there"`
	Since    time.Time   `json:"since"` // found
}

// comparison is what this leader knows of how its DC's data compares with a peer's. It outlives connections.
type comparison struct {
	l    *lead
	peer string
	kick chan struct{} // capacity 1: a round is wanted now

	mu     sync.Mutex
	book   *verify.Book // guarded by mu, as all below; nil before the first round
	rounds uint64
	round  time.Time // of the last complete round
	whole  time.Time // of the last one that was of all buckets
	reason string    // why the last try was no round; empty when it was one
	lives  bool      // both know the same lives of all origins
	hurry  time.Time // until then somebody waits for rounds
	found  []Difference
	tally  verify.Tally // of found
	more   bool         // there are more differing keys than are named
}

func newComparison(l *lead, peer string) *comparison {
	return &comparison{l: l, peer: peer, kick: make(chan struct{}, 1), reason: "not compared since this node leads"}
}

// hurryFor is how long rounds follow each other closely after somebody asked for them.
const hurryFor = 5 * time.Second

// want asks for rounds at once.
func (c *comparison) want() {
	c.mu.Lock()
	c.hurry = c.l.cfg.Clock().Add(hurryFor)
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// pause is the time to the next round: the interval, a quarter of it while some bucket is not proven.
func (c *comparison) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.l.cfg.VerifyInterval
	if c.book == nil || c.book.Unsure() || c.reason != "" {
		d /= 4
	}
	if c.l.cfg.Clock().Before(c.hurry) {
		d = min(d, c.l.cfg.RetryMin)
	}
	return max(d, c.l.cfg.RetryMin)
}

// compare goes through rounds while the link is up.
func (k *link) compare(ctx context.Context) {
	c := k.r.peers[k.r.peer.Name].comparison
	if k.r.cfg.Verified == nil || k.r.cfg.VerifyInterval == 0 {
		return
	}
	for ctx.Err() == nil {
		if k.verifies.Load() {
			if err := k.compareOnce(ctx, c); ctx.Err() == nil {
				c.done(err)
			}
		} else {
			c.done(errOldPeer)
		}
		t := time.NewTimer(c.pause())
		select {
		case <-t.C:
		case <-c.kick:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// done takes note of whether a round was complete.
func (c *comparison) done(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	result := "complete"
	c.reason = ""
	if err != nil {
		c.reason, result = err.Error(), "failed"
	}
	c.l.metrics.verifyRounds.WithLabelValues(c.peer, result).Inc()
}

// open are the buckets that a round has to be of, nil for all: those that are not proven, in the rounds that come sooner than
// the interval for their sake. What is known of most buckets is some 40 KB to ask for.
func (c *comparison) open(now time.Time) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book == nil || c.reason != "" || !c.lives || now.Before(c.hurry) || now.Sub(c.whole) >= c.l.cfg.VerifyInterval {
		return nil
	}
	open := c.book.Open()
	if len(open) > c.book.Buckets()/2 {
		return nil
	}
	return open
}

// compareOnce is one round: this DC's buckets, then the peer's once it has caught up, then the keys of those
// that differ for sure.
func (k *link) compareOnce(ctx context.Context, c *comparison) error {
	mine, err := k.r.cfg.Verified.VerifyState()
	if err != nil {
		return err
	}
	at := k.r.cfg.Clock()
	only := c.open(at)
	held, _ := wire.FromHolding(&mine.Holding)
	reply, err := k.askVerify(ctx, &wire.VerifyRequest{What: &wire.VerifyRequest_Buckets{
		Buckets: &wire.BucketsQuery{Held: held, System: true, Only: wire.BucketSet(only)},
	}})
	if err != nil {
		return err
	}
	var theirs *verify.State
	if reply.Only && only != nil {
		theirs, err = reply.Some(len(only))
		mine = mine.Only(only)
	} else {
		only = nil // of an older build
		if theirs, err = reply.State(len(mine.Digests)); err == nil {
			mine = mine.Cut(len(theirs.Digests)) // one that says nothing of the system table
		}
	}
	if err != nil {
		return err
	}
	return k.nameKeys(ctx, c, c.enter(at, mine, theirs, only))
}

// enter takes a round into the book, and returns the buckets that differ.
func (c *comparison) enter(at time.Time, mine, theirs *verify.State, only []int) []int {
	relation := verify.Relate(&mine.Holding, &theirs.Holding)
	c.mu.Lock()
	defer c.mu.Unlock()
	if only == nil {
		c.whole = at
		if c.book == nil || c.book.Buckets() != len(mine.Digests) {
			c.book = verify.NewBook(len(mine.Digests))
		}
	}
	c.rounds, c.round, c.lives = c.rounds+1, at, relation.Lives()
	return c.book.Round(at, &relation, mine, theirs, only)
}

// nameKeys compares the buckets that differ key by key, as far as the bound on named keys allows.
func (k *link) nameKeys(ctx context.Context, c *comparison, buckets []int) error {
	var found []Difference
	more := false
	for _, b := range buckets {
		if len(found) >= k.r.cfg.VerifyFindings {
			more = true
			break
		}
		d, pending, err := k.compareKeys(ctx, b)
		if err != nil {
			return fmt.Errorf("keys of bucket %d: %w", b, err)
		}
		if len(d) == 0 && !pending {
			c.mu.Lock()
			c.book.Equal(b) // mended, or written over, since the buckets were read
			c.mu.Unlock()
		}
		found = append(found, d...)
	}
	if len(found) > k.r.cfg.VerifyFindings {
		found, more = found[:k.r.cfg.VerifyFindings], true
	}
	c.report(found, more)
	return nil
}

// compareKeys lists the keys of a bucket that differ. Pending says that some may.
func (k *link) compareKeys(ctx context.Context, bucket int) (found []Difference, pending bool, err error) {
	now := k.r.cfg.Clock()
	for after, done := []byte(nil), false; !done && len(found) <= k.r.cfg.VerifyFindings; {
		reply, err := k.askVerify(ctx, &wire.VerifyRequest{What: &wire.VerifyRequest_Keys{
			Keys: &wire.KeysQuery{Bucket: uint32(bucket), After: after, Most: uint32(k.r.cfg.VerifyPage)},
		}})
		if err != nil {
			return nil, false, err
		}
		there, err := reply.Holding()
		if err != nil {
			return nil, false, err
		}
		page := map[string][2]verify.Copy{}
		for _, x := range reply.Keys {
			page[string(x.Key)] = [2]verify.Copy{{Key: x.Key, System: x.System}, x.Copy()}
		}
		done = reply.Done || len(reply.Keys) == 0
		var last []byte
		if !done {
			last = reply.Keys[len(reply.Keys)-1].Key
		}
		here, err := k.ownKeys(bucket, after, last, page)
		if err != nil {
			return nil, false, err
		}
		after = last
		relation := verify.Relate(&here, &there)
		for _, pair := range page {
			switch relation.Key(&pair[0], &pair[1]) {
			case verify.Different:
				found = append(found, Difference{Bucket: bucket, Here: pair[0], There: pair[1], Since: now})
			case verify.Pending:
				pending = true
			}
		}
	}
	slices.SortFunc(found, func(a, b Difference) int { return slices.Compare(a.Here.Key, b.Here.Key) })
	return found, pending, nil
}

// ownKeys puts this DC's copies of the keys behind one, up to last (to the end when nil), beside the peer's.
func (k *link) ownKeys(bucket int, after, last []byte, page map[string][2]verify.Copy) (here verify.Holding, err error) {
	for first := true; ; first = false {
		h, keys, done, err := k.r.cfg.Verified.VerifyKeys(bucket, after, k.r.cfg.VerifyPage)
		if err != nil {
			return here, err
		}
		if first {
			here = h
		}
		for _, mine := range keys {
			if last != nil && slices.Compare(mine.Key, last) > 0 {
				return here, nil
			}
			pair, ok := page[string(mine.Key)]
			if !ok {
				pair[1] = verify.Copy{Key: mine.Key, System: mine.System}
			}
			pair[0] = mine
			page[string(mine.Key)] = pair
			after = mine.Key
		}
		if done {
			return here, nil
		}
	}
}

// report replaces the list of differing keys. What it has more or less of in any keyspace is news.
func (c *comparison) report(found []Difference, more bool) {
	var tally verify.Tally
	for i := range found {
		copied := &found[i].Here
		tally.Add(c.l.cfg.Prefixes, copied)
		if !copied.System {
			keyspace := verify.KeyspaceOf(c.l.cfg.Prefixes, copied.Key)
			found[i].Keyspace = &keyspace
		}
	}
	c.mu.Lock()
	before := c.tally
	for i := range found {
		for _, old := range c.found {
			if slices.Equal(old.Here.Key, found[i].Here.Key) {
				found[i].Since = old.Since
			}
		}
	}
	c.found, c.tally, c.more = found, tally, more
	c.mu.Unlock()
	log := c.l.cfg.Logger.With("peer", c.peer, "keys", len(found), "more", more)
	switch {
	case tally.Same(&before):
		return
	case len(found) == 0:
		log.Info("data is equal again")
		c.event("the data is equal again")
	default:
		log.Error("data differs although both datacenters have applied the same writes: `geogate verify` names both sides, --repair mends",
			"by_keyspace", tally.String(), "first", string(found[0].Here.Key))
		c.event(fmt.Sprintf("the data differs in %d keys (by keyspace: %s), such as %q, although both have applied the same writes",
			len(found), tally.String(), found[0].Here.Key))
	}
}

// event puts it among the changes of the peer's health, which stays what it is.
func (c *comparison) event(reason string) {
	p := c.l.peers[c.peer]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events.Add(health.Event{At: c.l.cfg.Clock(), From: p.machine.State, To: p.machine.State, Reason: reason})
}

func (k *link) askVerify(ctx context.Context, req *wire.VerifyRequest) (*wire.VerifyReply, error) {
	r := k.r
	req.From, req.To, req.Nonce = r.cfg.Local, r.peer.Name, rand.Uint64()
	var reply wire.VerifyReply
	err := k.request(ctx, verifySubject(r.peer.Name, r.cfg.Local), wire.Kind_KIND_VERIFY_REQUEST, req, wire.Kind_KIND_VERIFY_REPLY, &reply)
	switch {
	case err != nil:
		return nil, err
	case reply.From != r.peer.Name || reply.To != r.cfg.Local || reply.Nonce != req.Nonce:
		return nil, fmt.Errorf("%w: answer to another request", wire.ErrMessage)
	case reply.Status != wire.VerifyStatus_VERIFY_OK:
		return nil, fmt.Errorf("%s: %s", r.peer.Name, reply.Detail)
	}
	return &reply, nil
}
