package replication

import (
	"fmt"
	"strings"
)

// Names on NATS. The origin is the DC whose chain it is about; all are in its account on its servers, and a
// peer sees them under the same names, except the JetStream API (accounts.go).
//
//	GEO_<origin>                     the outbox stream
//	geogate.<origin>.live            its frames for all peers
//	geogate.<origin>.diff.<peer>     its frames for one peer that lags behind the live ones
//	geogate.<origin>.sync.<peer>     handshake, request and reply
//	geogate.<origin>.ping.<peer>     round trip, request and reply
//	geogate.<origin>.ack.<peer>      acks of the peer
//	geogate.<origin>.fetch.<peer>    snapshots and third DCs' frames, one request and many replies
//	geogate.<origin>.verify.<peer>   comparison of the data, request and reply
//	geogate.<origin>.home.<peer>     commands to the acceptors of the homes' register, request and reply
//	geogate.<origin>.call.<peer>     requests of clients that the origin's leader must answer, in parts
const root = "geogate"

// peerAPIPrefix is where a peer of an embedded server finds the JetStream API: not at $JS.API, which the
// server refuses as an import.
const peerAPIPrefix = root + ".js"

func streamName(origin string) string        { return "GEO_" + token(origin) }
func consumerName(peer string) string        { return token(peer) }
func liveSubject(origin string) string       { return subject(origin, "live") }
func diffSubject(origin, peer string) string { return subject(origin, "diff", token(peer)) }
func syncSubject(origin, peer string) string { return subject(origin, "sync", token(peer)) }
func pingSubject(origin, peer string) string { return subject(origin, "ping", token(peer)) }
func ackSubject(origin, peer string) string  { return subject(origin, "ack", token(peer)) }
func fetchSubject(origin, peer string) string {
	return subject(origin, "fetch", token(peer))
}

func verifySubject(origin, peer string) string {
	return subject(origin, "verify", token(peer))
}

func homeSubject(origin, peer string) string { return subject(origin, "home", token(peer)) }
func callSubject(origin, peer string) string { return subject(origin, "call", token(peer)) }

func subject(origin string, rest ...string) string {
	return root + "." + token(origin) + "." + strings.Join(rest, ".")
}

// token turns a name into one token of a subject, which is also fit for a stream's or consumer's name: a
// byte outside A-Z a-z 0-9 _ - becomes = and two hexadecimal digits. Different names stay different.
func token(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}

// lastToken is the peer's token in a subject.
func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }
