package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"geogate/replication/policy"
)

// Mode says which datacenters may write a keyspace.
type Mode string

// The modes. The zero value means multi-writer.
const (
	MultiWriter  Mode = "multi-writer"
	SingleWriter Mode = "single-writer"
)

// OnUnreachable says what becomes of a write whose policy can't be met by the peers now believed up.
type OnUnreachable string

// What can be done. The zero value inherits.
const (
	UnreachableFail OnUnreachable = "fail" // refuse before anything is committed
	UnreachableWait OnUnreachable = "wait" // commit, and wait until the timeout
	// UnreachableDegrade takes it under a weaker policy, within bounds.
	UnreachableDegrade OnUnreachable = "degrade"
)

// OnTimeout says how a write is answered that was committed here and whose policy was not met in time.
type OnTimeout string

// TimeoutError is the only answer: an error that names the token. The zero value inherits it.
const TimeoutError OnTimeout = "error"

// Keyspace is a key prefix with its rules; the longest prefix that matches a key wins. What is left at its
// zero value is inherited from the keyspace "", which always exists: it is the cluster's default.
type Keyspace struct {
	Prefix        string
	Mode          Mode           // the default of "" is multi-writer
	Home          string         // of a single-writer keyspace: the datacenter that is home until the first move; for errors only
	Forward       *bool          // of a single-writer keyspace: elsewhere writes go to the home; else they are refused. The default of "" is true
	Policy        *policy.Policy // nil inherits; the default of "" is ASYNC
	Timeout       time.Duration  // for the peers, from the local commit on; the default of "" is 5 s
	OnUnreachable OnUnreachable  // the default of "" is fail
	OnTimeout     OnTimeout      // error
	Degrade       Degrade        // bounds of UnreachableDegrade, each inherited by itself
	MaxLag        MaxLag         // the RPO budget, each bound inherited by itself
}

// rule is what a write must do: the rules of a keyspace, or the strictest of several.
type rule struct {
	policy      policy.Policy
	timeout     time.Duration
	unreachable OnUnreachable
	request     string // id that the client gave the write; empty for none
	lag         MaxLag
	degrade     *degradations // where unreachable is degrade; else not used
	auth        uint64        // revision of users and roles that permit the write; 0 while authentication is off
	asked       policy.Policy // once a write is under way: policy before any degradation
	single      *single       // the single-writer keyspace that the write is in; nil in multi-writer ones
}

// patience is how long a write may wait beside its commit: for the peers, and for the RPO budget before.
func (r *rule) patience() time.Duration {
	if r.lag.bounded() {
		return 2 * r.timeout
	}
	return r.timeout
}

// weakest is what a sum of rules begins with.
var weakest = rule{unreachable: UnreachableDegrade}

// add makes r as strict as o: the stronger policy, the longer timeout, "fail" rather than "wait" rather
// than "degrade", and the smaller RPO budget.
func (r *rule) add(o rule) {
	r.policy = max(r.policy, o.policy)
	r.timeout = max(r.timeout, o.timeout)
	if o.unreachable == UnreachableFail || r.unreachable == UnreachableDegrade {
		r.unreachable = o.unreachable
	}
	r.degrade = r.degrade.with(o.degrade)
	r.lag.add(o.lag)
}

type space struct {
	prefix string
	rule   rule
}

// keyspaces finds the rules of a key or a range. It is immutable.
type keyspaces struct {
	root      rule
	nested    []space // prefixes that are not empty, longest first
	anySingle bool    // some keyspace has one writer
}

// newKeyspaces checks the configured keyspaces and fills in what they inherit. single.go says which of them have
// one writer.
func newKeyspaces(config []Keyspace, maxTimeout time.Duration) (*keyspaces, error) {
	limits := defaultDegrade
	root := rule{
		policy: policy.Async, timeout: min(defaultPolicyTimeout, maxTimeout), unreachable: UnreachableFail,
		lag: MaxLag{OnExceed: ExceedFail},
	}
	seen := map[string]bool{}
	for _, k := range config {
		if seen[k.Prefix] {
			return nil, fmt.Errorf("keyspace %q is there twice", k.Prefix)
		}
		seen[k.Prefix] = true
		if err := k.validate(maxTimeout); err != nil {
			return nil, err
		}
		if k.Prefix == "" {
			root, limits = k.over(root), k.Degrade.over(limits)
		}
	}
	if root.unreachable == UnreachableDegrade {
		root.degrade = newDegradation("", limits)
	}
	singles, err := newSingles(config)
	if err != nil {
		return nil, err
	}
	root.single = singles[""]
	ks := &keyspaces{root: root, anySingle: len(singles) > 0}
	for _, k := range config {
		if k.Prefix != "" {
			r := k.over(root)
			r.single = singles[k.Prefix]
			if r.degrade = nil; r.unreachable == UnreachableDegrade {
				r.degrade = newDegradation(k.Prefix, k.Degrade.over(limits))
			}
			ks.nested = append(ks.nested, space{k.Prefix, r})
		}
	}
	slices.SortFunc(ks.nested, func(a, b space) int {
		return cmp.Or(cmp.Compare(len(b.prefix), len(a.prefix)), cmp.Compare(a.prefix, b.prefix))
	})
	return ks, nil
}

func (k Keyspace) validate(maxTimeout time.Duration) error {
	switch k.Mode {
	case "", MultiWriter, SingleWriter:
	default:
		return fmt.Errorf("keyspace %q: mode %q is unknown; use %s or %s", k.Prefix, k.Mode, MultiWriter, SingleWriter)
	}
	if k.Policy != nil && *k.Policy > policy.All {
		return fmt.Errorf("keyspace %q: policy %s is unknown; use ALL, QUORUM, ANY or ASYNC", k.Prefix, *k.Policy)
	}
	if k.Timeout < 0 || k.Timeout > maxTimeout {
		return fmt.Errorf("keyspace %q: timeout %s is not between 0 and %s", k.Prefix, k.Timeout, maxTimeout)
	}
	switch k.OnUnreachable {
	case "", UnreachableFail, UnreachableWait, UnreachableDegrade:
	default:
		return fmt.Errorf("keyspace %q: on_unreachable %q is not supported by this version; use %s, %s or %s",
			k.Prefix, k.OnUnreachable, UnreachableFail, UnreachableWait, UnreachableDegrade)
	}
	switch k.OnTimeout {
	case "", TimeoutError:
	default:
		return fmt.Errorf("keyspace %q: on_timeout %q is not supported by this version; use %s", k.Prefix, k.OnTimeout, TimeoutError)
	}
	if err := k.Degrade.validate(); err != nil {
		return fmt.Errorf("keyspace %q: %w", k.Prefix, err)
	}
	if err := k.MaxLag.validate(); err != nil {
		return fmt.Errorf("keyspace %q: %w", k.Prefix, err)
	}
	return nil
}

func (k Keyspace) over(r rule) rule {
	if k.Policy != nil {
		r.policy = *k.Policy
	}
	if k.Timeout != 0 {
		r.timeout = k.Timeout
	}
	if k.OnUnreachable != "" {
		r.unreachable = k.OnUnreachable
	}
	r.lag = k.MaxLag.over(r.lag)
	return r
}

// each calls fn for every keyspace, "" first.
func (ks *keyspaces) each(fn func(prefix string, r rule)) {
	fn("", ks.root)
	for i := range ks.nested {
		fn(ks.nested[i].prefix, ks.nested[i].rule)
	}
}

// watchesPeers says whether any rule depends on what the peers' lag is.
func (ks *keyspaces) watchesPeers() (needed bool) {
	ks.each(func(_ string, r rule) { needed = needed || r.lag.bounded() || r.degrade != nil })
	return needed
}

// ofKey is the rule of the longest prefix that matches.
func (ks *keyspaces) ofKey(key []byte) rule {
	for i := range ks.nested {
		if p := ks.nested[i].prefix; len(key) >= len(p) && string(key[:len(p)]) == p {
			return ks.nested[i].rule
		}
	}
	return ks.root
}

// ofRange is the strictest of the keyspaces that a range can touch. End is as in etcd.
func (ks *keyspaces) ofRange(key, end []byte) rule {
	if len(end) == 0 || len(ks.nested) == 0 {
		return ks.ofKey(key)
	}
	r := weakest
	ks.touched(key, end, func(_ string, o *rule) { r.add(*o) })
	return r
}

// touched calls fn for the keyspaces that a range can touch: the one that holds the whole range, and all that
// begin inside it. (A keyspace whose part of the range is covered by nested ones altogether counts too; that errs
// on the strict side.)
func (ks *keyspaces) touched(key, end []byte, fn func(prefix string, r *rule)) {
	from, to := string(key), string(end)
	switch {
	case to == "\x00":
		to = "" // no end
	case to == "" || to <= from:
		to = from + "\x00"
	}
	for i := range ks.nested { // longest first: the first that holds the range is the innermost
		s := &ks.nested[i]
		last := prefixEnd(s.prefix)
		switch {
		case strings.HasPrefix(from, s.prefix) && (last == "" || to != "" && to <= last):
			fn(s.prefix, &s.rule)
			return
		case (to == "" || s.prefix < to) && (last == "" || from < last):
			fn(s.prefix, &s.rule)
		}
	}
	fn("", &ks.root)
}

// prefixEnd is the first key behind all that have the prefix; "" when there is none.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
