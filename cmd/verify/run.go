package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"geogate/replication"
	rule "geogate/replication/verify"
)

var (
	// ErrDifferent says that keys differ.
	ErrDifferent = errors.New("the data differs")
	// ErrUnproven says that not all of the data could be proven equal in time.
	ErrUnproven = errors.New("the data is not proven equal")
)

const (
	lookInterval = 250 * time.Millisecond // between two looks at the reports
	callTimeout  = 30 * time.Second
)

// Config says what to verify.
type Config struct {
	Endpoints []string      // admin addresses, one of each datacenter that is asked
	Timeout   time.Duration // for the proof
	Repair    bool
	Keyspace  *string // only differences of the keyspace with this prefix are told and mended; nil for all
	From      string  // the datacenter whose copies are right; empty to let the rules decide
}

// Run verifies, repairs if told to, and verifies again. The result is valid with an error of this package too.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	r, err := prove(ctx, cfg)
	if err != nil || !cfg.Repair || len(r.Differences) == 0 {
		return r, verdict(r, err)
	}
	done, err := mend(ctx, cfg, r)
	if err != nil {
		r.Repairs = done
		return r, err
	}
	if r, err = prove(ctx, cfg); r != nil {
		r.Repairs = done
	}
	return r, verdict(r, err)
}

func verdict(r *Result, err error) error {
	switch {
	case err != nil:
		return err
	case len(r.Nodes) > 0:
		return fmt.Errorf("%w between the nodes of a datacenter: rebuild %s/%s", ErrDifferent, r.Nodes[0].DC, r.Nodes[0].Node)
	case r.State == "different" && len(r.Differences) == 0:
		return fmt.Errorf("%w, in other keyspaces than the one asked for: verify without --keyspace names them", ErrDifferent)
	case r.State == "different":
		return fmt.Errorf("%w in %d keys; --repair mends them", ErrDifferent, len(r.Differences))
	case r.State == "unproven":
		return fmt.Errorf("%w: see the pairs; give more --timeout, or less load", ErrUnproven)
	}
	return nil
}

// prove looks at the reports until each pair is settled: all of it found equal since the beginning, or keys
// named that differ.
func prove(ctx context.Context, cfg Config) (*Result, error) {
	began := time.Now()
	limit, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	for {
		var reports []*report
		for _, e := range cfg.Endpoints {
			askCtx, cancel := context.WithTimeout(ctx, callTimeout)
			r, err := fetch(askCtx, e)
			cancel()
			if err != nil {
				return nil, err
			}
			reports = append(reports, r)
		}
		result, settled := judge(reports, time.Since(began), cfg.Keyspace)
		if settled {
			return result, nil
		}
		select {
		case <-time.After(lookInterval):
		case <-limit.Done():
			if ctx.Err() != nil {
				return result, ctx.Err()
			}
			return result, nil
		}
	}
}

// judge makes a result of reports that were asked for some time after the beginning.
func judge(reports []*report, elapsed time.Duration, only *string) (r *Result, settled bool) {
	r, settled = &Result{State: "equal", Pairs: []Pair{}, Differences: []Difference{}}, true
	byKey := map[entry]map[string]rule.Copy{}
	var keyspaces []string
	for _, rep := range reports {
		keyspaces = append(keyspaces, rep.Keyspaces...)
		if rep.Replica.State == "different" {
			r.Nodes = append(r.Nodes, Node{DC: rep.DC, Node: rep.Node, Problem: rep.Replica.Problem})
			defer func() { r.State = "different" }() // whatever the peers say
		}
		if rep.Error != "" {
			r.Pairs = append(r.Pairs, Pair{DC: rep.DC, Peer: "?", State: "unknown", Reason: rep.Error})
			r.State, settled = "unproven", false
		}
		for _, p := range rep.Peers {
			r.Pairs = append(r.Pairs, pairOf(rep.DC, &p))
			fresh := p.LastRound != nil && *p.LastRound < elapsed.Seconds()
			switch {
			case fresh && len(p.Differences) > 0:
				r.State = "different"
			case p.State == "equal" && p.LastOK != nil && *p.LastOK < elapsed.Seconds():
			default:
				settled = false
				if r.State == "equal" {
					r.State = "unproven"
				}
			}
			if fresh {
				collect(byKey, rep, &p)
			}
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(byKey), compareEntries) {
		d := Difference{Key: []byte(e.key), Text: textOf([]byte(e.key)), System: e.system, Copies: byKey[e]}
		if !e.system {
			d.Keyspace = keyspaceOf(keyspaces, e.key)
		}
		if only == nil || d.Keyspace != nil && *d.Keyspace == *only {
			r.Differences = append(r.Differences, d)
		}
	}
	return r, settled
}

// entry is a key, or an entry of the system table of that name.
type entry struct {
	system bool
	key    string
}

func entryOf(c *rule.Copy) entry { return entry{system: c.System, key: string(c.Key)} }

func compareEntries(a, b entry) int {
	if a.system != b.system {
		if a.system {
			return 1 // behind the keys
		}
		return -1
	}
	return cmp.Compare(a.key, b.key)
}

func pairOf(dc string, p *replication.Verification) Pair {
	return Pair{
		DC: dc, Peer: p.DC, State: p.State, Buckets: p.Buckets, Equal: p.Equal, Pending: p.Pending, Different: p.Different,
		LastOK: p.LastOK, Reason: p.Reason, More: p.More,
	}
}

// collect gathers the copies of the keys in which two datacenters differ. A third one that the first does not
// differ from in a key has the first one's copy.
func collect(byKey map[entry]map[string]rule.Copy, rep *report, p *replication.Verification) {
	for _, d := range p.Differences {
		e := entryOf(&d.Here)
		copies := byKey[e]
		if copies == nil {
			copies = map[string]rule.Copy{}
			byKey[e] = copies
			for _, other := range rep.Peers {
				if other.State != "unknown" && other.State != "off" {
					copies[other.DC] = d.Here
				}
			}
			for _, other := range rep.Peers {
				for _, x := range other.Differences {
					if entryOf(&x.Here) == e {
						copies[other.DC] = x.There
					}
				}
			}
		}
		copies[rep.DC], copies[p.DC] = d.Here, d.There
	}
}

// mend repairs what differs, in the datacenters whose copies are wrong.
func mend(ctx context.Context, cfg Config, r *Result) (done []Repaired, err error) {
	endpoints := map[string]string{}
	all := map[string]bool{}
	for _, p := range r.Pairs {
		all[p.DC], all[p.Peer] = true, true
	}
	for _, e := range cfg.Endpoints {
		rep, err := fetch(ctx, e)
		if err != nil {
			return nil, err
		}
		endpoints[rep.DC] = e
	}
	for _, d := range r.Differences {
		from := cfg.From
		if from == "" {
			if from, err = rule.Choose(d.Copies, len(all)); err != nil {
				return done, fmt.Errorf("key %q: %w", d.Key, err)
			}
		}
		right, ok := d.Copies[from]
		if !ok {
			return done, fmt.Errorf("key %q: nothing is known of the copy of %q; known are those of %s", d.Key, from,
				strings.Join(slices.Sorted(maps.Keys(d.Copies)), ", "))
		}
		for _, dc := range slices.Sorted(maps.Keys(d.Copies)) {
			wrong := d.Copies[dc]
			if wrong.Same(&right) {
				continue
			}
			e, ok := endpoints[dc]
			if !ok {
				return done, fmt.Errorf("key %q is wrong in %s: give --endpoint the admin address of one of its nodes too", d.Key, dc)
			}
			applied, err := repair(ctx, e, from, wrong)
			if err != nil {
				return done, fmt.Errorf("repair %q in %s from %s: %w", d.Key, dc, from, err)
			}
			done = append(done, Repaired{Key: d.Key, DC: dc, From: from, Applied: applied})
		}
	}
	return done, nil
}
