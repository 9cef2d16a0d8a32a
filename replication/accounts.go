package replication

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// A peer's reach ends at its own account. A permission list alone would not do: the server does not check
// the reply subject of a request against it, so a peer that may only pull could have JetStream publish its
// answer into the outbox, or as another peer's ack. Through a service import the reply is replaced by one
// that leads back into the peer's own account, and nowhere else.

// responseTime is how long the way back of an unanswered request is remembered. It exceeds any pull expiry
// that makes sense.
const responseTime = time.Minute

func peerAccount(peer string) string { return "PEER_" + token(peer) }

// service is one subject that a peer may send to: under `to` in its account, `from` in GEO.
type service struct{ from, to string }

func servicesOf(local, peer string) []service {
	next := "CONSUMER.MSG.NEXT." + streamName(local) + "." + consumerName(peer)
	same := func(s string) service { return service{from: s, to: s} }
	return []service{
		{from: "$JS.API." + next, to: peerAPIPrefix + "." + next},
		same(syncSubject(local, peer)),
		same(pingSubject(local, peer)),
		same(ackSubject(local, peer)),
		same(fetchSubject(local, peer)),
		same(verifySubject(local, peer)),
		same(homeSubject(local, peer)),
		same(callSubject(local, peer)),
	}
}

// accountsOf builds the accounts and users of the embedded server: GEO for the engine, one for each peer.
func accountsOf(cfg *Config, engineKey string) ([]*server.Account, []*server.NkeyUser) {
	geo := server.NewAccount(geoAccount)
	accounts := []*server.Account{geo, server.NewAccount(systemAccount)}
	users := []*server.NkeyUser{{
		Nkey: engineKey, Account: geo, AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeInProcess: {}},
	}}
	for _, p := range cfg.Peers {
		acc := server.NewAccount(peerAccount(p.Name))
		var publish []string
		for _, s := range servicesOf(cfg.Local, p.Name) {
			publish = append(publish, s.to)
		}
		accounts = append(accounts, acc)
		users = append(users, &server.NkeyUser{Nkey: p.PublicKey, Account: acc, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}})
	}
	return accounts, users
}

// exportToPeers connects the peers' accounts to GEO. It works on the server's own copies of the accounts,
// which exist from NewServer on.
func exportToPeers(s *server.Server, cfg *Config) error {
	geo, err := s.LookupAccount(geoAccount)
	if err != nil {
		return fmt.Errorf("account %s: %w", geoAccount, err)
	}
	for _, p := range cfg.Peers {
		acc, err := s.LookupAccount(peerAccount(p.Name))
		if err != nil {
			return fmt.Errorf("account of %s: %w", p.Name, err)
		}
		for _, svc := range servicesOf(cfg.Local, p.Name) {
			if err := geo.AddServiceExportWithResponse(svc.from, server.Streamed, []*server.Account{acc}); err != nil {
				return fmt.Errorf("export %s to %s: %w", svc.from, p.Name, err)
			}
			if err := geo.SetServiceExportResponseThreshold(svc.from, responseTime); err != nil {
				return fmt.Errorf("export %s to %s: %w", svc.from, p.Name, err)
			}
			if err := acc.AddServiceImport(geo, svc.to, svc.from); err != nil {
				return fmt.Errorf("import %s by %s: %w", svc.from, p.Name, err)
			}
		}
	}
	return nil
}
