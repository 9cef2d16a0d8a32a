package dc

import (
	"encoding/binary"

	"geogate/dc/lease"
	"geogate/replication/event"
	"geogate/replication/homes"
)

// The leases of a single-writer keyspace move with its home: a key there ends with the lease of that id which the home
// has, whichever datacenter has written the key. Elsewhere its lease says nothing.

// attached are the keys of a lease of this DC: group 0 those outside of single-writer keyspaces, then by keyspace.
// The error says that a keyspace can't be written at present, although this DC is its home: the lease must wait.
func (a *applier) attached(id int64) ([]leaseGroup, error) {
	if len(a.dc.state.homes.regs) == 0 {
		return []leaseGroup{{keys: a.batch.Attached(a.dc.cfg.Name, id)}}, nil
	}
	groups := []leaseGroup{{}}
	for _, k := range a.batch.AttachedAnywhere(id) {
		r := a.dc.state.homes.of(k.Key)
		if r == nil {
			if k.Origin == a.dc.cfg.Name {
				groups[0].keys = append(groups[0].keys, k.Key)
			}
			continue
		}
		if r.state.Decided.Home != a.dc.life() {
			continue
		}
		at := 1
		for at < len(groups) && groups[at].register != r {
			at++
		}
		if at == len(groups) {
			if _, err := a.writable([]byte(r.keyspace)); err != nil {
				return nil, err
			}
			groups = append(groups, leaseGroup{register: r})
		}
		groups[at].keys = append(groups[at].keys, k.Key)
	}
	return groups, nil
}

// leaseGroup is the keys of a lease in one single-writer keyspace, or in none.
type leaseGroup struct {
	register *register
	keys     [][]byte
}

// LeaseKeys are the keys that end with a lease, ascending, as of this node. They must not be changed.
func (d *DC) LeaseKeys(id int64) (keys [][]byte) {
	p := d.published.Load()
	if len(p.registers) == 0 {
		return d.store.Attached(d.cfg.Name, id)
	}
	self := d.Life()
	for _, k := range d.store.AttachedAnywhere(id) {
		if home, single := p.homeOf(k.Key); single && home == self || !single && k.Origin == d.cfg.Name {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// LeaseKeysAt are the keys of single-writer keyspaces that end with a lease at another DC, their home as this node
// knows it, ascending. They must not be changed.
func (d *DC) LeaseKeysAt(dc string, id int64) (keys [][]byte) {
	p := d.published.Load()
	for _, k := range d.store.AttachedAnywhere(id) {
		if home, single := p.homeOf(k.Key); single && home.DC == dc {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// homeOf is the home of the single-writer keyspace of a key; false in a multi-writer one.
func (p *published) homeOf(key []byte) (home homes.Life, single bool) {
	longest := 0
	for i := range p.registers {
		r := &p.registers[i]
		if n := len(r.Keyspace); r.State.Decided.Epoch > 0 && n <= len(key) && string(key[:n]) == r.Keyspace {
			home, single, longest = r.State.Decided.Home, true, n // later ones are longer
		}
	}
	if single && nested(p.multi, longest, key) {
		return homes.Life{}, false
	}
	return home, single
}

// leaseTTLs tells others how long the leases of a transaction are.
func (m *mutation) leaseTTLs() *event.Home {
	if m.home == nil {
		return nil
	}
	var ttls []event.LeaseTTL
	for i := range m.ops {
		id := m.ops[i].Lease
		if id == 0 || len(ttls) > 0 && ttls[len(ttls)-1].ID == id {
			continue
		}
		if x, ok := m.leases.Get(id); ok {
			ttls = append(ttls, event.LeaseTTL{ID: id, TTL: x.TTL})
		}
	}
	if ttls == nil {
		return m.home
	}
	return &event.Home{Keyspace: m.home.Keyspace, Epoch: m.home.Epoch, Leases: ttls}
}

// noteTTLs keeps the lengths of leases for the time when this DC is home.
func (a *applier) noteTTLs(f *event.Frame) {
	for i := range f.Txns {
		if f.Txns[i].Home == nil {
			continue
		}
		for _, l := range f.Txns[i].Home.Leases {
			if l.ID != 0 && l.TTL > 0 && l.TTL <= lease.MaxTTL {
				a.noteTTL(l)
			}
		}
	}
}

func (a *applier) noteTTL(l event.LeaseTTL) {
	key := ttlKey(l.ID)
	value := binary.AppendUvarint(nil, uint64(l.TTL))
	old := a.batch.Record(tableTTLs, key)
	if string(old) == string(value) {
		return
	}
	a.batch.SetRecord(tableTTLs, key, value)
	if old != nil {
		return
	}
	t := &a.dc.state.homes
	// Those of leases that no key names any more go when they are more than the others.
	if t.ttls++; t.ttls > 2*a.batch.LeaseNames()+ttlSlack {
		var gone []string
		a.batch.EachRecord(tableTTLs, "", func(key string, _ []byte) bool {
			if id := int64(binary.BigEndian.Uint64([]byte(key))); id != l.ID && !a.batch.IsLeased(id) {
				gone = append(gone, key)
			}
			return true
		})
		for _, key := range gone {
			a.batch.SetRecord(tableTTLs, key, nil)
		}
		t.ttls -= len(gone)
	}
}

// ttlSlack is how many lengths of leases that are not in use are kept at least.
const ttlSlack = 1000

func ttlKey(id int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(id))) }

// settleHomes does what waits for positions to move: a home that has all of the past takes the leases over.
func (a *applier) settleHomes() {
	t := &a.dc.state.homes
	if !t.check {
		return
	}
	t.check = false
	for _, r := range t.order {
		if r.state.Decided.Home != a.dc.life() || r.taken == r.state.Decided.Epoch || r.state.Decided.Epoch == 0 {
			continue
		}
		if r.overrun != nil || !r.state.Decided.Covered(a.dc.marks()) {
			t.check = true
			continue
		}
		a.takeLeases(r)
		r.taken = r.state.Decided.Epoch
		check := t.check
		a.saveRegister(r)
		t.check = check
	}
}

// takeLeases grants the leases that keys of a keyspace name, with all of their time: who still renews its lease keeps
// it, the others' keys end.
func (a *applier) takeLeases(r *register) {
	n := 0
	for _, id := range a.batch.LeasesOf(func(key []byte) bool { return a.dc.state.homes.of(key) == r }) {
		x := lease.Lease{ID: id, TTL: orphanTTL, Granted: a.index}
		if ttl, k := binary.Uvarint(a.batch.Record(tableTTLs, ttlKey(id))); k > 0 {
			x.TTL = int64(ttl)
		}
		if a.dc.leases.grant(x) == nil {
			a.batch.SetLease(id, x.Marshal())
			a.dc.metrics.granted.Inc()
			n++
		}
	}
	a.dc.log.Info("this datacenter is the home: leases of the one before were granted again", "keyspace", r.keyspace,
		"epoch", r.state.Decided.Epoch, "leases", n)
}
