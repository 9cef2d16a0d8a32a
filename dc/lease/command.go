package lease

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Op is what a command asks for; the numbers are part of the format.
type Op uint8

// The operations.
const (
	OpGrant      Op = 1 // one lease: ID and TTL
	OpRevoke     Op = 2 // one lease: ID, and Granted when only that one is meant
	OpCheckpoint Op = 3 // any number: ID, Granted and Remaining
)

// Command is the payload of an item in the log. dc/README.md has the table of its fields.
type Command struct {
	Op      Op
	Leases  []Lease
	Expired bool   // of a revoke: the leader found that its time is over
	User    string // of a client's revoke: who asks; "" while authentication is off
}

const (
	commandOp      = 1
	commandLease   = 2
	commandExpired = 3
	commandUser    = 4

	leaseID        = 1
	leaseTTL       = 2
	leaseRemaining = 3
	leaseGranted   = 4
)

// Marshal encodes a command.
func (c *Command) Marshal() []byte {
	b := appendVarint(nil, commandOp, uint64(c.Op))
	for i := range c.Leases {
		b = protowire.AppendTag(b, commandLease, protowire.BytesType)
		b = protowire.AppendBytes(b, c.Leases[i].Marshal())
	}
	b = appendVarint(b, commandExpired, protowire.EncodeBool(c.Expired))
	if c.User != "" {
		b = protowire.AppendTag(b, commandUser, protowire.BytesType)
		b = protowire.AppendString(b, c.User)
	}
	return b
}

// UnmarshalCommand reads a command, of any bytes.
func UnmarshalCommand(b []byte) (Command, error) {
	var c Command
	err := fields(b, func(num protowire.Number, v uint64, raw []byte) error {
		switch num {
		case commandOp:
			if v > math.MaxUint8 { // cut off it would be another operation
				return fmt.Errorf("%w: operation %d, this build knows up to %d", ErrMalformed, v, OpCheckpoint)
			}
			c.Op = Op(v)
		case commandLease:
			l, err := Unmarshal(raw)
			if err != nil {
				return err
			}
			c.Leases = append(c.Leases, l)
		case commandExpired:
			c.Expired = v != 0
		case commandUser:
			c.User = string(raw)
		}
		return nil
	})
	switch {
	case err != nil:
	case c.Op < OpGrant || c.Op > OpCheckpoint:
		err = fmt.Errorf("%w: operation %d, this build knows up to %d", ErrMalformed, c.Op, OpCheckpoint)
	case c.Op != OpCheckpoint && len(c.Leases) != 1:
		err = fmt.Errorf("%w: operation %d with %d leases, want one", ErrMalformed, c.Op, len(c.Leases))
	}
	return c, err
}

// Marshal encodes a lease, for a command and for the store.
func (l *Lease) Marshal() []byte {
	b := appendVarint(make([]byte, 0, 40), leaseID, uint64(l.ID))
	b = appendVarint(b, leaseTTL, uint64(l.TTL))
	b = appendVarint(b, leaseRemaining, uint64(l.Remaining))
	return appendVarint(b, leaseGranted, l.Granted)
}

// Unmarshal reads a lease.
func Unmarshal(b []byte) (Lease, error) {
	var l Lease
	err := fields(b, func(num protowire.Number, v uint64, _ []byte) error {
		switch num {
		case leaseID:
			l.ID = int64(v)
		case leaseTTL:
			l.TTL = int64(v)
		case leaseRemaining:
			l.Remaining = int64(v)
		case leaseGranted:
			l.Granted = v
		}
		return nil
	})
	if err == nil && l.ID == 0 {
		err = fmt.Errorf("%w: id 0", ErrMalformed)
	}
	return l, err
}

// appendVarint leaves zero out.
func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// fields calls fn for every varint and bytes field, and skips the others.
func fields(b []byte, fn func(num protowire.Number, v uint64, raw []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
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
			return fmt.Errorf("%w: field %d: %w", ErrMalformed, num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := fn(num, v, raw); err != nil {
			return err
		}
	}
	return nil
}
