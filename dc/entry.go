package dc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"geogate/replication/event"
)

// entryVersion is the version of the Raft entry format; see README.md for the table.
const entryVersion = 1

// kind says what an item of a Raft entry asks for; the numbers are part of the format.
type kind uint8

const (
	kindInit    kind = 1  // incarnation of the DC's data; only the first one counts
	kindPut     kind = 2  // etcdserverpb.PutRequest
	kindDelete  kind = 3  // etcdserverpb.DeleteRangeRequest
	kindTxn     kind = 4  // etcdserverpb.TxnRequest
	kindCompact kind = 5  // etcdserverpb.CompactionRequest
	kindFrame   kind = 6  // a frame of another DC, as received
	kindConfirm kind = 7  // what every DC is known to have applied, and what goes past retention
	kindRequest kind = 8  // a put, delete or txn with the id that its client gave it
	kindMerge   kind = 9  // a chunk of another DC's state
	kindAdopt   kind = 10 // the marks of a DC whose whole state was merged
	kindLease   kind = 11 // a lease is granted, revoked or checkpointed
	kindAuth    kind = 12 // a change of users and roles: see auth.go
	kindAlarm   kind = 13 // etcdserverpb.AlarmRequest
	kindRepair  kind = 14 // a key that differs from the other DCs' is put right
	kindHome    kind = 15 // a command to the register of a keyspace: see homeapply.go

	lastKind = kindHome
)

// afterWrites says whether items of this kind come after the local writes of their entry.
func (k kind) afterWrites() bool {
	return k == kindFrame || k == kindConfirm || k == kindMerge || k == kindAdopt || k == kindRepair || k == kindHome
}

// item is one proposal inside an entry.
type item struct {
	kind    kind
	payload []byte
	note    []byte // of a confirm: see note.go; of a write: see degraded.go. Older builds skip it
	auth    uint64 // revision of the users and roles that permit a write; 0 while authentication is off
	// keyspace is the prefix of the single-writer keyspace of a write, nil for none. Older builds skip it, but stop at
	// the item of kind 15 before, without which it is refused.
	keyspace []byte
}

// entry is what one Raft entry carries: the proposals that waited together. Local writes come before
// frames, so that one Seen vector is right for all of them.
type entry struct {
	proposer uint64      // random id of the replica process that packed it
	first    uint64      // sequence number, at the proposer, of the first item
	stamp    event.Stamp // the leader's clock; write i gets at least stamp+i
	alone    bool        // the datacenter has no peers: no frame is kept for anyone
	items    []item
}

const (
	entryFieldVersion  = 1
	entryFieldProposer = 2
	entryFieldFirst    = 3
	entryFieldStamp    = 4
	entryFieldItem     = 5
	entryFieldAlone    = 6

	itemFieldKind    = 1
	itemFieldPayload = 2
	itemFieldNote    = 3
	itemFieldAuth    = 4
	itemFieldHome    = 5

	itemOverhead   = 36 // bytes of tags and lengths around a payload, at most
	entryHeadBytes = 64 // of what comes before the items, at most
)

// appendHead writes what comes before the items.
func (e *entry) appendHead(b []byte) []byte {
	b = protowire.AppendTag(b, entryFieldVersion, protowire.VarintType)
	b = protowire.AppendVarint(b, entryVersion)
	b = protowire.AppendTag(b, entryFieldProposer, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, e.proposer)
	b = protowire.AppendTag(b, entryFieldFirst, protowire.VarintType)
	b = protowire.AppendVarint(b, e.first)
	b = protowire.AppendTag(b, entryFieldStamp, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.stamp))
	if e.alone {
		b = protowire.AppendTag(b, entryFieldAlone, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// append writes an item as a field of an entry.
func (it *item) append(b []byte) []byte {
	b = protowire.AppendTag(b, entryFieldItem, protowire.BytesType)
	size := 2 + 1 + protowire.SizeBytes(len(it.payload))
	if it.note != nil {
		size += 1 + protowire.SizeBytes(len(it.note))
	}
	if it.auth != 0 {
		size += 1 + protowire.SizeVarint(it.auth)
	}
	if it.keyspace != nil {
		size += 1 + protowire.SizeBytes(len(it.keyspace))
	}
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, itemFieldKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(it.kind))
	b = protowire.AppendTag(b, itemFieldPayload, protowire.BytesType)
	b = protowire.AppendBytes(b, it.payload)
	if it.note != nil {
		b = protowire.AppendTag(b, itemFieldNote, protowire.BytesType)
		b = protowire.AppendBytes(b, it.note)
	}
	if it.auth != 0 {
		b = protowire.AppendTag(b, itemFieldAuth, protowire.VarintType)
		b = protowire.AppendVarint(b, it.auth)
	}
	if it.keyspace != nil {
		b = protowire.AppendTag(b, itemFieldHome, protowire.BytesType)
		b = protowire.AppendBytes(b, it.keyspace)
	}
	return b
}

// reset makes it an entry without anything, with the room for items that it has.
func (e *entry) reset() { *e = entry{items: e.items[:0]} }

// unmarshal reads an entry into one without anything; payloads are slices of b.
func (e *entry) unmarshal(b []byte) error {
	version := uint64(0)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		var v uint64
		switch {
		case num == entryFieldProposer && typ == protowire.Fixed64Type:
			e.proposer, n = protowire.ConsumeFixed64(b)
		case num == entryFieldItem && typ == protowire.BytesType:
			var raw []byte
			if raw, n = protowire.ConsumeBytes(b); n >= 0 {
				e.items = append(e.items, item{})
				if err := e.items[len(e.items)-1].unmarshal(raw); err != nil {
					return err
				}
			}
		case typ == protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
			switch num {
			case entryFieldVersion:
				version = v
			case entryFieldFirst:
				e.first = v
			case entryFieldStamp:
				e.stamp = event.Stamp(v)
			case entryFieldAlone:
				e.alone = v != 0
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrMalformed, num, protowire.ParseError(n))
		}
		b = b[n:]
	}
	if version != entryVersion {
		return fmt.Errorf("%w: entry has version %d, this build reads %d", ErrMalformed, version, entryVersion)
	}
	return nil
}

func (it *item) unmarshal(b []byte) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: item: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		switch {
		case num == itemFieldKind && typ == protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); v > 255 { // cut to a byte it would be another, known kind
				return fmt.Errorf("%w: item of kind %d", ErrMalformed, v)
			}
			it.kind = kind(v)
		case num == itemFieldPayload && typ == protowire.BytesType:
			it.payload, n = protowire.ConsumeBytes(b)
		case num == itemFieldNote && typ == protowire.BytesType:
			it.note, n = protowire.ConsumeBytes(b)
		case num == itemFieldAuth && typ == protowire.VarintType:
			it.auth, n = protowire.ConsumeVarint(b)
		case num == itemFieldHome && typ == protowire.BytesType:
			var raw []byte
			if raw, n = protowire.ConsumeBytes(b); n >= 0 {
				it.keyspace = raw[:len(raw):len(raw)]
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: item field %d: %w", ErrMalformed, num, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return nil
}
