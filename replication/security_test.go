package replication

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"geogate/replication/event"
	"geogate/replication/policy"
	"geogate/replication/wire"
)

// dialAs connects to a node's server with a key, as anyone could.
func dialAs(t *testing.T, e *Engine, key nkeys.KeyPair) (*nats.Conn, error) {
	t.Helper()
	nc, err := nats.Connect("nats://"+e.Addr(), nats.Nkey(public(t, key), key.Sign), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

func TestStrangersAreRefused(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	if _, err := dialAs(t, c.engine("a"), userKey(t)); err == nil {
		t.Error("an unknown key was let in")
	}
	if _, err := nats.Connect("nats://"+c.engine("a").Addr(), nats.NoReconnect()); err == nil {
		t.Error("a client without a key was let in")
	}
}

// TestPeerReachesNothingElse uses b's key by hand against a's server.
func TestPeerReachesNothingElse(t *testing.T) {
	c := newCluster(t, nil, "a", "b", "c")
	c.healthy(10 * time.Second)
	for range 5 {
		c.dcs["a"].write(t, []byte("x"))
	}
	c.settle(5 * time.Second)
	a := c.engine("a")
	nc, err := dialAs(t, a, c.keys["b"])
	if err != nil {
		t.Fatal(err)
	}
	messages := func() uint64 {
		s, err := a.js.Stream(context.Background(), streamName("a"))
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	before := messages()

	// An ack that c would have signed can't be had; one that was seen on the wire could be repeated, if only
	// it could be sent as c's. So spy on that subject from inside.
	seen := make(chan *nats.Msg, 100)
	spy, err := a.nc.ChanSubscribe("geogate.a.ack.c", seen)
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Unsubscribe()
	mark := []byte("injected")

	next := ".CONSUMER.MSG.NEXT." + streamName("a") + "." + consumerName("b")
	request := []byte(`{"batch":5,"expires":1000000000}`)
	for _, subject := range []string{liveSubject("a"), diffSubject("a", "b"), ackSubject("a", "c"), "$JS.API.STREAM.DELETE.GEO_a", "$JS.API" + next} {
		nc.Publish(subject, mark)
		for _, sneaky := range []string{liveSubject("a"), ackSubject("a", "c"), "_R_.x", "$JS.ACK.x"} {
			nc.PublishRequest(subject, sneaky, mark)
		}
	}
	for _, allowed := range []string{peerAPIPrefix + next, syncSubject("a", "b"), pingSubject("a", "b"), ackSubject("a", "b")} {
		for _, reply := range []string{liveSubject("a"), ackSubject("a", "c"), "$JS.API.STREAM.DELETE.GEO_a", "$JS.ACK.GEO_a.b.1.1.1.1.1"} {
			nc.PublishRequest(allowed, reply, request)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, api := range []string{"$JS.API", peerAPIPrefix} {
		js, err := jetstream.NewWithAPIPrefix(nc, api, jetstream.WithDefaultTimeout(200*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(context.Background(), streamName("a")); err == nil {
			t.Errorf("deleted the stream through %s", api)
		}
		if _, err := js.CreateConsumer(context.Background(), streamName("a"), jetstream.ConsumerConfig{}); err == nil {
			t.Errorf("created a consumer through %s", api)
		}
		if _, err := js.Consumer(context.Background(), streamName("a"), consumerName("c")); err == nil {
			t.Errorf("looked up another peer's consumer through %s", api)
		}
	}
	if sub, err := nc.SubscribeSync(">"); err == nil {
		if m, err := sub.NextMsg(300 * time.Millisecond); err == nil {
			t.Errorf("overheard a message on %s", m.Subject)
		}
	}
	if got := messages(); got != before {
		t.Errorf("the stream has %d messages, it had %d", got, before)
	}
	for {
		select {
		case m := <-seen:
			if err := a.verifiers["c"].Open(wire.Kind_KIND_ACK, m.Data, &wire.Ack{}); err != nil {
				t.Errorf("a message that is not c's arrived as its ack: %q", m.Data)
			}
			continue
		default:
		}
		break
	}
	// All goes on as before.
	rev := c.dcs["a"].write(t, []byte("y"))
	if _, err := a.Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
}

func TestForgedAcks(t *testing.T) {
	c := prepareCluster(t, nil, "a", "b", "c")
	c.start("a", "n1")
	c.nodes["a"]["n1"].lead(1)
	a, l := c.engine("a"), c.engine("a").current.Load()
	rev := c.dcs["a"].write(t, []byte("x"))
	at := c.dcs["a"].Position("a")
	good := func() *wire.Ack {
		return &wire.Ack{From: "b", To: "a", Incarnation: 7, Term: 1, Seq: 1, Position: wire.FromPosition(at)}
	}
	signer := func(k nkeys.KeyPair) *wire.Signer {
		s, err := wire.NewSigner(k)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, forge := range map[string]func() (*wire.Ack, *wire.Signer, string){
		"signed with a stranger's key": func() (*wire.Ack, *wire.Signer, string) {
			return good(), signer(userKey(t)), ackSubject("a", "b")
		},
		"c's key, as b": func() (*wire.Ack, *wire.Signer, string) {
			return good(), signer(c.keys["c"]), ackSubject("a", "b")
		},
		"b's own, on c's subject": func() (*wire.Ack, *wire.Signer, string) {
			return good(), signer(c.keys["b"]), ackSubject("a", "c")
		},
		"c's own, claiming to be b": func() (*wire.Ack, *wire.Signer, string) {
			return good(), signer(c.keys["c"]), ackSubject("a", "c")
		},
		"meant for c": func() (*wire.Ack, *wire.Signer, string) {
			ack := good()
			ack.To = "c"
			return ack, signer(c.keys["b"]), ackSubject("a", "b")
		},
		"another incarnation of a": func() (*wire.Ack, *wire.Signer, string) {
			ack := good()
			ack.Position.Incarnation++
			return ack, signer(c.keys["b"]), ackSubject("a", "b")
		},
		"ahead of what is committed": func() (*wire.Ack, *wire.Signer, string) {
			ack := good()
			ack.Seq, ack.Position.Revision = 2, rev+1
			return ack, signer(c.keys["b"]), ackSubject("a", "b")
		},
		"another hash": func() (*wire.Ack, *wire.Signer, string) {
			ack := good()
			ack.Seq, ack.Position.Hash = 3, make([]byte, 32)
			return ack, signer(c.keys["b"]), ackSubject("a", "b")
		},
	} {
		ack, s, subject := forge()
		b, err := s.Seal(wire.Kind_KIND_ACK, ack)
		if err != nil {
			t.Fatal(err)
		}
		l.countAck(l.peers[l.byToken[lastToken(subject)]], b)
		for _, peer := range []string{"b", "c"} {
			if acked, known := l.tracker.Acked(peer); known {
				t.Errorf("%s: counted %d for %s", name, acked, peer)
			}
		}
	}
	if err := a.Check(policy.Quorum); err != nil && !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}

	send := func(key string, edit func(*wire.Ack)) {
		ack := good()
		edit(ack)
		b, err := signer(c.keys[key]).Seal(wire.Kind_KIND_ACK, ack)
		if err != nil {
			t.Fatal(err)
		}
		l.countAck(l.peers[key], b)
	}
	send("b", func(x *wire.Ack) { x.Seq = 10 })
	if acked, known := l.tracker.Acked("b"); !known || acked != rev {
		t.Fatalf("the honest ack did not count: %d, %v", acked, known)
	}
	contact := l.peers["b"].contact
	send("b", func(x *wire.Ack) { x.Seq, x.Position = 9, &wire.Position{} })
	if acked, _ := l.tracker.Acked("b"); acked != rev {
		t.Error("an old ack moved the watermark back")
	}
	if l.peers["b"].contact != contact {
		t.Error("a repeated ack passed for a sign of life")
	}
	send("b", func(x *wire.Ack) { x.Incarnation, x.Position = 8, &wire.Position{} })
	if acked, _ := l.tracker.Acked("b"); acked != 0 {
		t.Error("a peer that begins anew still counts for what its data had before")
	}
	send("b", func(x *wire.Ack) { x.Seq = 11 })
	if acked, _ := l.tracker.Acked("b"); acked != 0 {
		t.Error("an ack of the incarnation that has ended counted")
	}
}

// TestForgedFrame puts frames into a's stream that a did not sign, as whoever runs its NATS could.
func TestForgedFrame(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	at := c.dcs["a"].Position("a")
	forged, err := event.Seal(&event.Frame{
		Origin: "a", Incarnation: at.Incarnation, PrevRevision: at.Revision, PrevHash: at.Hash,
		Txns: []event.Txn{{Revision: at.Revision + 1, Ops: []event.Op{{Kind: event.OpDelete, Key: []byte("all")}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := wire.NewSigner(userKey(t))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := wire.NewPacker(stranger, nil, wire.Limits{Part: 1 << 20, Run: 1}).Pack([]event.Sealed{forged}, wire.Reader{Zstd: true})
	if err != nil {
		t.Fatal(err)
	}
	garbage := [][]byte{packed.Parts[0], []byte("garbage"), {}, []byte(strings.Repeat("\xff", 100))}
	for _, message := range garbage {
		if _, err := c.engine("a").js.Publish(context.Background(), liveSubject("a"), message); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		c.dcs["a"].write(t, []byte("honest"))
	}
	c.settle(15 * time.Second)
	if c.dcs["b"].frames["a"][1].Hash == forged.Hash {
		t.Error("the forged frame was applied")
	}
}

func TestLargeFrame(t *testing.T) {
	c := newCluster(t, nil, "a", "b")
	value := random(2 << 20)
	rev := c.dcs["a"].write(t, value)
	if _, err := c.engine("a").Wait(within(t, 10*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	s, err := c.engine("a").js.Stream(context.Background(), streamName("a"))
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n < 4 {
		t.Errorf("2 MiB travelled in %d messages", n)
	}
	c.settle(5 * time.Second)
}

// TestStalledPull: the link is up and beats, but the consumer gives nothing.
func TestStalledPull(t *testing.T) {
	c := newCluster(t, func(cfg *Config) { cfg.StallAfter, cfg.PingInterval = 500*time.Millisecond, 100*time.Millisecond }, "a", "b")
	c.dcs["a"].write(t, []byte("x"))
	c.settle(5 * time.Second)
	js := c.engine("a").js
	if _, err := js.PauseConsumer(context.Background(), streamName("a"), consumerName("b"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	rev := c.dcs["a"].write(t, []byte("y"))
	if _, err := c.engine("a").Wait(within(t, 5*time.Second), rev, policy.All); err != nil {
		t.Fatal(err)
	}
	c.settle(time.Second)
}
