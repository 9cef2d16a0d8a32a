package event

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrHeld marks a frame that must wait: a keyspace that it writes to is being moved, or the move is not known here
// yet. It is no gap. What it waits for comes through this datacenter's own log or with other chains.
var ErrHeld = errors.New("frame waits for a move of a keyspace")

// Home says in which epoch of a single-writer keyspace a transaction was written. Transactions may share one.
type Home struct {
	Keyspace string // prefix
	Epoch    uint64 // at least 1
	Leases   []LeaseTTL
}

// LeaseTTL tells how long a lease is that a put of the transaction names, so that the next home can grant it again.
type LeaseTTL struct {
	ID  int64
	TTL int64 // seconds
}

const (
	homeKeyspace = 1
	homeEpoch    = 2
	homeLease    = 3

	leaseID  = 1
	leaseTTL = 2
)

func homeSize(h *Home) int {
	n := bytesSize(len(h.Keyspace)) + uintSize(h.Epoch)
	for _, l := range h.Leases {
		n += 1 + protowire.SizeBytes(leaseSize(l))
	}
	return n
}

func leaseSize(l LeaseTTL) int { return uintSize(uint64(l.ID)) + uintSize(uint64(l.TTL)) }

func appendHome(b []byte, h *Home) []byte {
	b = protowire.AppendTag(b, txnHome, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(homeSize(h)))
	b = appendBytes(b, homeKeyspace, []byte(h.Keyspace))
	b = appendUint(b, homeEpoch, h.Epoch)
	for _, l := range h.Leases {
		b = protowire.AppendTag(b, homeLease, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(leaseSize(l)))
		b = appendUint(b, leaseID, uint64(l.ID))
		b = appendUint(b, leaseTTL, uint64(l.TTL))
	}
	return b
}

func decodeHome(x field) (*Home, error) {
	h := &Home{}
	if err := x.want(protowire.BytesType); err != nil {
		return nil, err
	}
	err := fields(x.b, func(y field) error {
		switch y.num {
		case homeKeyspace:
			h.Keyspace = string(y.b)
			return y.want(protowire.BytesType)
		case homeEpoch:
			h.Epoch = y.v
			return y.want(protowire.VarintType)
		case homeLease:
			l, err := decodeLease(y)
			h.Leases = append(h.Leases, l)
			return err
		}
		return nil
	})
	if err == nil && h.Epoch == 0 {
		err = errors.New("keyspace without an epoch")
	}
	return h, err
}

func decodeLease(x field) (LeaseTTL, error) {
	var l LeaseTTL
	if err := x.want(protowire.BytesType); err != nil {
		return l, err
	}
	err := fields(x.b, func(y field) error {
		switch y.num {
		case leaseID:
			l.ID = int64(y.v)
			return y.want(protowire.VarintType)
		case leaseTTL:
			l.TTL = int64(y.v)
			return y.want(protowire.VarintType)
		}
		return nil
	})
	return l, err
}
