package dc

import (
	"slices"
	"testing"
)

// The state that a lost write was made over has the same name wherever the write is set aside: at the home that takes it
// back, and where it comes late, when the next home has written over it.
func TestBasesOfLostWrites(t *testing.T) {
	dcs := threeDCs(t)
	a, b, c := dcs["a"], dcs["b"], dcs["c"]
	v := tailOf(t, dcs)
	want := map[string]Written{}
	for _, key := range []string{"both", "gone", "graved", "new"} {
		s, err := c.Written([]byte(locks + key)) // c never applied the tail
		if err != nil {
			t.Fatal(err)
		}
		s.Mod = 0
		want[locks+key] = s
	}
	if w := want[locks+"both"]; !w.Live || w.Origin != "a" || w.Revision == 0 {
		t.Fatalf("the state of both is %+v", w)
	}
	if w := want[locks+"graved"]; w.Live || w.Origin != "a" || w.Stamp == 0 {
		t.Fatalf("the state of graved is %+v", w)
	}
	for _, key := range []string{"both", "graved", "new"} {
		b.lock(key, "newer")
	}
	_ = relay(t, b, c, "b")
	a.learn(v)
	spread(t, dcs)
	for _, r := range []*replica{a, b, c} {
		ws, err := r.Aside(locks, 0, 100)
		if err != nil || len(ws) != 7 {
			t.Fatalf("%s has set aside %d writes, %v", r.cfg.Name, len(ws), err)
		}
		for _, w := range ws {
			if w.Base == nil || *w.Base != want[string(w.Key)] {
				t.Errorf("%s: %s was made over %+v, want %+v", r.cfg.Name, w.Key, w.Base, want[string(w.Key)])
			}
			if string(w.Old) == "newer" {
				t.Errorf("%s: the value before %s is that of the next home", r.cfg.Name, w.Key)
			}
		}
		now, err := r.Written([]byte(locks + "both"))
		if err != nil || now.Origin != "b" || now.Mod == 0 {
			t.Errorf("%s: both is %+v, %v", r.cfg.Name, now, err)
		}
	}
}

// The bound on what is set aside counts what a build without bases would write, after a restart too.
func TestBasesDoNotCount(t *testing.T) {
	dcs := threeDCs(t)
	v := tailOf(t, dcs)
	a := dcs["a"]
	a.learn(v)
	plain := int64(0)
	ws, _ := a.Aside(locks, 0, 100)
	for _, w := range ws {
		x, err := decodeAside(w.ID, a.batchRecord(w.ID))
		if err != nil {
			t.Fatal(err)
		}
		x.base = nil
		plain += int64(len(x.marshal()))
	}
	if got := a.state.homes.aside.bytes; got != plain || plain == 0 {
		t.Errorf("%d bytes count, want %d", got, plain)
	}
	again := newHomeTable()
	if err := again.load(a.store, 0); err != nil || again.aside != a.state.homes.aside {
		t.Errorf("loaded %+v, had %+v, %v", again.aside, a.state.homes.aside, err)
	}
	totals, err := a.Asides()
	if err != nil || len(totals) != 1 || totals[0].Keyspace != locks || totals[0].Writes != len(ws) || totals[0].Bytes != plain || totals[0].Oldest != ws[0].SetAside {
		t.Errorf("totals %+v, %v", totals, err)
	}
	if !slices.IsSortedFunc(ws, func(x, y AsideWrite) int { return int(x.ID) - int(y.ID) }) {
		t.Error("not in their order")
	}
}

func (r *replica) batchRecord(id uint64) (raw []byte) {
	r.store.EachRecord(tableAside, asideKey(id), func(_ string, value []byte) bool {
		raw = value
		return false
	})
	return raw
}
