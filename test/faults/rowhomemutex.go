//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/metadata"

	"geogate/replication/policy"
)

const (
	mutexKey        = homePrefix + "mutex"
	mutexTTL        = 5  // seconds
	mutexContenders = 2  // of each datacenter
	mutexAfter      = 15 // holders before the home is killed, and again afterwards
	mutexWithin     = 45 * time.Second
	sessionSlack    = 2 * time.Second // a client notices late that its lease is over
)

// homeMutexRow has etcd's lock contended from all datacenters while the home dies.
func homeMutexRow() row {
	return homeRow("home-mutex", "clientv3's Mutex never has two holders, and tokens grow from holder to holder, over the death of the home", true, playMutex)
}

// mutexLedger is who held the lock.
type mutexLedger struct {
	mu       sync.Mutex
	holder   *mutexHolder // guarded by mu, as below
	last     policy.Token
	holders  map[string]int // by datacenter
	lost     int            // sessions
	problems []string
}

type mutexHolder struct {
	who     string
	token   policy.Token
	session *concurrency.Session
}

func playMutex(ctx context.Context, s *stage, h *homeLoad) error {
	old, others := s.c.dcs[0], s.c.holding()[1:]
	m := &mutexLedger{holders: map[string]int{}}
	mctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, dc := range s.c.holding() {
		client, err := s.c.clientWith(s.c.in(dc), withTrailers)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }() // nothing is under way
		for i := range mutexContenders {
			rnd := newRand(s.cfg.Seed, mutexKey+dc, uint64(i))
			wg.Go(func() { m.contend(mctx, rnd, client, fmt.Sprintf("%s %d", dc, i), dc) })
		}
	}
	wait := func(n int, dcs ...string) error {
		deadline := time.Now().Add(mutexWithin)
		before := m.counts()
		for {
			now, all := m.counts(), 0
			for _, dc := range dcs {
				all += now[dc] - before[dc]
			}
			if all >= n {
				return nil
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("%w: the lock had %d holders in %v within %s, want %d", errNotMet, all, dcs, mutexWithin, n)
			}
			pauseFor(ctx, 50*time.Millisecond)
		}
	}
	if err := wait(mutexAfter, s.c.holding()...); err != nil {
		return err
	}
	s.say("kill -9 of all of %s after %v holders", old, m.counts())
	killed := time.Now()
	s.c.killAll(old)
	if err := wait(mutexAfter, others...); err != nil {
		return err
	}
	s.say("%v holders %.2fs after the kill; %s comes back", m.counts(), time.Since(killed).Seconds(), old)
	if err := s.startAll(ctx, s); err != nil {
		return err
	}
	if err := wait(1, old); err != nil {
		return err
	}
	stop()
	wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	s.v.check("one holder of the lock at a time", fmt.Sprintf("holders %v, %d sessions lost", m.holders, m.lost), m.problems)
	return h.waitAcks(ctx, 10, s.cfg.Recover, s.c.holding()...)
}

func (m *mutexLedger) counts() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]int{}
	for dc, n := range m.holders {
		out[dc] = n
	}
	return out
}

// contend takes the lock, holds it for a moment and gives it back, with a new session when the old one is over.
func (m *mutexLedger) contend(ctx context.Context, rnd *rand.Rand, client *clientv3.Client, who, dc string) {
	for ctx.Err() == nil {
		sctx, cancel := context.WithCancel(ctx)
		session, err := concurrency.NewSession(client, concurrency.WithTTL(mutexTTL), concurrency.WithContext(sctx))
		for err == nil && ctx.Err() == nil {
			err = m.once(ctx, rnd, session, who, dc)
		}
		cancel()
		if session != nil {
			select {
			case <-session.Done():
				m.mu.Lock()
				m.lost++
				m.mu.Unlock()
			default:
			}
		}
		pauseFor(ctx, failurePause)
	}
}

func (m *mutexLedger) once(ctx context.Context, rnd *rand.Rand, session *concurrency.Session, who, dc string) error {
	mutex := concurrency.NewMutex(session, mutexKey)
	var told metadata.MD
	var token string
	lctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	// The first call of Lock is the transaction that makes the key: its token is the fencing token.
	lctx = onTrailers(lctx, &told, func() {
		if t := told.Get("geogate-token"); token == "" && len(t) > 0 {
			token = t[0]
		}
	})
	if err := mutex.Lock(lctx); err != nil {
		return err
	}
	t, err := policy.ParseToken(token)
	if err != nil {
		return fmt.Errorf("token %q of the lock: %w", token, err)
	}
	h := &mutexHolder{who: who, token: t, session: session}
	m.enter(h, dc)
	select {
	case <-time.After(time.Duration(20+rnd.IntN(150)) * time.Millisecond):
	case <-session.Done():
	}
	m.leave(h)
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	return mutex.Unlock(uctx)
}

// enter notes a holder. Who held it before and has not left must have lost its session.
func (m *mutexLedger) enter(h *mutexHolder, dc string) {
	m.mu.Lock()
	before := m.holder
	m.holder = h
	m.holders[dc]++
	if last := m.last; last.Epoch > h.token.Epoch || last.Epoch == h.token.Epoch && last.Revision >= h.token.Revision {
		m.problems = append(m.problems, fmt.Sprintf("%s holds it with token %s after a holder with %s", h.who, h.token, last))
	}
	m.last = h.token
	m.mu.Unlock()
	if before == nil {
		return
	}
	select {
	case <-before.session.Done():
	case <-time.After(sessionSlack):
		m.mu.Lock()
		defer m.mu.Unlock()
		m.problems = append(m.problems, fmt.Sprintf("%s (%s) holds it while %s (%s) does, whose session lives", h.who, h.token, before.who, before.token))
	}
}

// leave is called before the lock is given back.
func (m *mutexLedger) leave(h *mutexHolder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder == h {
		m.holder = nil
	}
}
