package homes

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The records are protobuf messages written by hand in ascending field order, zero values left out; README.md has
// the table. Equal values give equal bytes in every build.

// formatVersion is that of all records; a record of another version is refused.
const formatVersion = 1

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBool(b []byte, field protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendUint(b, field, 1)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func (l Life) encode() []byte {
	return appendUint(appendBytes(nil, 1, []byte(l.DC)), 2, l.Incarnation)
}

func (t Tenure) encode() []byte {
	b := appendUint(nil, 1, t.Epoch)
	b = appendBytes(b, 2, t.Home.encode())
	return appendUint(b, 3, uint64(t.Cut))
}

func (v Value) encode() []byte {
	b := appendUint(nil, 1, v.Epoch)
	b = appendBytes(b, 2, v.Home.encode())
	b = appendBool(b, 3, v.Forced)
	for _, t := range v.Past {
		b = protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), t.encode())
	}
	return b
}

func (b Ballot) encode() []byte {
	return appendBytes(appendUint(nil, 1, b.Round), 2, []byte(b.DC))
}

func (p Proposal) encode() []byte {
	return appendBytes(appendBytes(nil, 1, p.Ballot.encode()), 2, p.Value.encode())
}

func (l Lease) encode() []byte {
	b := appendBytes(nil, 1, l.Holder.encode())
	b = appendUint(b, 2, l.Epoch)
	b = appendUint(b, 3, uint64(l.Duration))
	return appendUint(b, 4, l.Number)
}

// Encode gives the bytes to keep in the store.
func (s State) Encode() []byte {
	b := appendUint(nil, 1, formatVersion)
	b = appendBytes(b, 2, s.Decided.encode())
	b = appendBytes(b, 3, s.Promised.encode())
	b = appendBytes(b, 4, s.Vote.encode())
	b = appendBool(b, 5, s.Draining)
	b = appendUint(b, 6, uint64(s.Frozen))
	b = appendUint(b, 7, uint64(s.Allowed))
	b = appendBytes(b, 8, s.Lease.encode())
	b = appendUint(b, 9, s.Barred)
	return appendUint(b, 10, uint64(s.Moved))
}

// Encode gives the payload of a Raft entry item, and of a message to a peer.
func (c Command) Encode() []byte {
	b := appendUint(nil, 1, formatVersion)
	b = appendUint(b, 2, uint64(c.Kind))
	b = appendBytes(b, 3, []byte(c.Keyspace))
	b = appendBytes(b, 4, c.Known.encode())
	b = appendBytes(b, 5, c.Ballot.encode())
	b = appendBytes(b, 6, c.Value.encode())
	b = appendBool(b, 7, c.First)
	b = appendBool(b, 8, c.Drained)
	b = appendUint(b, 9, uint64(c.Duration))
	b = appendUint(b, 10, c.Lapsed)
	b = appendUint(b, 11, c.UpTo)
	return appendUint(b, 12, uint64(c.At))
}

// Encode gives the bytes of the answer to a peer.
func (r Reply) Encode() []byte {
	b := appendUint(nil, 1, formatVersion)
	b = appendUint(b, 2, uint64(r.Answer))
	b = appendBytes(b, 3, []byte(r.Keyspace))
	b = appendUint(b, 4, r.Epoch)
	b = appendBytes(b, 5, r.Ballot.encode())
	b = appendBytes(b, 6, r.Promised.encode())
	b = appendBytes(b, 7, r.Vote.encode())
	b = appendUint(b, 8, uint64(r.Watermark))
	b = appendBool(b, 9, r.Data)
	b = appendBytes(b, 10, r.Lease.encode())
	b = appendBytes(b, 11, r.Decided.encode())
	b = appendBool(b, 12, r.Quiet)
	b = appendBool(b, 13, r.AtHome)
	return appendBool(b, 14, r.Lost)
}

// fields calls f for every field with its number, or its bytes; unknown fields are for f to ignore.
func fields(b []byte, f func(n protowire.Number, v uint64, raw []byte) error) error {
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
				num = 0 // of a type that no field of ours has
			}
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrMalformed, num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := f(num, v, raw); err != nil {
			return err
		}
	}
	return nil
}

func (l *Life) decode(b []byte) error {
	return fields(b, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			l.DC = string(raw)
		case 2:
			l.Incarnation = v
		}
		return nil
	})
}

func (t *Tenure) decode(b []byte) error {
	return fields(b, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			t.Epoch = v
		case 2:
			return t.Home.decode(raw)
		case 3:
			t.Cut = int64(v)
		}
		return nil
	})
}

func (v *Value) decode(b []byte) error {
	return fields(b, func(n protowire.Number, u uint64, raw []byte) error {
		switch n {
		case 1:
			v.Epoch = u
		case 2:
			return v.Home.decode(raw)
		case 3:
			v.Forced = u != 0
		case 4:
			var t Tenure
			if err := t.decode(raw); err != nil {
				return err
			}
			v.Past = append(v.Past, t)
		}
		return nil
	})
}

func (b *Ballot) decode(from []byte) error {
	return fields(from, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			b.Round = v
		case 2:
			b.DC = string(raw)
		}
		return nil
	})
}

func (p *Proposal) decode(b []byte) error {
	return fields(b, func(n protowire.Number, _ uint64, raw []byte) error {
		switch n {
		case 1:
			return p.Ballot.decode(raw)
		case 2:
			return p.Value.decode(raw)
		}
		return nil
	})
}

func (l *Lease) decode(b []byte) error {
	return fields(b, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			return l.Holder.decode(raw)
		case 2:
			l.Epoch = v
		case 3:
			l.Duration = time.Duration(v)
		case 4:
			l.Number = v
		}
		return nil
	})
}

func checkVersion(what string, version uint64) error {
	if version != formatVersion {
		return fmt.Errorf("%w: %s has version %d, this build reads %d", ErrMalformed, what, version, formatVersion)
	}
	return nil
}

// DecodeState reads what [State.Encode] wrote. No bytes at all are the zero State.
func DecodeState(b []byte) (State, error) {
	var s State
	if len(b) == 0 {
		return s, nil
	}
	version := uint64(0)
	err := fields(b, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			version = v
		case 2:
			return s.Decided.decode(raw)
		case 3:
			return s.Promised.decode(raw)
		case 4:
			return s.Vote.decode(raw)
		case 5:
			s.Draining = v != 0
		case 6:
			s.Frozen = int64(v)
		case 7:
			s.Allowed = int64(v)
		case 8:
			return s.Lease.decode(raw)
		case 9:
			s.Barred = v
		case 10:
			s.Moved = int64(v)
		}
		return nil
	})
	if err == nil {
		err = checkVersion("state", version)
	}
	return s, err
}

// DecodeCommand reads what [Command.Encode] wrote.
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	version := uint64(0)
	err := fields(b, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			version = v
		case 2:
			if v > uint64(^Kind(0)) {
				return fmt.Errorf("%w: command of kind %d", ErrMalformed, v)
			}
			c.Kind = Kind(v)
		case 3:
			c.Keyspace = string(raw)
		case 4:
			return c.Known.decode(raw)
		case 5:
			return c.Ballot.decode(raw)
		case 6:
			return c.Value.decode(raw)
		case 7:
			c.First = v != 0
		case 8:
			c.Drained = v != 0
		case 9:
			c.Duration = time.Duration(v)
		case 10:
			c.Lapsed = v
		case 11:
			c.UpTo = v
		case 12:
			c.At = int64(v)
		}
		return nil
	})
	if err == nil {
		err = checkVersion("command", version)
	}
	return c, err
}

// DecodeReply reads what [Reply.Encode] wrote.
func DecodeReply(b []byte) (Reply, error) {
	var r Reply
	version := uint64(0)
	err := fields(b, func(n protowire.Number, v uint64, raw []byte) error {
		switch n {
		case 1:
			version = v
		case 2:
			if v > uint64(^Answer(0)) {
				return fmt.Errorf("%w: reply of kind %d", ErrMalformed, v)
			}
			r.Answer = Answer(v)
		case 3:
			r.Keyspace = string(raw)
		case 4:
			r.Epoch = v
		case 5:
			return r.Ballot.decode(raw)
		case 6:
			return r.Promised.decode(raw)
		case 7:
			return r.Vote.decode(raw)
		case 8:
			r.Watermark = int64(v)
		case 9:
			r.Data = v != 0
		case 10:
			return r.Lease.decode(raw)
		case 11:
			return r.Decided.decode(raw)
		case 12:
			r.Quiet = v != 0
		case 13:
			r.AtHome = v != 0
		case 14:
			r.Lost = v != 0
		}
		return nil
	})
	if err == nil {
		err = checkVersion("reply", version)
	}
	return r, err
}
