package replication

import (
	"testing"
	"time"

	"geogate/replication/homes"
)

// asides is what a DC has set aside.
type asides []homes.Aside

func (a asides) Asides() ([]homes.Aside, error) { return a, nil }

// TestAsideEverywhere asks all DCs, one of which has nothing, and one is gone.
func TestAsideEverywhere(t *testing.T) {
	oldest := time.Now().Add(-time.Hour)
	c, _ := newHomes(t, func(cfg *Config) {
		cfg.Asides = asides{}
		if cfg.Local == "b" {
			cfg.Asides = asides{{Keyspace: locks, Writes: 3, Leased: 1, Bytes: 100, Oldest: oldest}}
		}
	}, "a", "b", "c")
	ask := func() []AsideAt {
		list, err := c.engine("a").AsideEverywhere(within(t, 10*time.Second))
		if err != nil || len(list) != 3 || list[0].DC != "a" || list[1].DC != "b" || list[2].DC != "c" {
			t.Fatalf("%+v, %v", list, err)
		}
		return list
	}
	eventually(t, 20*time.Second, "all answer", func() bool {
		list := ask()
		return list[0].Error+list[1].Error+list[2].Error == ""
	})
	list := ask()
	if len(list[0].Keyspaces) != 0 || len(list[2].Keyspaces) != 0 || len(list[1].Keyspaces) != 1 {
		t.Fatalf("%+v", list)
	}
	if k := list[1].Keyspaces[0]; k.Keyspace != locks || k.Writes != 3 || k.Leased != 1 || k.Bytes != 100 || k.Age < 3599 || k.Age > 3700 {
		t.Errorf("b has %+v", k)
	}
	c.nodes["b"]["n1"].stop()
	began := time.Now()
	list = ask()
	if took := time.Since(began); took > asideTimeout+3*time.Second {
		t.Errorf("it took %s to find out that b is gone", took)
	}
	if list[1].Error == "" || list[1].Keyspaces != nil || list[2].Error != "" {
		t.Errorf("b is gone: %+v", list)
	}
}
