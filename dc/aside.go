package dc

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/replication/event"
	"geogate/replication/homes"
)

// maxAsideBytes bounds what is kept of writes that were set aside. When it is full, frames that bring more wait, and so
// does what is to be taken back: nothing is dropped. A constant, since replicas must agree.
const maxAsideBytes = 64 << 20

func (c *Config) maxAside() int64 {
	if c.aside > 0 {
		return c.aside
	}
	return maxAsideBytes
}

// AsideWrite is a write to a single-writer keyspace that doesn't count, because its home had ended. It is kept in each
// DC that had applied it, or received it, until an operator discards it.
type AsideWrite struct {
	ID       uint64
	Keyspace string
	Epoch    uint64     // that it was written in; 0 when that is not known
	Origin   homes.Life // the home that wrote it
	Revision int64      // of the origin
	Stamp    event.Stamp
	Key      []byte
	Old      []byte // value of the key before it, here; nil when there was none
	// Base is the state that the key had when only writes that count had been made, and was given back here; nil when the
	// write was set aside by a build that did not keep it.
	Base     *Written
	New      []byte // nil when it deleted the key
	Deleted  bool
	Lease    int64
	Policy   string    // "" when it is not known
	SetAside time.Time // roughly: of the highest stamp that was applied here by then
}

// aside is an AsideWrite in the store; README.md has the fields.
type aside struct {
	id       uint64
	keyspace string
	epoch    uint64
	origin   homes.Life
	revision int64
	stamp    event.Stamp
	key      []byte
	old      []byte
	existed  bool // there was an old value
	value    []byte
	deleted  bool
	lease    int64
	at       event.Stamp
	base     *Written // nil when it is not known
}

const (
	asideKeyspace = 1
	asideEpoch    = 2
	asideDC       = 3
	asideLife     = 4
	asideRevision = 5
	asideStamp    = 6
	asideKeyName  = 7
	asideOld      = 8
	asideExisted  = 9
	asideValue    = 10
	asideDeleted  = 11
	asideLease    = 12
	asideAt       = 13
	asideBase     = 14
)

// size is roughly what one takes.
func (w *aside) size() int64 {
	return int64(len(w.keyspace)+len(w.origin.DC)+len(w.key)+len(w.old)+len(w.value)) + asideOverhead
}

const asideOverhead = 100

func (w *aside) marshal() []byte {
	b := appendField(nil, asideKeyspace, []byte(w.keyspace))
	b = appendVarint(b, asideEpoch, w.epoch)
	b = appendField(b, asideDC, []byte(w.origin.DC))
	b = appendVarint(b, asideLife, w.origin.Incarnation)
	b = appendVarint(b, asideRevision, uint64(w.revision))
	b = appendVarint(b, asideStamp, uint64(w.stamp))
	b = appendField(b, asideKeyName, w.key)
	if w.existed {
		b = appendField(b, asideOld, w.old)
		b = appendVarint(b, asideExisted, 1)
	}
	b = appendField(b, asideValue, w.value)
	b = appendVarint(b, asideDeleted, protowire.EncodeBool(w.deleted))
	b = appendVarint(b, asideLease, uint64(w.lease))
	b = appendVarint(b, asideAt, uint64(w.at))
	if w.base == nil {
		return b
	}
	return appendField(b, asideBase, w.base.marshal())
}

// counted is what counts of a record against the bound: what builds write of it that do not know the base. Replicas must
// agree on it while their datacenter is being upgraded.
func (w *aside) counted(record []byte) int64 {
	if w.base == nil {
		return int64(len(record))
	}
	return int64(len(record) - protowire.SizeTag(asideBase) - protowire.SizeBytes(len(w.base.marshal())))
}

func decodeAside(id uint64, b []byte) (aside, error) {
	w := aside{id: id}
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case asideKeyspace:
			w.keyspace = string(raw)
		case asideEpoch:
			w.epoch = n
		case asideDC:
			w.origin.DC = string(raw)
		case asideLife:
			w.origin.Incarnation = n
		case asideRevision:
			w.revision = int64(n)
		case asideStamp:
			w.stamp = event.Stamp(n)
		case asideKeyName:
			w.key = raw
		case asideOld:
			w.old = raw
		case asideExisted:
			w.existed = n != 0
		case asideValue:
			w.value = raw
		case asideDeleted:
			w.deleted = n != 0
		case asideLease:
			w.lease = int64(n)
		case asideAt:
			w.at = event.Stamp(n)
		case asideBase:
			s, err := decodeWritten(raw)
			w.base = &s
			return err
		}
		return nil
	})
	if err != nil {
		return w, fmt.Errorf("write %d that was set aside: %w: the store is damaged", id, err)
	}
	return w, nil
}

// asideCount is what is kept.
type asideCount struct {
	writes int
	bytes  int64 // of the records, see counted
}

func (c *asideCount) add(bytes int64) { c.writes, c.bytes = c.writes+1, c.bytes+bytes }

func asideKey(id uint64) string { return string(binary.BigEndian.AppendUint64(nil, id)) }

// roomAside says whether writes may be set aside. Into an empty table anything goes.
func (a *applier) roomAside(size int64) bool {
	c := &a.dc.state.homes.aside
	return c.writes == 0 || c.bytes+size <= a.dc.cfg.maxAside()
}

func (a *applier) setAside(w *aside) {
	last, _ := decodeUint64(metaAside, a.batch.Meta(metaAside)) // loadState has checked it
	w.id = last + 1
	a.batch.SetMeta(metaAside, encodeUint64(w.id))
	raw := w.marshal()
	a.batch.SetRecord(tableAside, asideKey(w.id), raw)
	a.dc.state.homes.aside.add(w.counted(raw))
	a.dc.metrics.homes.setAside.Inc()
}

func (a *applier) discard(keyspace string, id uint64) {
	raw := a.batch.Record(tableAside, asideKey(id))
	if raw == nil {
		return
	}
	w, err := decodeAside(id, raw)
	if err != nil || w.keyspace != keyspace {
		return
	}
	a.batch.SetRecord(tableAside, asideKey(id), nil)
	c := &a.dc.state.homes.aside
	c.writes, c.bytes = c.writes-1, c.bytes-w.counted(raw)
	a.dc.metrics.showAside(c, false)
}

// Aside lists writes to a keyspace that were set aside here, behind a number, at most `limit` of them.
func (d *DC) Aside(keyspace string, after uint64, limit int) (out []AsideWrite, err error) {
	d.store.EachRecord(tableAside, asideKey(after+1), func(key string, value []byte) bool {
		if len(out) >= limit {
			return false
		}
		var w aside
		if w, err = decodeAside(binary.BigEndian.Uint64([]byte(key)), value); err != nil {
			return false
		}
		if w.keyspace == keyspace {
			out = append(out, w.shown())
		}
		return true
	})
	return out, err
}

func (w *aside) shown() AsideWrite {
	s := AsideWrite{
		ID: w.id, Keyspace: w.keyspace, Epoch: w.epoch, Origin: w.origin, Revision: w.revision, Stamp: w.stamp,
		Key: w.key, New: w.value, Deleted: w.deleted, Lease: w.lease, SetAside: w.at.Time(), Base: w.base,
	}
	if w.existed {
		s.Old = append([]byte{}, w.old...)
	}
	if w.deleted {
		s.New = nil
	}
	return s
}

// maxDiscard bounds what one call of DiscardAside puts into the log.
const maxDiscard = 10_000

// DiscardAside forgets writes of a keyspace that were set aside, for good. Numbers that are not there are passed over.
// Only the leader can.
func (d *DC) DiscardAside(ctx context.Context, keyspace string, ids []uint64) error {
	for len(ids) > 0 {
		n := min(len(ids), maxDiscard)
		note, err := json.Marshal(homeNote{Keyspace: keyspace, Discard: ids[:n]})
		if err != nil {
			return fmt.Errorf("encode note: %w", err)
		}
		if _, err := d.proposeHome(ctx, item{kind: kindHome, note: note}); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
