package drill

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

const (
	policyHeader = "geogate-policy"
	// counterEvery is which share of a writer's turns raises a counter.
	counterEvery = 4
	// readInterval is between two looks of a reader.
	readInterval = 100 * time.Millisecond
)

var errNoToken = errors.New("acknowledged without a token: is this a geogate endpoint?")

// load is all probes. It runs from start until stop, or until ctx ends.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startLoad has every datacenter written to and read. Writes that are under way when the load is stopped are cut off,
// and count neither as acknowledged nor as failed.
func startLoad(ctx context.Context, l Load, sites []*site, b *book) *load {
	ctx, cancel := context.WithCancel(ctx)
	out := &load{cancel: cancel}
	for i, s := range sites {
		for w := range l.Writers {
			p := &writer{client: s.client, book: b, load: l, dc: i, id: w}
			out.wg.Go(func() { p.run(ctx) })
		}
		for range l.Readers {
			r := &reader{client: s.client, book: b, dc: i, limit: len(sites) * l.Writers}
			out.wg.Go(func() { r.run(ctx) })
		}
	}
	return out
}

// drain lets the clients go on for a while, so that what is under way is answered, and stops them.
func (l *load) drain(d time.Duration) {
	time.Sleep(d)
	l.cancel()
	l.wg.Wait()
}

// writer is one client that writes; it is one goroutine.
type writer struct {
	client *clientv3.Client
	book   *book
	load   Load
	dc, id int

	seq   int   // of the last key
	value int64 // of the counter, as far as it is known
}

func (w *writer) run(ctx context.Context) {
	// The writers of a datacenter share its rate, and do not all write at the same moment.
	every := time.Second * time.Duration(w.load.Writers) / time.Duration(w.load.Rate)
	select {
	case <-time.After(every * time.Duration(w.id) / time.Duration(w.load.Writers)):
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		if turn%counterEvery == counterEvery-1 {
			w.raise(ctx)
		} else {
			w.put(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// put writes the next key, and the beat that readers look for, in one transaction.
func (w *writer) put(ctx context.Context) {
	w.seq++
	made := time.Now().UnixNano()
	value := strconv.FormatInt(made, 10)
	o, _, err := w.commit(ctx, nil,
		clientv3.OpPut(w.book.key(w.dc, w.id, w.seq), value), clientv3.OpPut(w.book.beatKey(w.dc, w.id), value))
	switch {
	case err == nil:
		w.book.put(o, w.id, w.seq, made)
	case ctx.Err() == nil:
		w.book.failed(o)
	}
}

// raise gives the counter its next value, if it has the one that this writer knows. Otherwise it learns that.
func (w *writer) raise(ctx context.Context) {
	key, next := w.book.counterKey(w.dc, w.id), w.value+1
	is := clientv3.Compare(clientv3.Value(key), "=", strconv.FormatInt(w.value, 10))
	if w.value == 0 {
		is = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	o, resp, err := w.commit(ctx, &is, clientv3.OpPut(key, strconv.FormatInt(next, 10)), clientv3.OpGet(key))
	switch {
	case err == nil && resp.Succeeded:
		w.value = next
		w.book.raised(o, key, next)
	case err == nil:
		if kvs := resp.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
			w.value, _ = strconv.ParseInt(string(kvs[0].Value), 10, 64) // 0, when somebody wrote over it: nothing is raised any more
		}
	case ctx.Err() == nil:
		w.book.failed(o)
	}
}

// commit sends one transaction: both operations, or with a condition the first, else the second.
func (w *writer) commit(ctx context.Context, is *clientv3.Cmp, a, b clientv3.Op) (outcome, *clientv3.TxnResponse, error) {
	var r receipt
	ctx, cancel := context.WithTimeout(withReceipt(ctx, &r), w.load.Timeout)
	defer cancel()
	if w.load.Policy != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, policyHeader, w.load.Policy)
	}
	txn := w.client.Txn(ctx)
	if is != nil {
		txn = txn.If(*is).Then(a).Else(b)
	} else {
		txn = txn.Then(a, b)
	}
	o := outcome{dc: w.dc, began: time.Now()}
	resp, err := txn.Commit()
	o.now, o.token, o.ackedBy = time.Now(), r.token, r.ackedBy
	if err == nil && resp.Succeeded && o.token.Origin == "" {
		err = fmt.Errorf("%w", errNoToken)
	}
	return o, resp, err
}

// reader looks for the newest writes of all writers, in what its node has applied; it is one goroutine.
type reader struct {
	client *clientv3.Client
	book   *book
	dc     int
	limit  int // writers there are
}

func (r *reader) run(ctx context.Context) {
	tick := time.NewTicker(readInterval)
	defer tick.Stop()
	for {
		r.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *reader) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	now := time.Now()
	resp, err := r.client.Get(ctx, r.book.prefix+"beat/", clientv3.WithPrefix(), clientv3.WithSerializable(), clientv3.WithLimit(int64(r.limit)))
	if err != nil {
		return // an endpoint that is down reads nothing, and its writers tell
	}
	newest := map[[2]int]int64{}
	for _, kv := range resp.Kvs {
		at, ok := r.book.beatOf(string(kv.Key))
		made, err := strconv.ParseInt(string(kv.Value), 10, 64)
		if ok && err == nil {
			newest[at] = made
		}
	}
	r.book.saw(r.dc, now, newest)
}

// beatOf is the datacenter and the writer of a beat's key.
func (b *book) beatOf(key string) (at [2]int, ok bool) {
	dc, id, ok := strings.Cut(strings.TrimPrefix(key, b.prefix+"beat/"), "/")
	n, err := strconv.Atoi(id)
	for i, name := range b.dcs {
		if name == dc {
			return [2]int{i, n}, ok && err == nil
		}
	}
	return at, false
}
