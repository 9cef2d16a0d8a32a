package dc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"geogate/dc/store"
	"geogate/replication/event"
)

const (
	// MaxRequestID is the greatest length of a request id, in bytes.
	MaxRequestID = 128

	// maxRequests is how many requests are remembered, the newest ones. It is a constant because replicas
	// that forgot at different times would take the same retry differently.
	maxRequests = 100_000
)

type requestIDKey struct{}

// WithRequestID makes writes with the returned context idempotent: of all writes with one id, 1 to
// [MaxRequestID] bytes, only the first is applied. The others get its answer, or [ErrRequestReused] when they
// ask for something else.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// request is the payload of a request item: a write with its id.
type request struct {
	id   []byte
	hash []byte // SHA-256 of kind and payload
	item item
}

const (
	requestFieldID      = 1
	requestFieldHash    = 2
	requestFieldKind    = 3
	requestFieldPayload = 4
)

func hashRequest(it item) []byte {
	h := sha256.New()
	h.Write([]byte{byte(it.kind)})
	h.Write(it.payload)
	return h.Sum(nil)
}

type translatedKey struct{}

// WithTranslated says that writes with the returned context are a translation of a client's request, which may
// differ from one repetition to the next. Repetitions are told by what the client asked for.
func WithTranslated(ctx context.Context, from proto.Message) context.Context {
	return context.WithValue(ctx, translatedKey{}, from)
}

// asked is the payload by which a repetition of the write is told.
func asked(ctx context.Context, payload []byte) ([]byte, error) {
	from, ok := ctx.Value(translatedKey{}).(proto.Message)
	if !ok {
		return payload, nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return b, nil
}

// withID wraps a write.
func (it item) withID(id string) (item, error) { return it.withIDOf(id, it.payload) }

// withIDOf wraps a write whose repetitions have the same kind and asked payload. The hash is computed here, and not
// by every replica at apply.
func (it item) withIDOf(id string, asked []byte) (item, error) {
	if len(id) > MaxRequestID {
		return item{}, fmt.Errorf("%w: request id of %d bytes, the limit is %d", ErrTooLarge, len(id), MaxRequestID)
	}
	b := make([]byte, 0, len(id)+sha256.Size+len(it.payload)+32)
	b = protowire.AppendTag(b, requestFieldID, protowire.BytesType)
	b = protowire.AppendString(b, id)
	b = protowire.AppendTag(b, requestFieldHash, protowire.BytesType)
	b = protowire.AppendBytes(b, hashRequest(item{kind: it.kind, payload: asked}))
	b = protowire.AppendTag(b, requestFieldKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(it.kind))
	b = protowire.AppendTag(b, requestFieldPayload, protowire.BytesType)
	b = protowire.AppendBytes(b, it.payload)
	return item{kind: kindRequest, payload: b, auth: it.auth, keyspace: it.keyspace}, nil
}

// decodeRequest reads what withID wrote; everything in it is a slice of b.
func decodeRequest(b []byte) (request, error) {
	var q request
	err := eachField(b, func(num protowire.Number, v uint64, raw []byte) {
		switch num {
		case requestFieldID:
			q.id = raw
		case requestFieldHash:
			q.hash = raw
		case requestFieldKind:
			q.item.kind = kind(min(v, 255)) // cut to a byte it would be another, known kind
		case requestFieldPayload:
			q.item.payload = raw
		}
	})
	if err != nil {
		return q, fmt.Errorf("%w: request: %w", ErrMalformed, err)
	}
	switch q.item.kind {
	case kindPut, kindDelete, kindTxn:
		return q, nil
	}
	return q, fmt.Errorf("%w: request of kind %d", ErrMalformed, q.item.kind)
}

// eachField calls fn for every varint and bytes field of a message, and skips the others.
func eachField(b []byte, fn func(num protowire.Number, v uint64, raw []byte)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		var raw []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			if n = protowire.ConsumeFieldValue(num, typ, b); n >= 0 {
				b = b[n:]
				continue
			}
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		fn(num, v, raw)
		b = b[n:]
	}
	return nil
}

// request applies a write with an id, unless one with that id was applied before.
func (a *applier) request(it *item, stamp event.Stamp) (result, error) {
	q, err := decodeRequest(it.payload)
	if err != nil {
		return result{}, err
	}
	q.item.keyspace = it.keyspace
	raw, err := a.batch.Request(q.id)
	if err != nil {
		return result{}, err
	}
	if raw != nil {
		lost, err := a.forgotten(&q, raw)
		if err != nil {
			return result{}, err
		}
		if !lost {
			return a.repeat(&q, raw)
		}
	}
	before := len(a.frame.Txns)
	r, err := a.write(&q.item, stamp, true) // the response is kept on every node
	if err != nil {
		return result{}, err
	}
	if r.err != nil && passing(r.err) {
		return r, nil // not remembered: once there is room, a repetition shall be applied
	}
	rec := record{hash: q.hash, origin: a.dc.cfg.Name, revision: r.commit.Revision, stamp: r.commit.Stamp, local: a.batch.Revision()}
	if r.err != nil {
		rec.refusal = refusalOf(r.err)
	} else {
		rec.keep(r.response)
	}
	a.batch.RememberAnew(q.id, rec.marshal(), a.dc.cfg.maxRequests())
	if len(a.frame.Txns) > before && !a.entry.alone {
		a.frame.Txns[before].Request = frameRequest(&q, r.response)
	}
	return r, nil
}

// forgotten says whether what is remembered of a request was set aside since: then it counts as one that was never
// applied.
func (a *applier) forgotten(q *request, raw []byte) (bool, error) {
	if q.item.keyspace == nil {
		return false, nil
	}
	r := a.dc.state.homes.regs[string(q.item.keyspace)]
	if r == nil || len(r.lost) == 0 {
		return false, nil
	}
	rec, err := decodeRecord(raw)
	return err == nil && r.lostRequest(rec), err
}

// repeat answers a request whose id is known, and changes nothing.
func (a *applier) repeat(q *request, raw []byte) (result, error) {
	rec, err := decodeRecord(raw)
	if err != nil {
		return result{}, err
	}
	if string(rec.hash) != string(q.hash) {
		a.dc.metrics.requestReused()
		return result{err: fmt.Errorf("%w: %q", ErrRequestReused, q.id)}, nil
	}
	a.dc.metrics.requestRepeated()
	if rec.refusal != 0 {
		return result{err: rec.refusal.error()}, nil
	}
	response, err := rec.answer(q.item.kind)
	if err != nil {
		return result{}, err
	}
	c := Commit{Revision: rec.revision, Stamp: rec.stamp, Repeated: true, Reduced: rec.reduced}
	if rec.origin != a.dc.cfg.Name {
		c.Origin = rec.origin
	}
	return result{response: response, commit: c}, nil
}

// rememberForeign enters the id of a transaction of another DC. One that is known already stays as it is:
// the same request was then made in two DCs before either heard of the other.
func rememberForeign(b *store.Batch, origin string, t *event.Txn, keep int) error {
	q := t.Request
	if len(q.ID) == 0 || len(q.ID) > MaxRequestID || len(q.Hash) != sha256.Size {
		return nil // not of this version; the transaction counts, its id can't be used
	}
	known, err := b.Request(q.ID)
	if err != nil || known != nil {
		return err
	}
	enterForeign(b, &requestState{
		id: q.ID, hash: q.Hash, origin: origin, revision: t.Revision, stamp: t.Stamp, outcome: q.Outcome, reduced: q.Reduced,
	}, keep)
	return nil
}

func (c *Config) maxRequests() int {
	if c.requests > 0 {
		return c.requests
	}
	return maxRequests
}

// refusal is an answer of the evaluation that is not a response; the numbers are part of the format.
type refusal uint8

const (
	refusedKeyNotFound   refusal = 1
	refusedLeaseNotFound refusal = 2
	refusedCompacted     refusal = 3
	refusedFutureRev     refusal = 4
)

// refusals are the errors that [refused] knows, by number.
var refusals = [...]error{
	refusedKeyNotFound: ErrKeyNotFound, refusedLeaseNotFound: ErrLeaseNotFound,
	refusedCompacted: store.ErrCompacted, refusedFutureRev: store.ErrFutureRev,
}

func refusalOf(err error) refusal {
	for n, known := range refusals {
		if known != nil && errors.Is(err, known) {
			return refusal(n)
		}
	}
	panic(fmt.Sprintf("dc: %v is not an answer", err)) // refused said that it is
}

func (r refusal) error() error {
	if int(r) < len(refusals) && refusals[r] != nil {
		return refusals[r]
	}
	return fmt.Errorf("%w: refusal %d", ErrMalformed, r)
}
