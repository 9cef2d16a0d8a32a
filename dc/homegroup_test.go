package dc

import (
	"context"
	"errors"
	"testing"
	"time"

	"geogate/replication/homes"
)

// A group with real logs: a command is answered once it is applied, followers apply it too, the rest of a long tail
// goes without being asked, and a restarted follower has all of it.
func TestHomesInAGroup(t *testing.T) {
	g := newGroupIn(t, Config{Name: "a", Peers: []string{"b"}, step: 10}, []string{t.TempDir(), t.TempDir(), t.TempDir()})
	lead := g.leader()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for changed := lead.Changed(); lead.Incarnation() == 0; changed = lead.Changed() {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("no incarnation")
		}
	}
	self := homes.Value{Epoch: 1, Home: lead.Life()}
	reply, err := lead.RegisterCommand(ctx, homes.Command{Kind: homes.Learn, Keyspace: locks, Known: self})
	if err != nil || reply.Answer != homes.Learned || reply.Keyspace != locks {
		t.Fatalf("%+v, %v", reply, err)
	}
	for _, m := range g.members {
		if m == lead {
			continue
		}
		if _, err := m.RegisterCommand(ctx, homes.Command{Kind: homes.Resume, Keyspace: locks, Known: self}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("at a follower: %v", err)
		}
	}
	if _, err := lead.RegisterCommand(ctx, homes.Command{Kind: homes.Learn, Keyspace: string(make([]byte, MaxKeyspace+1))}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a prefix that is too long: %v", err)
	}
	at := WithKeyspace(ctx, locks)
	const keys = 35
	for i := range keys {
		if _, c, err := lead.Put(at, putRequest(locks+string(rune('A'+i)), "1")); err != nil || c.Epoch != 1 || c.Keyspace != locks {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if _, _, err := lead.Put(WithKeyspace(ctx, "/unknown/"), putRequest("/unknown/k", "1")); !errors.Is(err, ErrNotHome) {
		t.Errorf("an unknown keyspace: %v", err)
	}
	next := homes.Value{Epoch: 2, Home: homes.Life{DC: "b", Incarnation: 7}, Past: []homes.Tenure{{Epoch: 1, Home: lead.Life()}}}
	if _, err := lead.RegisterCommand(ctx, homes.Command{Kind: homes.Learn, Keyspace: locks, Known: next}); err != nil {
		t.Fatal(err)
	}
	var refusal *NotHomeError
	if _, _, err := lead.Put(at, putRequest(locks+"k", "1")); !errors.As(err, &refusal) || refusal.State.Decided.Epoch != 2 {
		t.Errorf("after it was moved: %v", err)
	}
	for _, m := range g.members {
		for changed := m.Changed(); ; changed = m.Changed() {
			ws, err := m.Aside(locks, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			if r, _ := m.Register(locks); r.State.Decided.Epoch == 2 && len(m.Overrunning()) == 0 && len(ws) == keys {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("%d of %d writes are set aside", len(ws), keys)
			}
		}
	}
	ws, err := lead.Aside(locks, 0, 1000)
	if err != nil || len(ws) != keys || ws[0].Origin != lead.Life() || ws[0].Epoch != 1 {
		t.Fatalf("%d, %v", len(ws), err)
	}
	if page, _ := lead.Aside(locks, ws[3].ID, 2); len(page) != 2 || page[0].ID != ws[4].ID {
		t.Errorf("a page: %+v", page)
	}
	if err := lead.DiscardAside(ctx, locks, []uint64{ws[0].ID, ws[0].ID, 1 << 40}); err != nil {
		t.Error(err)
	}
	if err := lead.DiscardAside(ctx, "/other/", []uint64{ws[1].ID}); err != nil {
		t.Error(err)
	}
	if left, _ := lead.Aside(locks, 0, 1000); len(left) != keys-1 {
		t.Errorf("%d are left", len(left))
	}
}
