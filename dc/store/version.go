package store

import (
	"go.etcd.io/etcd/api/v3/mvccpb"

	"geogate/replication/event"
)

// Geo is what replication knows of a write.
type Geo struct {
	Origin         string // DC of the first commit
	OriginRevision int64  // revision there
	Stamp          event.Stamp
	Seen           []byte // what the origin had applied then: opaque here, shared, never changed
}

// Head is the newest state of a key, known without reading the disk.
type Head struct {
	Live           bool  // false: the key is deleted, and Geo is of its grave
	Mod, Sub       int64 // of the newest version kept, which is a tombstone when not live; 0 when none is kept
	Create         int64
	Version, Lease int64
	Geo            Geo    // without Seen
	Hash           uint64 // what the live value adds to the digest
}

// Version is one version of a key.
type Version struct {
	Key, Value []byte
	Mod, Sub   int64 // revision, and place within its transaction
	Create     int64 // revision of the put that created the key
	Version    int64 // number of puts since then, the creating one included
	Lease      int64
	Deleted    bool // a tombstone: no value, create, version or lease
	Geo        Geo
}

// KeyValue is the version as etcd shows it; it shares key and value.
func (v *Version) KeyValue() *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: v.Key, Value: v.Value, CreateRevision: v.Create, ModRevision: v.Mod, Version: v.Version, Lease: v.Lease,
	}
}

// event is the version as a watch shows it. Key and value are copied: a queue of events would otherwise
// keep alive the whole Raft entries that they are slices of.
func (v *Version) event() *mvccpb.Event {
	b := append(append(make([]byte, 0, len(v.Key)+len(v.Value)), v.Key...), v.Value...)
	n := len(v.Key)
	kv := &mvccpb.KeyValue{Key: b[:n:n], ModRevision: v.Mod}
	if v.Deleted {
		return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: kv}
	}
	kv.Value, kv.CreateRevision, kv.Version, kv.Lease = b[n:], v.Create, v.Version, v.Lease
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv}
}

// Applied is a place in the Raft log, with the membership in force there.
type Applied struct {
	Index, Term uint64
	Conf        []byte // opaque
}

// rev is a version's place on disk.
type rev struct {
	main int64
	sub  uint32
	tomb bool
}

// record is a version that is not on disk yet.
type record struct {
	Version
	origin uint16 // id of Geo.Origin
}
