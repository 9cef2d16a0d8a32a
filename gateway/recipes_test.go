package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

// These are etcd's own client recipes over three real nodes; each example of client/v3/concurrency has its like here
// or in lock_test.go.

// Readers and writers of one RWMutex contend while the leader is killed. Nobody writes beside anybody else.
func TestRWMutexWhileTheLeaderIsKilled(t *testing.T) {
	s := newRealSites(t, 3)
	ctx := patientContext(t)
	const writers, readers, rounds = 4, 6, 4
	var room occupancy
	var turns, together atomic.Int32
	killed := make(chan struct{})
	leader := s.leaderIndex()
	var wg sync.WaitGroup
	for i := range writers + readers {
		c, write := s.everywhere(), i < writers
		wg.Go(func() {
			for range rounds {
				leave, err := enterPatiently(ctx, c, "/rw", write)
				if err != nil {
					t.Errorf("lock: %v", err)
					return
				}
				beside, err := room.enter(write)
				if err != nil {
					t.Error(err)
				}
				if beside > 0 {
					together.Add(1)
				}
				if turns.Add(1) == writers*rounds/2 {
					s.kill(leader)
					close(killed)
				}
				sleep(ctx, nil, time.Duration(rand.IntN(10))*time.Millisecond) // others get the chance to come in wrongly
				room.exit(write)
				if err := leave(); err != nil {
					t.Errorf("unlock: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case <-killed:
	default:
		t.Error("the leader was not killed")
	}
	if got := turns.Load(); got != (writers+readers)*rounds {
		t.Errorf("%d turns", got)
	}
	t.Logf("%d turns, %d readers came in beside other readers", turns.Load(), together.Load())
}

// occupancy is who holds an RWMutex, as those see it who do.
type occupancy struct {
	mu               sync.Mutex
	readers, writers int
}

// enter notes one more holder, and returns how many there were.
func (o *occupancy) enter(write bool) (beside int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writers > 0 || write && o.readers > 0 {
		err = fmt.Errorf("a holder (writer: %t) came in beside %d writers and %d readers", write, o.writers, o.readers)
	}
	beside = o.writers + o.readers
	if write {
		o.writers++
	} else {
		o.readers++
	}
	return beside, err
}

func (o *occupancy) exit(write bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if write {
		o.writers--
	} else {
		o.readers--
	}
}

// enterPatiently locks an RWMutex with a session of its own. After an error the recipe does not know whether its key
// was written; ending the session removes it in either case.
func enterPatiently(ctx context.Context, c *clientv3.Client, name string, write bool) (leave func() error, err error) {
	err = patiently(ctx, func(ctx context.Context) error {
		session, err := concurrency.NewSession(c, concurrency.WithTTL(60), concurrency.WithContext(ctx))
		if err != nil {
			return err
		}
		leave = func() error {
			session.Orphan()
			return patiently(ctx, func(ctx context.Context) error {
				_, err := c.Revoke(ctx, session.Lease())
				if errors.Is(err, rpctypes.ErrLeaseNotFound) {
					return nil
				}
				return err
			})
		}
		m := recipe.NewRWMutex(session, name)
		lock := m.RLock
		if write {
			lock = m.Lock
		}
		if err := lock(); err != nil {
			return errors.Join(err, leave())
		}
		return nil
	})
	return leave, err
}

// A writer waits for the readers before it, and a reader for the writer before it.
func TestRWMutexOrder(t *testing.T) {
	s := newRealSites(t, 3)
	c := s.everywhere()
	lock := func(write bool) (*recipe.RWMutex, chan error) {
		m, locked := recipe.NewRWMutex(newSession(t, c, 60), "/rw"), make(chan error, 1)
		go func() {
			if write {
				locked <- m.Lock()
			} else {
				locked <- m.RLock()
			}
		}()
		return m, locked
	}
	waiting := func(n int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d keys", n), func() bool {
			r, err := c.Get(t.Context(), "/rw/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			return err == nil && r.Count == n
		})
	}
	mustWait := func(who string, locked chan error) {
		t.Helper()
		select {
		case err := <-locked:
			t.Fatalf("%s was let in: %v", who, err)
		default:
		}
	}
	r1, in1 := lock(false)
	r2, in2 := lock(false)
	if err := errors.Join(<-in1, <-in2); err != nil {
		t.Fatal(err)
	}
	w, inW := lock(true)
	waiting(3)
	r3, in3 := lock(false)
	waiting(4)
	mustWait("a writer beside two readers", inW)
	if err := r1.RUnlock(); err != nil {
		t.Fatal(err)
	}
	waiting(3)
	mustWait("a writer beside a reader", inW)
	mustWait("a reader behind a writer that waits", in3)
	if err := errors.Join(r2.RUnlock(), <-inW); err != nil {
		t.Fatal(err)
	}
	mustWait("a reader beside a writer", in3)
	if err := errors.Join(w.Unlock(), <-in3, r3.RUnlock()); err != nil {
		t.Fatal(err)
	}
}

func TestBarriers(t *testing.T) {
	s := newRealSites(t, 3)
	hold := recipe.NewBarrier(s.client(0), "/barrier")
	if err := hold.Hold(); err != nil {
		t.Fatal(err)
	}
	if err := recipe.NewBarrier(s.client(1), "/barrier").Hold(); !errors.Is(err, recipe.ErrKeyExists) {
		t.Errorf("held twice: %v", err)
	}
	var passed atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		b := recipe.NewBarrier(s.client(i%3), "/barrier")
		wg.Go(func() {
			if err := b.Wait(); err != nil {
				t.Error(err)
			}
			passed.Add(1)
		})
	}
	eventually(t, "all to watch", func() bool { return s.watches() == 6 })
	if n := passed.Load(); n != 0 {
		t.Errorf("%d passed a barrier that was held", n)
	}
	if err := hold.Release(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	// Nobody enters a double barrier before all have come, and nobody leaves before all want to.
	const count = 4
	var entered, leaving atomic.Int32
	leave := make(chan struct{})
	late := recipe.NewDoubleBarrier(newSession(t, s.everywhere(), 60), "/double", count)
	for range count - 1 {
		b := recipe.NewDoubleBarrier(newSession(t, s.everywhere(), 60), "/double", count)
		wg.Go(func() {
			if err := b.Enter(); err != nil {
				t.Error(err)
				return
			}
			entered.Add(1)
			<-leave
			leaving.Add(1)
			if err := b.Leave(); err != nil {
				t.Error(err)
			}
			if n := leaving.Load(); n != count {
				t.Errorf("left while %d of %d wanted to", n, count)
			}
		})
	}
	eventually(t, "all but one to wait", func() bool {
		r, err := s.client(0).Get(t.Context(), "/double/waiters", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && r.Count == count-1
	})
	if n := entered.Load(); n != 0 {
		t.Errorf("%d entered before the last came", n)
	}
	if err := late.Enter(); err != nil {
		t.Fatal(err)
	}
	surplus := recipe.NewDoubleBarrier(newSession(t, s.everywhere(), 60), "/double", count)
	if err := surplus.Enter(); !errors.Is(err, recipe.ErrTooManyClients) {
		t.Errorf("one too many entered: %v", err)
	}
	close(leave)
	leaving.Add(1)
	if err := late.Leave(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// watches counts the watches of all nodes.
func (s *site) watches() (n int) {
	for _, n0 := range s.nodes {
		n += int(gathered(s.t, n0.registry, "geogate_gateway_watches"))
	}
	return n
}

// Each item of a queue goes to one taker, in order; of a priority queue the lowest number comes first.
func TestQueues(t *testing.T) {
	s := newRealSites(t, 3)
	q := recipe.NewQueue(s.client(0), "/queue")
	for i := range 5 {
		if err := q.Enqueue(strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		if got, err := recipe.NewQueue(s.client(i%3), "/queue").Dequeue(); err != nil || got != strconv.Itoa(i) {
			t.Fatalf("item %d: %q, %v", i, got, err)
		}
	}
	p := recipe.NewPriorityQueue(s.client(0), "/priority")
	for _, pr := range []uint16{7, 2, 65535, 2, 0} {
		if err := p.Enqueue(fmt.Sprint("of ", pr), pr); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"of 0", "of 2", "of 2", "of 7", "of 65535"} {
		if got, err := recipe.NewPriorityQueue(s.client(i%3), "/priority").Dequeue(); err != nil || got != want {
			t.Fatalf("item %d: %q, %v, want %q", i, got, err, want)
		}
	}

	const makers, each = 3, 12
	for _, queue := range []struct {
		name string
		put  func(c *clientv3.Client, v string) error
		take func(c *clientv3.Client) (string, error)
	}{
		{"queue", func(c *clientv3.Client, v string) error { return recipe.NewQueue(c, "/many").Enqueue(v) },
			func(c *clientv3.Client) (string, error) { return recipe.NewQueue(c, "/many").Dequeue() }},
		{"priority queue", func(c *clientv3.Client, v string) error {
			return recipe.NewPriorityQueue(c, "/many-p").Enqueue(v, uint16(len(v)))
		}, func(c *clientv3.Client) (string, error) { return recipe.NewPriorityQueue(c, "/many-p").Dequeue() }},
	} {
		var mu sync.Mutex
		var put, taken []string
		var wg sync.WaitGroup
		for i := range makers {
			in, out := s.client(i), s.client((i+1)%3)
			wg.Go(func() {
				for j := range each {
					v := fmt.Sprintf("%d-%d", i, j)
					if err := queue.put(in, v); err != nil {
						t.Error(err)
					}
					mu.Lock()
					put = append(put, v)
					mu.Unlock()
				}
			})
			wg.Go(func() {
				for range each {
					v, err := queue.take(out)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					taken = append(taken, v)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		slices.Sort(put)
		slices.Sort(taken)
		if !slices.Equal(put, taken) {
			t.Errorf("%s: put %v, taken %v", queue.name, put, taken)
		}
	}
}

// Money moves between accounts at every level of isolation, from all nodes at once; none is made or lost.
func TestTransfersBySTM(t *testing.T) {
	s := newRealSites(t, 3)
	ctx := patientContext(t)
	c := s.everywhere()
	const accounts, transfers = 5, 10
	for i := range accounts {
		if _, err := c.Put(ctx, fmt.Sprint("account/", i), "100"); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	// ReadCommitted does not detect that what was read has changed, so it is not for transfers, in etcd either.
	levels := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads}
	for i := range 6 {
		c, r := s.client(i%3), rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			for range transfers {
				from, to := fmt.Sprint("account/", r.IntN(accounts)), fmt.Sprint("account/", r.IntN(accounts))
				_, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
					if from == to {
						return nil
					}
					a, _ := strconv.Atoi(stm.Get(from))
					b, _ := strconv.Atoi(stm.Get(to))
					stm.Put(from, strconv.Itoa(a-a/2))
					stm.Put(to, strconv.Itoa(b+a/2))
					return nil
				}, concurrency.WithIsolation(levels[i%len(levels)]), concurrency.WithAbortContext(ctx))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r, err := c.Get(ctx, "account/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, kv := range r.Kvs {
		n, _ := strconv.Atoi(string(kv.Value))
		sum += n
	}
	if sum != accounts*100 {
		t.Errorf("the accounts hold %d: %v", sum, r.Kvs)
	}
}

// Who waited longest is elected when the session of the leader ends; who resumes an election leads on.
func TestElectionOfSessions(t *testing.T) {
	s := newRealSites(t, 3)
	ctx := patientContext(t)
	var candidates []*concurrency.Election
	var sessions []*concurrency.Session
	for i := range 3 {
		sessions = append(sessions, newSession(t, s.client(i), 60))
		candidates = append(candidates, concurrency.NewElection(sessions[i], "/election"))
	}
	if err := candidates[0].Campaign(ctx, "0"); err != nil {
		t.Fatal(err)
	}
	elected := make(chan int, 2)
	for i := 1; i < 3; i++ {
		go func() {
			if err := candidates[i].Campaign(ctx, strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
			elected <- i
		}()
		eventually(t, "the candidate stands", func() bool {
			r, err := s.client(0).Get(ctx, "/election/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			return err == nil && r.Count == int64(i+1)
		})
	}
	// A process that was started again leads on with its old key.
	again := concurrency.ResumeElection(sessions[0], "/election", candidates[0].Key(), candidates[0].Rev())
	if err := again.Proclaim(ctx, "0 again"); err != nil {
		t.Error(err)
	}
	if r, err := candidates[2].Leader(ctx); err != nil || string(r.Kvs[0].Value) != "0 again" {
		t.Errorf("leader %v, %v", r, err)
	}
	for i := 1; i < 3; i++ {
		if err := sessions[i-1].Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-elected; got != i {
			t.Errorf("elected %d, want %d", got, i)
		}
	}
	if err := candidates[2].Resign(ctx); err != nil {
		t.Error(err)
	}
	if _, err := candidates[0].Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("leader after all have gone: %v", err)
	}
}

// A session ends when its lease does, and with it the lock that was waited for; an orphan's lease runs out by itself.
func TestSessions(t *testing.T) {
	s := newRealSites(t, 3)
	ctx := patientContext(t)
	c := s.everywhere()
	holder, waiter := newSession(t, c, 60), newSession(t, c, 60)
	if err := concurrency.NewMutex(holder, "/m").Lock(ctx); err != nil {
		t.Fatal(err)
	}
	m := concurrency.NewMutex(waiter, "/m")
	locked := make(chan error, 1)
	go func() { locked <- m.Lock(ctx) }()
	eventually(t, "the second one waits", func() bool {
		r, err := c.Get(ctx, "/m/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && r.Count == 2
	})
	if _, err := c.Revoke(ctx, waiter.Lease()); err != nil {
		t.Fatal(err)
	}
	<-waiter.Done()
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-locked; !errors.Is(err, concurrency.ErrSessionExpired) {
		t.Errorf("a lock for a session that has ended: %v", err)
	}
	if err := m.Unlock(ctx); err != nil {
		t.Error(err)
	}
	if err := m.Unlock(ctx); !errors.Is(err, concurrency.ErrLockReleased) {
		t.Errorf("unlocked twice: %v", err)
	}

	lease, err := c.Grant(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := concurrency.NewSession(c, concurrency.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := concurrency.NewMutex(orphan, "/m").Lock(ctx); err != nil {
		t.Fatal(err)
	}
	orphan.Orphan()
	if err := concurrency.NewMutex(newSession(t, c, 60), "/m").Lock(ctx); err != nil {
		t.Errorf("after the lease of an orphan ran out: %v", err)
	}
}
