package configs

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Topology is a whole cluster: its datacenters, how writes wait, and the bounds that every node keeps.
type Topology struct {
	// Cluster names the cluster. Nodes of another name are refused. A DNS label.
	Cluster string `yaml:"cluster"`
	// Policy is what a write gets that names none and whose keyspace names none.
	Policy Policy `yaml:"policy"`
	// Security is empty for a cluster on one machine; across machines every part should be set.
	Security Security `yaml:"security,omitempty"`
	// Datacenters are the sites, at least one. The order means nothing.
	Datacenters []Datacenter `yaml:"datacenters"`
	// Keyspaces hold what differs by key prefix. The longest matching prefix wins; "" always exists.
	Keyspaces []Keyspace `yaml:"keyspaces,omitempty"`
	// Links say how one datacenter reaches another's NATS where that differs from the nodes' addresses.
	Links []Link `yaml:"links,omitempty"`
	// Auth is about users and their passwords, which `etcdctl auth enable` turns on.
	Auth Auth `yaml:"auth"`
	// Limits bound memory, disk and message sizes.
	Limits Limits `yaml:"limits"`
	// Storage bounds each node's database.
	Storage Storage `yaml:"storage"`
	// Compaction drops history without being asked.
	Compaction Compaction `yaml:"compaction"`
	// Timing holds intervals and timeouts.
	Timing Timing `yaml:"timing"`
	// Verification says how datacenters compare their data.
	Verification Verification `yaml:"verification"`
	// Log says how nodes log to stderr.
	Log Log `yaml:"log"`
}

// Policy says how a write waits for other datacenters.
type Policy struct {
	// Default is ALL, QUORUM, ANY or ASYNC.
	Default string `yaml:"default"`
	// Timeout bounds the wait for other datacenters, from the local commit on.
	Timeout time.Duration `yaml:"timeout"`
	// OnUnreachable is what happens when the policy can't be met by the peers that are up: fail, wait or degrade.
	OnUnreachable string `yaml:"on_unreachable"`
	// OnTimeout is what a write answers whose policy was not met in time; error is the only choice.
	OnTimeout string `yaml:"on_timeout"`
	// Degrade bounds what on_unreachable: degrade may do.
	Degrade Degrade `yaml:"degrade"`
	// MaxLag is how far the peers may be behind before writes are held back.
	MaxLag MaxLag `yaml:"max_lag"`
}

// Degrade says how writes go on under a weaker policy when theirs can't be met, and for how long. Of a
// keyspace, what is zero is the cluster's.
type Degrade struct {
	// To is the weaker policy: QUORUM, ANY or ASYNC.
	To string `yaml:"to,omitempty"`
	// MaxSeconds bounds the time, from the first such write until the policy can be met again.
	MaxSeconds int `yaml:"max_seconds,omitempty"`
	// MaxBytes bounds what is written meanwhile.
	MaxBytes Bytes `yaml:"max_bytes,omitempty"`
	// RecoverAfter is for how long the peers must have been back and close before the policy holds again.
	RecoverAfter time.Duration `yaml:"recover_after,omitempty"`
	// RecoverLag is what counts as close: the age of the oldest transaction that a peer has not confirmed.
	RecoverLag time.Duration `yaml:"recover_lag,omitempty"`
}

// MaxLag is the RPO budget: how much may be committed here that the peers have not confirmed. A bound of
// zero is none; of a keyspace it is the cluster's.
type MaxLag struct {
	// Age bounds the age of the oldest transaction that is not confirmed.
	Age time.Duration `yaml:"age,omitempty"`
	// Transactions bounds their number.
	Transactions int `yaml:"transactions,omitempty"`
	// Bytes bounds their size.
	Bytes Bytes `yaml:"bytes,omitempty"`
	// OnExceed is what happens to a write over the budget: fail, or wait up to its timeout.
	OnExceed string `yaml:"on_exceed,omitempty"`
}

// Bounded says whether there is any bound.
func (m MaxLag) Bounded() bool { return m.Age != 0 || m.Transactions != 0 || m.Bytes != 0 }

// Datacenter is one site: a Raft group, its nodes and its NATS.
type Datacenter struct {
	// Name is a DNS label, unique in the cluster.
	Name string `yaml:"name"`
	// PublicKey is the site's user nkey ("U..."). Peers check frames, acks and connections against it.
	PublicKey string `yaml:"public_key,omitempty"`
	// KeyFile holds the seed of PublicKey. Only the site's own nodes read it.
	KeyFile string `yaml:"key_file,omitempty"`
	// Witness makes it a datacenter that votes on homes of single-writer keyspaces, and holds no data. One node.
	Witness bool `yaml:"witness,omitempty"`
	// NATS says whose JetStream carries this site's frames.
	NATS NATS `yaml:"nats,omitempty"`
	// Nodes are where the datacenter's nodes are. Those that do not join found the Raft group: 1, 3 or 5. Who
	// belongs to it afterwards the group itself knows, and this list only where they are.
	Nodes []Node `yaml:"nodes"`
}

// NATS says whose JetStream carries a datacenter's frames.
type NATS struct {
	// Mode is embedded (a server inside each node) or external (a NATS cluster that you run).
	Mode string `yaml:"mode,omitempty"`
	// URLs are what the site's own nodes dial in external mode.
	URLs []string `yaml:"urls,omitempty"`
	// CredsFile is a NATS credentials file for URLs; none when empty.
	CredsFile string `yaml:"creds_file,omitempty"`
	// Replicas of the outbox stream in external mode.
	Replicas int `yaml:"replicas,omitempty"`
	// PeerURLs are what peers dial in external mode; URLs when empty.
	PeerURLs []string `yaml:"peer_urls,omitempty"`
	// PeerCredsFile is a NATS credentials file for PeerURLs, on the peers' machines; none when empty.
	PeerCredsFile string `yaml:"peer_creds_file,omitempty"`
	// PeerAPIPrefix is the JetStream API as PeerURLs show it, when service imports rename it.
	PeerAPIPrefix string `yaml:"peer_api_prefix,omitempty"`
}

// Node is one geogate process. Each address is both where it listens and what others dial.
type Node struct {
	// Name is a DNS label, unique in its datacenter.
	Name string `yaml:"name"`
	// Client is the host:port of the etcd v3 API.
	Client string `yaml:"client"`
	// Raft is the host:port for the other nodes of the datacenter.
	Raft string `yaml:"raft"`
	// Admin is the host:port of status, metrics and health.
	Admin string `yaml:"admin"`
	// NATS is the host:port of the embedded NATS server, which peers dial. Unused in external mode.
	NATS string `yaml:"nats,omitempty"`
	// Dir holds the node's data.
	Dir string `yaml:"dir"`
	// Join says that on its first start the node enters the group that the others have founded.
	Join bool `yaml:"join,omitempty"`
}

// Keyspace holds the settings of all keys that start with Prefix. What is empty comes from [Policy].
type Keyspace struct {
	// Prefix may be "", which is every key that no other keyspace has.
	Prefix string `yaml:"prefix"`
	// Mode is multi-writer or single-writer.
	Mode string `yaml:"mode,omitempty"`
	// Home is the first home of a single-writer keyspace, and where failback goes. Which datacenter is home after
	// that, the datacenters decide among themselves.
	Home string `yaml:"home,omitempty"`
	// Forward passes writes and linearizable reads on to the home; else they are refused elsewhere. nil is true.
	Forward *bool `yaml:"forward,omitempty"`
	// AutomaticFailover moves the home when a majority of the datacenters holds it to be down.
	AutomaticFailover AutomaticFailover `yaml:"automatic_failover,omitempty"`
	// Policy, Timeout, OnUnreachable and OnTimeout are as in [Policy].
	Policy        string        `yaml:"policy,omitempty"`
	Timeout       time.Duration `yaml:"timeout,omitempty"`
	OnUnreachable string        `yaml:"on_unreachable,omitempty"`
	OnTimeout     string        `yaml:"on_timeout,omitempty"`
	// Degrade and MaxLag are as in [Policy], each of their settings by itself.
	Degrade Degrade `yaml:"degrade,omitempty"`
	MaxLag  MaxLag  `yaml:"max_lag,omitempty"`
}

// AutomaticFailover is off unless enabled.
type AutomaticFailover struct {
	Enabled bool `yaml:"enabled,omitempty"`
	// HoldOff is how long after a change of home none is started; 5 min when 0.
	HoldOff time.Duration `yaml:"hold_off,omitempty"`
}

// Forwards says whether requests are passed on to the home.
func (k *Keyspace) Forwards() bool { return k.Forward == nil || *k.Forward }

// NestedMultiWriters lists the prefixes of multi-writer keyspaces that lie within a single-writer one.
func (t *Topology) NestedMultiWriters() (out []string) {
	for _, k := range t.Keyspaces {
		if k.Mode == SingleWriter {
			continue
		}
		if slices.ContainsFunc(t.SingleWriters(), func(s Keyspace) bool { return len(s.Prefix) < len(k.Prefix) && strings.HasPrefix(k.Prefix, s.Prefix) }) {
			out = append(out, k.Prefix)
		}
	}
	return out
}

// SingleWriters lists the single-writer keyspaces, as they are in the file.
func (t *Topology) SingleWriters() (out []Keyspace) {
	for _, k := range t.Keyspaces {
		if k.Mode == SingleWriter {
			out = append(out, k)
		}
	}
	return out
}

// DataNames lists the datacenters that hold data.
func (t *Topology) DataNames() (out []string) {
	for _, d := range t.Datacenters {
		if !d.Witness {
			out = append(out, d.Name)
		}
	}
	return out
}

// Link says how the nodes of From reach the NATS of To: NAT, port forwarding, a proxy.
type Link struct {
	From      string     `yaml:"from"`
	To        string     `yaml:"to"`
	Endpoints []Endpoint `yaml:"endpoints"`
}

// Endpoint is one way to a node's NATS.
type Endpoint struct {
	// Node is the node of the link's To that answers there.
	Node string `yaml:"node"`
	// URL is nats://host:port or tls://host:port.
	URL string `yaml:"url"`
}

// Log says how nodes log to stderr.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// Datacenter finds a datacenter by name.
func (t *Topology) Datacenter(name string) (*Datacenter, bool) {
	i := slices.IndexFunc(t.Datacenters, func(d Datacenter) bool { return d.Name == name })
	if i < 0 {
		return nil, false
	}
	return &t.Datacenters[i], true
}

// Names lists the datacenters in the order of the file.
func (t *Topology) Names() []string {
	out := make([]string, len(t.Datacenters))
	for i, d := range t.Datacenters {
		out[i] = d.Name
	}
	return out
}

// Node finds a node by name.
func (d *Datacenter) Node(name string) (*Node, bool) {
	i := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return nil, false
	}
	return &d.Nodes[i], true
}

// Founders are the nodes that found the datacenter's group.
func (d *Datacenter) Founders() (out []Node) {
	for _, n := range d.Nodes {
		if !n.Join {
			out = append(out, n)
		}
	}
	return out
}

// Keyspace is the keyspace of a key, its empty settings filled in from the cluster's policy.
func (t *Topology) Keyspace(key string) Keyspace {
	best := Keyspace{Mode: MultiWriter}
	for _, k := range t.Keyspaces {
		if strings.HasPrefix(key, k.Prefix) && len(k.Prefix) >= len(best.Prefix) {
			best = k
		}
	}
	return t.inherit(best)
}

// AllKeyspaces lists every keyspace with its settings filled in, the "" one included, longest prefix
// first, so that the first match is the right one.
func (t *Topology) AllKeyspaces() []Keyspace {
	out := make([]Keyspace, 0, len(t.Keyspaces)+1)
	whole := false
	for _, k := range t.Keyspaces {
		whole = whole || k.Prefix == ""
		out = append(out, t.inherit(k))
	}
	if !whole {
		out = append(out, t.inherit(Keyspace{}))
	}
	slices.SortStableFunc(out, func(a, b Keyspace) int { return len(b.Prefix) - len(a.Prefix) })
	return out
}

func (g Degrade) over(d Degrade) Degrade {
	return Degrade{
		To: cmp.Or(g.To, d.To), MaxSeconds: cmp.Or(g.MaxSeconds, d.MaxSeconds), MaxBytes: cmp.Or(g.MaxBytes, d.MaxBytes),
		RecoverAfter: cmp.Or(g.RecoverAfter, d.RecoverAfter), RecoverLag: cmp.Or(g.RecoverLag, d.RecoverLag),
	}
}

func (m MaxLag) over(d MaxLag) MaxLag {
	return MaxLag{
		Age: cmp.Or(m.Age, d.Age), Transactions: cmp.Or(m.Transactions, d.Transactions),
		Bytes: cmp.Or(m.Bytes, d.Bytes), OnExceed: cmp.Or(m.OnExceed, d.OnExceed),
	}
}

func (t *Topology) inherit(k Keyspace) Keyspace {
	if k.Mode == "" {
		k.Mode = MultiWriter
	}
	if k.Policy == "" {
		k.Policy = t.Policy.Default
	}
	if k.Timeout == 0 {
		k.Timeout = t.Policy.Timeout
	}
	if k.OnUnreachable == "" {
		k.OnUnreachable = t.Policy.OnUnreachable
	}
	if k.OnTimeout == "" {
		k.OnTimeout = t.Policy.OnTimeout
	}
	k.Degrade = k.Degrade.over(t.Policy.Degrade)
	k.MaxLag = k.MaxLag.over(t.Policy.MaxLag)
	return k
}

// Endpoints are the ways from one datacenter to another's NATS, in the order to try them: the link's, if
// there is one for this pair, else the nodes' own addresses (embedded) or the peer URLs (external, where
// Node is empty because no URL belongs to a node).
func (t *Topology) Endpoints(from, to string) []Endpoint {
	for _, l := range t.Links {
		if l.From == from && l.To == to {
			return slices.Clone(l.Endpoints)
		}
	}
	d, ok := t.Datacenter(to)
	if !ok {
		return nil
	}
	var out []Endpoint
	if d.NATS.Mode == External {
		urls := d.NATS.PeerURLs
		if len(urls) == 0 {
			urls = d.NATS.URLs
		}
		for _, u := range urls {
			out = append(out, Endpoint{URL: u})
		}
		return out
	}
	for _, n := range d.Nodes {
		out = append(out, Endpoint{Node: n.Name, URL: "nats://" + n.NATS})
	}
	return out
}
