package configs

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	"filippo.io/edwards25519"
	"github.com/nats-io/nkeys"
)

func (t *Topology) checkDatacenters(report reporter) {
	if len(t.Datacenters) == 0 {
		report("datacenters", "is missing or empty; describe at least one datacenter with its nodes")
	}
	names, keys, addrs := map[string]string{}, map[string]string{}, map[string]string{}
	for i := range t.Datacenters {
		d := &t.Datacenters[i]
		path := fmt.Sprintf("datacenters[%d]", i)
		if checkName(report, path+".name", d.Name) {
			once(report, names, path+".name", d.Name)
		}
		t.checkKey(report, path, d, keys)
		checkNATS(report, path+".nats", d.NATS)
		t.checkNodes(report, path, d, addrs)
		t.checkWitness(report, path, d)
	}
}

// once reports a value that an earlier setting has too.
func once(report reporter, seen map[string]string, path, value string) {
	if first, ok := seen[value]; ok {
		report(path, "%q is used by %s already; each needs its own", value, first)
		return
	}
	seen[value] = path
}

// checkKey wants both halves of the key pair as soon as there is anybody to talk to.
func (t *Topology) checkKey(report reporter, path string, d *Datacenter, keys map[string]string) {
	if len(t.Datacenters) > 1 || d.KeyFile != "" {
		if d.PublicKey == "" {
			report(path+".public_key", "is missing; `geogate config keys --dir keys %s` makes a key and prints this line", d.Name)
		}
		if d.KeyFile == "" {
			report(path+".key_file", "is missing; it names the seed file that belongs to public_key")
		}
	}
	if d.PublicKey == "" {
		return
	}
	if !nkeys.IsValidPublicUserKey(d.PublicKey) {
		report(path+".public_key", "%q is not the public key of an nkey user: 56 letters and digits that start with U", d.PublicKey)
		return
	}
	if !onCurve(d.PublicKey) {
		report(path+".public_key", "%q is well formed, but no point of the curve of nkeys, so nobody can have its private half; copy the key again, or make one with `geogate config keys --dir keys %s`", d.PublicKey, d.Name)
		return
	}
	once(report, keys, path+".public_key", d.PublicKey)
}

// onCurve says whether a well-formed key can belong to anyone: the secrets that datacenters share come from it.
func onCurve(public string) bool {
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(public))
	if err != nil {
		return false
	}
	_, err = new(edwards25519.Point).SetBytes(raw)
	return err == nil
}

func checkNATS(report reporter, path string, n NATS) {
	checkWord(report, path+".mode", n.Mode, Embedded, External)
	for i, u := range n.URLs {
		checkURL(report, fmt.Sprintf("%s.urls[%d]", path, i), u)
	}
	for i, u := range n.PeerURLs {
		checkURL(report, fmt.Sprintf("%s.peer_urls[%d]", path, i), u)
	}
	switch n.Mode {
	case External:
		if len(n.URLs) == 0 {
			report(path+".urls", "is missing; external mode needs the URLs of the NATS cluster to use")
		}
		if n.Replicas < 1 || n.Replicas > 5 {
			report(path+".replicas", "is %d, want 1 to 5; 3 is usual", n.Replicas)
		}
	case Embedded:
		if len(n.URLs) > 0 || n.CredsFile != "" || n.Replicas != 0 || len(n.PeerURLs) > 0 || n.PeerCredsFile != "" || n.PeerAPIPrefix != "" {
			report(path+".mode", "is embedded, but there are settings beside it that only external mode has; remove them, or set mode: external")
		}
	}
}

// maxNodes is five that serve and two on their way in or out.
const maxNodes = 7

func (t *Topology) checkNodes(report reporter, path string, d *Datacenter, addrs map[string]string) {
	joining := len(d.Nodes) > len(d.Founders())
	switch n := len(d.Nodes); {
	case n == 0:
		report(path+".nodes", "is missing or empty; a datacenter has 1, 3 or 5 nodes")
	case n > maxNodes:
		report(path+".nodes", "has %d nodes, want at most %d: each write would wait for more of them", n, maxNodes)
	case joining, n == 1, n == 3, n == 5: // with nodes that join, a group on its way from one size to another
	default:
		report(path+".nodes", "has %d nodes, want 1, 3 or 5: an even number survives no more failures than one less", len(d.Nodes))
	}
	names := map[string]string{}
	for i, n := range d.Nodes {
		at := fmt.Sprintf("%s.nodes[%d]", path, i)
		if checkName(report, at+".name", n.Name) {
			once(report, names, at+".name", n.Name)
		}
		checkAddr(report, addrs, at+".client", n.Client, true)
		checkAddr(report, addrs, at+".raft", n.Raft, true)
		checkAddr(report, addrs, at+".admin", n.Admin, false)
		if n.NATS != "" || d.NATS.Mode == Embedded && len(t.Datacenters) > 1 {
			checkAddr(report, addrs, at+".nats", n.NATS, true)
		}
		if n.Dir == "" {
			report(at+".dir", "is missing; name the folder for the node's data, such as /var/lib/geogate")
			continue
		}
		host, _, err := net.SplitHostPort(n.Raft)
		if err == nil {
			once(report, addrs, at+".dir", "folder "+n.Dir+" on "+host)
		}
	}
}

// checkAddr wants host:port. What others dial needs a host that means something on their machines.
func checkAddr(report reporter, seen map[string]string, path, addr string, dialled bool) {
	if addr == "" {
		report(path, "is missing, want host:port, such as 10.0.0.1:2379")
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		report(path, "%q is not host:port, such as 10.0.0.1:2379 or [fd00::1]:2379", addr)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		report(path, "%q has port %q, want a number from 1 to 65535", addr, port)
		return
	}
	if ip := net.ParseIP(host); dialled && (host == "" || ip != nil && ip.IsUnspecified()) {
		report(path, "%q can't be dialled by others; write the machine's own name or address", addr)
		return
	}
	once(report, seen, path, addr)
}

func checkURL(report reporter, path, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Port() == "" || u.Hostname() == "" {
		report(path, "%q is not a NATS URL, want nats://host:port or tls://host:port", text)
	}
}

func (t *Topology) checkLinks(report reporter) {
	pairs := map[string]string{}
	for i, l := range t.Links {
		path := fmt.Sprintf("links[%d]", i)
		_, okFrom := t.Datacenter(l.From)
		to, okTo := t.Datacenter(l.To)
		if !okFrom {
			report(path+".from", "found %q, want the name of a datacenter of this file", l.From)
		}
		switch {
		case !okTo:
			report(path+".to", "found %q, want the name of a datacenter of this file", l.To)
		case l.From == l.To:
			report(path+".to", "is %q as is `from`; a link joins two datacenters", l.To)
		case okFrom:
			once(report, pairs, path, l.From+" to "+l.To)
		}
		if len(l.Endpoints) == 0 {
			report(path+".endpoints", "is missing or empty; list where %s reaches the nodes of %s", l.From, l.To)
		}
		for j, e := range l.Endpoints {
			at := fmt.Sprintf("%s.endpoints[%d]", path, j)
			checkURL(report, at+".url", e.URL)
			if okTo && (e.Node != "" || to.NATS.Mode == Embedded) {
				if _, ok := to.Node(e.Node); !ok {
					report(at+".node", "found %q, want the name of a node of %s", e.Node, l.To)
				}
			}
		}
	}
}

// checkTLS wants both halves of a certificate, and a CA where both ends are ours.
func checkTLS(report reporter, path string, t TLS, mutual bool) {
	if !t.Enabled() {
		return
	}
	if t.Cert == "" {
		report(path+".cert", "is missing; it names the PEM file of the certificate")
	}
	if t.Key == "" {
		report(path+".key", "is missing; it names the PEM file of the certificate's key")
	}
	if t.CA == "" && mutual {
		report(path+".ca", "is missing; both ends check each other here, so name the PEM file of the CA")
	}
}
