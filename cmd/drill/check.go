package drill

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	checkPage   = 1000 // keys read at a time
	checkPause  = 500 * time.Millisecond
	maxLostKeys = 20 // that a report names
)

// check looks for every acknowledged write in every datacenter, proves the data to be equal, and removes the probes'
// keys. It says what went wrong.
func (d *drill) check(ctx context.Context, r *Report) (problems []string) {
	try := func(name string, do func(context.Context) error) bool {
		err := d.record(ctx, "check: "+name, do)
		if err != nil {
			problems = append(problems, name+": "+err.Error())
		}
		return err == nil
	}
	arrived := try("converged", func(ctx context.Context) error { return d.waitFor(ctx, untilConverged) })
	looked := try("every acknowledged write, everywhere", func(ctx context.Context) error {
		lost, err := d.lost(ctx)
		if err != nil {
			return err
		}
		n := len(lost)
		r.AcknowledgedLost, r.LostKeys = &n, lost[:min(n, maxLostKeys)]
		return nil
	})
	r.Verified = try("verify digest", d.verify)
	switch {
	case d.cfg.Keep:
	case arrived && looked:
		try("remove the keys", d.clean)
	default:
		problems = append(problems, fmt.Sprintf("the probes' keys were left to be looked at; remove them with `etcdctl del --prefix %s`", d.book.prefix))
	}
	return problems
}

// lost are the keys of acknowledged writes that a datacenter does not have, or not with what was written.
func (d *drill) lost(ctx context.Context) ([]string, error) {
	missing := map[string]bool{}
	deadline := time.Now().Add(settle)
	for _, s := range d.sites {
		keys, err := d.lostIn(ctx, s, deadline)
		if err != nil {
			return nil, fmt.Errorf("read the keys in %s: %w", s.name, err)
		}
		for _, k := range keys {
			missing[k] = true
			d.watch.note("lost in %s: %s", s.name, k)
		}
	}
	out := make([]string, 0, len(missing))
	for k := range missing {
		out = append(out, k)
	}
	slices.Sort(out)
	return out, nil
}

// lostIn looks again until the deadline: the asked node may apply later than its datacenter's leader.
func (d *drill) lostIn(ctx context.Context, s *site, deadline time.Time) ([]string, error) {
	for {
		have, err := d.read(ctx, s)
		if err != nil {
			return nil, err
		}
		lost := d.book.lost(have)
		if len(lost) == 0 || time.Now().After(deadline) {
			return lost, nil
		}
		select {
		case <-time.After(checkPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read is all keys of the drill as a node of the datacenter has applied them. Linearizable reads would ask the home.
func (d *drill) read(ctx context.Context, s *site) (map[string]string, error) {
	have := map[string]string{}
	from, end := d.book.prefix, clientv3.GetPrefixRangeEnd(d.book.prefix)
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(checkPage), clientv3.WithSerializable())
		if err != nil {
			return nil, err
		}
		for _, kv := range resp.Kvs {
			have[string(kv.Key)] = string(kv.Value)
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return have, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// lost are the acknowledged writes that are not among these keys. Of a counter it is each value that an acknowledged
// write gave it, and that is above the present one or was given twice.
func (b *book) lost(have map[string]string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.writes {
		w := &b.writes[i]
		if w.counter {
			continue // below
		}
		key := b.key(w.dc, w.writer, w.seq)
		if have[key] != strconv.FormatInt(w.made, 10) {
			out = append(out, key)
		}
	}
	for key, t := range b.counters {
		now, _ := strconv.ParseInt(have[key], 10, 64) // 0 when it is not there
		for v := range t.acked {
			if v > now {
				out = append(out, fmt.Sprintf("%s=%d", key, v))
			}
		}
		for _, v := range t.twice {
			out = append(out, fmt.Sprintf("%s=%d (acknowledged twice)", key, v))
		}
	}
	return out
}

// clean removes what the probes have written, some keys at a time.
func (d *drill) clean(ctx context.Context) error {
	var last error
	for _, s := range d.sites {
		if last = clean(ctx, s.client, d.book.prefix); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%w; remove them with `etcdctl del --prefix %s`", last, d.book.prefix)
}

func clean(ctx context.Context, kv clientv3.KV, prefix string) error {
	for {
		resp, err := kv.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(checkPage), clientv3.WithKeysOnly())
		if err != nil || len(resp.Kvs) == 0 {
			return err
		}
		last := string(resp.Kvs[len(resp.Kvs)-1].Key)
		if _, err := kv.Delete(ctx, string(resp.Kvs[0].Key), clientv3.WithRange(last+"\x00")); err != nil {
			return err
		}
	}
}
