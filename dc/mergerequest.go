package dc

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
	"geogate/replication/event"
)

// requestState is a remembered request as a chunk carries it: what a frame of its origin says of it.
type requestState struct {
	id       []byte
	hash     []byte
	origin   string // the DC where the request was applied first
	revision int64  // of the origin
	stamp    event.Stamp
	outcome  []byte // see outline
	reduced  bool
}

const (
	requestStateID       = 1
	requestStateHash     = 2
	requestStateOrigin   = 3
	requestStateRevision = 4
	requestStateStamp    = 5
	requestStateOutcome  = 6
	requestStateReduced  = 7
)

// exportRequest turns what is kept here into what others get. A request that changed nothing is left out: no
// frame would tell of it either.
func exportRequest(id, raw []byte) (*requestState, *record, error) {
	rec, err := decodeRecord(raw)
	if err != nil || rec.revision == 0 {
		return nil, rec, err
	}
	q := &requestState{
		id: id, hash: rec.hash, origin: rec.origin, revision: rec.revision, stamp: rec.stamp, outcome: rec.response, reduced: rec.reduced,
	}
	if rec.whole {
		op := &pb.ResponseOp{}
		if err := proto.Unmarshal(rec.response, op); err != nil {
			return nil, rec, fmt.Errorf("answer kept with request %q: %w: the store is damaged", id, err)
		}
		q.outcome, q.reduced = outline(op)
	}
	return q, rec, nil
}

// exportRequests reads requests behind a number. Those that were remembered before revision `since` are left
// out: the receiver had them with its snapshot of then.
func (d *DC) exportRequests(after, upTo uint64, since int64, maxBytes int) (part, error) {
	e, err := d.store.ExportRequests(after, upTo, maxBytes)
	if err != nil {
		return part{}, err
	}
	p := part{last: cursorOfRequest(upTo, e.Last), done: e.Done, index: e.Index}
	for i := range e.Requests {
		q, rec, err := exportRequest(e.Requests[i].ID, e.Requests[i].Record)
		if err != nil {
			return part{}, err
		}
		if q != nil && rec.local >= since {
			p.requests = append(p.requests, *q)
		}
	}
	return p, nil
}

// appendRequests adds requests to a chunk. The version is written again: the last one counts.
func appendRequests(b []byte, requests []requestState) []byte {
	b = appendUint(b, chunkFieldVersion, chunkVersionRequests)
	for i := range requests {
		q := &requests[i]
		m := appendField(nil, requestStateID, q.id)
		m = appendField(m, requestStateHash, q.hash)
		m = appendField(m, requestStateOrigin, []byte(q.origin))
		m = appendUint(m, requestStateRevision, uint64(q.revision))
		m = appendUint(m, requestStateStamp, uint64(q.stamp))
		m = appendField(m, requestStateOutcome, q.outcome)
		m = appendVarint(m, requestStateReduced, protowire.EncodeBool(q.reduced))
		b = appendField(b, chunkFieldRequest, m)
	}
	return b
}

func decodeRequestState(b []byte) (requestState, error) {
	var q requestState
	err := chunkFields(b, func(num protowire.Number, n uint64, raw []byte) error {
		switch num {
		case requestStateID:
			q.id = raw
		case requestStateHash:
			q.hash = raw
		case requestStateOrigin:
			q.origin = string(raw)
		case requestStateRevision:
			q.revision = int64(n)
		case requestStateStamp:
			q.stamp = event.Stamp(n)
		case requestStateOutcome:
			q.outcome = raw
		case requestStateReduced:
			q.reduced = n != 0
		}
		return nil
	})
	if err == nil && (len(q.id) == 0 || len(q.hash) != sha256.Size || q.origin == "" || q.revision <= 0) {
		err = fmt.Errorf("request %q of origin %q, revision %d, with a hash of %d bytes", q.id, q.origin, q.revision, len(q.hash))
	}
	return q, err
}

// mergeRequest remembers a request of a snapshot as if its frame had come now, unless its id is known. In a
// full table it takes the place of an older one, never of a younger one. It says whether it was entered.
func mergeRequest(b *store.Batch, q *requestState, keep int) (bool, error) {
	if len(q.id) > MaxRequestID {
		return false, nil
	}
	known, err := b.Request(q.id)
	if err != nil || known != nil {
		return false, err
	}
	if b.RequestCount() >= keep {
		if older, err := oldestIsBefore(b, q.stamp); err != nil || !older {
			return false, err
		}
	}
	enterForeign(b, q, keep)
	return true, nil
}

// oldestLook is at how many requests oldestIsBefore looks.
const oldestLook = 64

// oldestIsBefore says whether the oldest request that is remembered was made before a stamp. One that changed
// nothing has no stamp: it is no younger than the next one that has.
func oldestIsBefore(b *store.Batch, stamp event.Stamp) (bool, error) {
	for i := range min(oldestLook, b.RequestCount()) {
		raw, err := b.OldRequest(i)
		if err != nil {
			return false, err
		}
		rec, err := decodeRecord(raw)
		if err != nil {
			return false, err
		}
		if rec.stamp != 0 {
			return rec.stamp < stamp, nil
		}
	}
	return false, nil
}

// enterForeign remembers a request that another DC applied first and that is not known here.
func enterForeign(b *store.Batch, q *requestState, keep int) {
	rec := record{
		hash: q.hash, origin: q.origin, revision: q.revision, stamp: q.stamp, local: b.Revision(),
		response: q.outcome, reduced: q.reduced,
	}
	if len(rec.response) > maxOutcomeBytes {
		rec.response, rec.reduced = nil, true
	}
	b.Remember(q.id, rec.marshal(), keep)
}
