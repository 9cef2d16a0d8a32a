package dc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"geogate/dc/store"
	"geogate/replication/event"
	"geogate/replication/homes"
)

// Tables of records in the store; see README.md.
const (
	tableRegisters store.Table = 'r' // by keyspace
	tableAside     store.Table = 'a' // by number
	tableTTLs      store.Table = 'l' // by id of a lease
)

// Bounds that replicas must agree on.
const (
	maxRegisters = 10_000
	maxLost      = 64 // tails of one keyspace that are remembered
)

// register is what the log has made of one keyspace's register. The apply goroutine owns it.
type register struct {
	keyspace string
	state    homes.State
	starts   []tenureStart // of the tenures that are known, ascending
	taken    uint64        // epoch of this DC whose leases are granted here
	lost     []tail        // that were set aside, newest last
	overrun  *overrun      // nil when there is nothing to take back

	granted time.Time   // when this process applied the grant of the lease
	home    *event.Home // of this DC's writes in the present epoch; nil until the first
	covered bool        // the past of the present epoch is applied; once true it stays
	// latest is the last revision that this DC wrote in the keyspace since the register was loaded, 0 for none. Readers
	// look at it: it is set before what it is of can be seen.
	latest atomic.Int64
}

// tenureStart is where a home's chain stood here when its tenure became known: all its writes of the epoch are behind.
type tenureStart struct {
	epoch    uint64
	home     homes.Life
	revision int64
}

// tail is a part of a datacenter's chain whose writes to a keyspace don't count.
type tail struct {
	dc          string
	life        uint64
	after, upTo int64
	scan        bool // its frames are not all here: keys are looked for in the data
}

func (t *tail) holds(g *store.Geo) bool {
	return g.Origin == t.dc && g.OriginRevision > t.after && g.OriginRevision <= t.upTo
}

const (
	registerVersion = 1
	registerState   = 2
	registerStart   = 3
	registerTaken   = 4
	registerLost    = 5
	registerOverrun = 6

	startEpoch    = 1
	startDC       = 2
	startLife     = 3
	startRevision = 4

	tailDC    = 1
	tailAfter = 2
	tailUpTo  = 3
	tailScan  = 4
	tailLife  = 5
)

func (r *register) marshal() []byte {
	b := appendUint(nil, registerVersion, 1)
	b = appendField(b, registerState, r.state.Encode())
	for _, s := range r.starts {
		m := appendVarint(nil, startEpoch, s.epoch)
		m = appendField(m, startDC, []byte(s.home.DC))
		m = appendVarint(m, startLife, s.home.Incarnation)
		b = appendField(b, registerStart, appendVarint(m, startRevision, uint64(s.revision)))
	}
	b = appendVarint(b, registerTaken, r.taken)
	for i := range r.lost {
		b = appendField(b, registerLost, r.lost[i].marshal())
	}
	if r.overrun != nil {
		b = appendField(b, registerOverrun, r.overrun.marshal())
	}
	return b
}

func (t *tail) marshal() []byte {
	b := appendField(nil, tailDC, []byte(t.dc))
	b = appendVarint(b, tailAfter, uint64(t.after))
	b = appendVarint(b, tailUpTo, uint64(t.upTo))
	b = appendVarint(b, tailScan, protowire.EncodeBool(t.scan))
	return appendVarint(b, tailLife, t.life)
}

func decodeTail(b []byte) (t tail, err error) {
	err = chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case tailDC:
			t.dc = string(raw)
		case tailAfter:
			t.after = int64(n)
		case tailUpTo:
			t.upTo = int64(n)
		case tailScan:
			t.scan = n != 0
		case tailLife:
			t.life = n
		}
		return nil
	})
	return t, err
}

func decodeRegister(keyspace string, b []byte) (*register, error) {
	r := &register{keyspace: keyspace}
	version := uint64(0)
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) (err error) {
		switch num {
		case registerVersion:
			version = n
		case registerState:
			r.state, err = homes.DecodeState(raw)
		case registerStart:
			var s tenureStart
			err = chunkFields(raw, func(num protowire.Number, n uint64, raw []byte) error {
				switch num {
				case startEpoch:
					s.epoch = n
				case startDC:
					s.home.DC = string(raw)
				case startLife:
					s.home.Incarnation = n
				case startRevision:
					s.revision = int64(n)
				}
				return nil
			})
			r.starts = append(r.starts, s)
		case registerTaken:
			r.taken = n
		case registerLost:
			var t tail
			t, err = decodeTail(raw)
			r.lost = append(r.lost, t)
		case registerOverrun:
			r.overrun, err = decodeOverrun(raw)
		}
		return err
	})
	if err == nil && version != 1 {
		err = fmt.Errorf("version %d, this build reads 1", version)
	}
	if err != nil {
		return nil, fmt.Errorf("register of %q: %w", keyspace, err)
	}
	return r, nil
}

// homeTable is the registers of all keyspaces.
type homeTable struct {
	regs     map[string]*register
	order    []*register      // by keyspace
	list     []homes.Register // as readers see them; replaced, never changed
	marks    []event.Mark     // see mark; replaced, never changed
	overruns []string         // keyspaces with an overrun; likewise
	// lost, when not 0, says that what was promised and voted for keyspaces that are not here is lost, and how long a
	// lease was that may be forgotten with it.
	lost  time.Duration
	multi []string // prefixes, sorted; see multiwriter.go. Replaced, never changed
	aside asideCount
	ttls  int  // lengths of leases that are kept
	check bool // some register has something to do when positions move
}

func newHomeTable() homeTable { return homeTable{regs: map[string]*register{}} }

// load reads the table from the store. A lease that is found counts as granted now: see [homes.AcceptorFree].
func (t *homeTable) load(s *store.Store, lost time.Duration) error {
	*t = newHomeTable()
	t.lost, t.check = lost, true
	now := time.Now()
	var errs []error
	s.EachRecord(tableRegisters, "", func(keyspace string, value []byte) bool {
		r, err := decodeRegister(keyspace, value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: the store is damaged", err))
			return false
		}
		if r.state.Lease.Holder != (homes.Life{}) {
			r.granted = now
		}
		t.regs[keyspace] = r
		return true
	})
	s.EachRecord(tableAside, "", func(key string, value []byte) bool {
		w, err := decodeAside(binary.BigEndian.Uint64([]byte(key)), value)
		if err != nil {
			errs = append(errs, err)
			return false
		}
		t.aside.add(w.counted(value))
		return true
	})
	s.EachRecord(tableTTLs, "", func(string, []byte) bool {
		t.ttls++
		return true
	})
	t.refresh()
	return errors.Join(errs...)
}

// refresh makes what readers see anew.
func (t *homeTable) refresh() {
	t.order, t.list, t.marks, t.overruns = nil, nil, nil, nil
	for _, k := range slices.Sorted(maps.Keys(t.regs)) {
		r := t.regs[k]
		t.order = append(t.order, r)
		t.list = append(t.list, homes.Register{Keyspace: k, State: r.state, Granted: r.granted})
		if r.state.Decided.Epoch > 0 {
			t.marks = append(t.marks, r.mark())
		}
		if r.overrun != nil {
			t.overruns = append(t.overruns, k)
		}
	}
}

// of is the register of the single-writer keyspace that a key lies in: the longest prefix that has had a home. It
// is nil when there is none, and when the key lies in a multi-writer keyspace within it.
func (t *homeTable) of(key []byte) (found *register) {
	for _, r := range t.order {
		if r.state.Decided.Epoch > 0 && len(r.keyspace) <= len(key) && string(key[:len(r.keyspace)]) == r.keyspace {
			found = r // later ones in the order are longer
		}
	}
	if found != nil && nested(t.multi, len(found.keyspace), key) {
		return nil
	}
	return found
}

// mark stands for a decision among the lives that this DC has applied: data of datacenters that don't know the same
// decision, or have not taken back what doesn't count by it, can't be compared.
func (r *register) mark() event.Mark {
	sum := xxhash.New()
	_, _ = sum.Write(homes.State{Decided: r.state.Decided}.Encode()) // never fails
	if r.overrun != nil {
		_, _ = sum.Write(r.overrun.marshal())
	}
	return event.Mark{Past: true, Position: event.Position{
		Origin: fmt.Sprintf("keyspace %+q", r.keyspace), Incarnation: max(sum.Sum64(), 1), Revision: 1,
	}}
}

// saveRegister keeps a register in the store and shows it to readers.
func (a *applier) saveRegister(r *register) {
	t := &a.dc.state.homes
	t.regs[r.keyspace] = r
	t.check = true
	a.batch.SetRecord(tableRegisters, r.keyspace, r.marshal())
	t.refresh()
	var rs []markRecord
	for _, m := range t.marks {
		rs = append(rs, recordOf(m))
	}
	if raw := mustMarshal(rs); !bytes.Equal(raw, a.batch.Meta(metaHomes)) {
		a.batch.SetMeta(metaHomes, raw)
	}
}
