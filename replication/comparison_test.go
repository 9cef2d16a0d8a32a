package replication

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"geogate/replication/health"
	"geogate/replication/verify"
	"geogate/replication/wire"
)

// table is a datacenter's data for a comparison: a bucket of keys, behind it one of entries of the system table.
type table struct {
	mu     sync.Mutex
	hashes [2]map[string]uint64 // guarded by mu
}

func newTable() *table { return &table{hashes: [2]map[string]uint64{{}, {}}} }

func (d *table) set(bucket int, key string, hash uint64) {
	d.setAll(bucket, map[string]uint64{key: hash})
}

func (d *table) setAll(bucket int, keys map[string]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.Copy(d.hashes[bucket], keys)
}

func (d *table) VerifyState() (*verify.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &verify.State{Digests: make([]uint64, 2), Touches: map[string][]int64{}}
	for i, keys := range d.hashes {
		for _, hash := range keys {
			s.Digests[i] ^= hash
		}
	}
	return s, nil
}

func (d *table) VerifyKeys(bucket int, after []byte, most int) (h verify.Holding, keys []verify.Copy, done bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(d.hashes[bucket])) {
		if bytes.Compare([]byte(key), after) <= 0 {
			continue
		}
		if len(keys) == most {
			return h, keys, false, nil
		}
		keys = append(keys, verify.Copy{Key: []byte(key), Known: true, Live: true, Hash: d.hashes[bucket][key], System: bucket == 1})
	}
	return h, keys, true, nil
}

func (d *table) KeyState([]byte) ([]byte, error) { return nil, fmt.Errorf("nobody asks for it here") }

func (d *table) Repair(context.Context, verify.Copy, []byte) (bool, error) {
	return false, fmt.Errorf("nobody asks for it here")
}

// gauge is a sample of a metric by the value of its label keyspace; all of one without.
func gauge(t *testing.T, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			i := slices.IndexFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == "keyspace" })
			if i < 0 {
				out["all"] += m.Gauge.GetValue()
				continue
			}
			out[m.Label[i].GetValue()] += m.Gauge.GetValue()
		}
	}
	return out
}

// TestDifferencesNameTheirKeyspaces wants the keyspaces of differing keys in the log, the events, the status and the
// metrics; also when other keyspaces differ and not more or fewer keys.
func TestDifferencesNameTheirKeyspaces(t *testing.T) {
	var said logged
	registry := prometheus.NewRegistry()
	tables := map[string]*table{"a": newTable(), "b": newTable()}
	c := newCluster(t, func(cfg *Config) {
		cfg.Verified, cfg.VerifyInterval, cfg.VerifyPage = tables[cfg.Local], 50*time.Millisecond, 2
		cfg.RetryMin, cfg.PingInterval = 10*time.Millisecond, 50*time.Millisecond
		cfg.Prefixes = []string{"app/locks/", "app/", ""}
		if cfg.Local == "a" {
			cfg.Logger, cfg.Registerer = slog.New(slog.NewTextHandler(&said, nil)), registry
		}
	}, "a", "b")
	for _, d := range tables {
		for i := range 20 {
			d.set(0, fmt.Sprintf("app/%02d", i), uint64(i+1))
		}
	}
	a := c.nodes["a"]["n1"].engine
	wait := func(state string, keyspaces map[string]int, system int) Verification {
		t.Helper()
		var v Verification
		eventually(t, 20*time.Second, fmt.Sprintf("%s, %v, %d of the system", state, keyspaces, system), func() bool {
			v = a.Verify(true)[0]
			return v.State == state && maps.Equal(v.Keyspaces, keyspaces) && v.System == system
		})
		return v
	}
	wait("equal", nil, 0)

	tables["b"].set(0, "app/07", 1000)
	tables["b"].set(0, "app/locks/1", 1001) // a has nothing of it
	tables["b"].set(1, "user/ann", 1002)
	v := wait("different", map[string]int{"app/": 1, "app/locks/": 1}, 1)
	for _, d := range v.Differences {
		want := map[string]string{"app/07": "app/", "app/locks/1": "app/locks/"}[string(d.Here.Key)]
		if system := string(d.Here.Key) == "user/ann"; system != (d.Keyspace == nil) || !system && *d.Keyspace != want {
			t.Errorf("%q is of the keyspace %v", d.Here.Key, d.Keyspace)
		}
	}
	tally := `"app/" 1, "app/locks/" 1, system table 1`
	eventually(t, 20*time.Second, "the log names the keyspaces", func() bool { return said.has(fmt.Sprintf("by_keyspace=%q", tally)) })
	eventually(t, 20*time.Second, "an event names the keyspaces", func() bool {
		return slices.ContainsFunc(a.Peers()[0].HealthEvents, func(e health.Event) bool { return strings.Contains(e.Reason, tally) })
	})
	if got := gauge(t, registry, "geogate_verify_different_keys"); !maps.Equal(got, map[string]float64{"": 0, "app/": 1, "app/locks/": 1}) {
		t.Errorf("keys by keyspace %v", got)
	}
	if got := gauge(t, registry, "geogate_verify_different_system_entries"); got["all"] != 1 {
		t.Errorf("entries of the system table %v", got)
	}

	tables["b"].setAll(0, map[string]uint64{"app/07": 8, "elsewhere": 1003}) // as many as before
	wait("different", map[string]int{"": 1, "app/locks/": 1}, 1)
	tally = `"" 1, "app/locks/" 1, system table 1`
	eventually(t, 20*time.Second, "the log names the other keyspace", func() bool { return said.has(fmt.Sprintf("by_keyspace=%q", tally)) })

	tables["a"].set(0, "app/locks/1", 1001)
	tables["a"].set(0, "elsewhere", 1003)
	tables["a"].set(1, "user/ann", 1002)
	wait("equal", nil, 0)
	if got := gauge(t, registry, "geogate_verify_different_keys"); got["app/"]+got["app/locks/"]+got[""] != 0 || len(got) != 3 {
		t.Errorf("keys by keyspace when all is equal again: %v", got)
	}
}

// TestRoundsBetweenAreOfOpenBucketsAlone: one of the two buckets differs, so every round but the one in each interval asks
// for that alone, and equality is found out all the same.
func TestRoundsBetweenAreOfOpenBucketsAlone(t *testing.T) {
	tables := map[string]*table{"a": newTable(), "b": newTable()}
	tables["a"].set(0, "key", 1)
	tables["b"].set(0, "key", 2)
	c := newCluster(t, func(cfg *Config) {
		cfg.Verified, cfg.VerifyInterval = tables[cfg.Local], 400*time.Millisecond
		cfg.RetryMin, cfg.PingInterval = 10*time.Millisecond, 50*time.Millisecond
	}, "a", "b")
	var whole, some, other atomic.Int64
	a := c.engine("a")
	sub, err := a.nc.Subscribe(verifySubject("a", "b"), func(m *nats.Msg) {
		var req wire.VerifyRequest
		if err := a.verifiers["b"].Open(wire.Kind_KIND_VERIFY_REQUEST, m.Data, &req); err != nil || req.GetBuckets() == nil {
			return
		}
		switch only := wire.Buckets(req.GetBuckets().Only, 2); {
		case only == nil:
			whole.Add(1)
		case slices.Equal(only, []int{0}):
			some.Add(1)
		default:
			other.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	b := c.engine("b")
	eventually(t, 20*time.Second, "b knows that the key differs", func() bool {
		v := b.Verify(false)[0]
		return v.State == "different" && len(v.Differences) == 1
	})
	eventually(t, 20*time.Second, "rounds of both kinds", func() bool { return whole.Load() >= 2 && some.Load() >= 3 })
	if v := b.Verify(false)[0]; v.Buckets != 2 || v.Equal != 1 || v.Different != 1 || len(v.Differences) != 1 {
		t.Errorf("by rounds of some buckets: %+v", v)
	}
	tables["b"].set(0, "key", 1)
	eventually(t, 20*time.Second, "b knows that all is equal again", func() bool { return b.Verify(false)[0].State == "equal" })
	if n := other.Load(); n > 0 {
		t.Errorf("%d rounds of other buckets", n)
	}
}
