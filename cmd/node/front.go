package node

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"geogate/configs"
	"geogate/gateway"
	"geogate/gateway/admin"
	"geogate/replication/policy"
)

func (n *Node) openGateway() error {
	t := n.cfg.Topology
	client, between := n.tls.client, n.tls.raft
	if client != nil && between == nil {
		between = client
	}
	spaces, err := keyspaces(t, n.site.Witness)
	if err != nil {
		return err
	}
	l, err := listen("client", n.spec.Client)
	if err != nil {
		return err
	}
	gc := gateway.Config{
		Listener: l, TLS: client, ForwardTLS: between,
		ClusterID: clusterID(t, n.cfg.DC), MemberID: n.id, Membership: n.roster,
		Datacenter: gateway.Local{DC: n.dc}, Inspector: gateway.Local{DC: n.dc}, Replication: n.engine,
		Users: gateway.Local{DC: n.dc}, TokenTTL: t.Auth.TokenTTL, BcryptCost: t.Auth.BcryptCost, MaxWaitingLogins: t.Auth.MaxWaitingLogins,
		Witness:   n.site.Witness,
		Keyspaces: spaces, MaxRequestBytes: int(t.Limits.MaxRequestBytes), MaxTxnOps: t.Limits.MaxTxnOps,
		Metrics:    promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}),
		QuotaBytes: int64(t.Storage.QuotaBytes), ProgressInterval: t.Timing.WatchProgress, Uptime: uptime(n.spec.Dir, n.log),
		Logger: n.log, Registerer: n.registry,
	}
	n.others(&gc)
	if n.gateway, err = gateway.New(gc); err == nil && n.calls != nil {
		n.calls.to.Store(n.gateway)
	}
	return closeOnError(l, err)
}

func (n *Node) openAdmin() error {
	l, err := listen("admin", n.spec.Admin)
	if err != nil {
		return err
	}
	homes, aside := n.homesOf()
	n.admin, err = admin.New(admin.Config{
		Listener: l, DC: n.cfg.DC, MemberID: n.id, Members: n.roster.Members,
		Inspector: gateway.Local{DC: n.dc}, Leadership: n.dc, Peers: n.engine, Verification: n.engine, Replica: n.dc, Conflicts: n.dc, Keyspaces: n.gateway, Clock: n.engine,
		Homes: homes, Quarantine: aside,
		Ready: n.dc.Linearize, Gatherer: n.registry, Logger: n.log,
	})
	return closeOnError(l, err)
}

// closeOnError gives a port back when nobody took it over.
func closeOnError(l net.Listener, err error) error {
	if err != nil {
		_ = l.Close()
	}
	return err
}

func scheme(t configs.TLS) string {
	if t.Enabled() {
		return "https://"
	}
	return "http://"
}

// keyspaces translates the topology's words.
func keyspaces(t *configs.Topology, witness bool) (out []gateway.Keyspace, err error) {
	for _, k := range t.AllKeyspaces() {
		if witness && k.Mode == configs.SingleWriter {
			continue // it serves none
		}
		p, err := policy.Parse(strings.TrimSpace(k.Policy))
		if err != nil {
			return nil, fmt.Errorf("keyspace %q: %w", k.Prefix, err)
		}
		to, err := policy.Parse(strings.TrimSpace(k.Degrade.To))
		if err != nil {
			return nil, fmt.Errorf("keyspace %q: degrade: %w", k.Prefix, err)
		}
		out = append(out, gateway.Keyspace{
			Degrade: gateway.Degrade{
				To: &to, MaxTime: time.Duration(k.Degrade.MaxSeconds) * time.Second, MaxBytes: int64(k.Degrade.MaxBytes),
				RecoverAfter: k.Degrade.RecoverAfter, RecoverLag: k.Degrade.RecoverLag,
			},
			Prefix: k.Prefix, Mode: gateway.Mode(k.Mode), Home: k.Home, Forward: k.Forward, Policy: &p, Timeout: k.Timeout,
			MaxLag: gateway.MaxLag{
				Age: k.MaxLag.Age, Transactions: int64(k.MaxLag.Transactions), Bytes: int64(k.MaxLag.Bytes),
				OnExceed: gateway.OnExceed(k.MaxLag.OnExceed),
			},
			OnUnreachable: gateway.OnUnreachable(k.OnUnreachable), OnTimeout: gateway.OnTimeout(k.OnTimeout),
		})
	}
	return out, nil
}
