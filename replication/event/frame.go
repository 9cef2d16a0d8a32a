package event

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// FrameVersion is the greatest version of the frame format that this build reads. A frame is written in the
// lowest version that can say what it holds. See README.md for the table.
const FrameVersion = homeVersion

const (
	plainVersion  = 1
	systemVersion = 2 // has operations on the system table
	homeVersion   = 3 // has transactions of single-writer keyspaces
)

// Sentinels of decoding and of the chain.
var (
	// ErrFrame marks bytes that are not a frame of a version that this build reads.
	ErrFrame = errors.New("not a readable frame")
	// ErrGap marks a frame that does not continue the chain where the reader stands.
	ErrGap = errors.New("frame does not continue the chain")
	// ErrIncarnation marks a frame of another life of its origin: its chain never continues this one.
	ErrIncarnation = errors.New("frame is of another incarnation of its origin")
)

// Hash is the SHA-256 of a frame's bytes.
type Hash [sha256.Size]byte

// HashOf hashes the bytes of a frame.
func HashOf(frame []byte) Hash { return sha256.Sum256(frame) }

// String is the first eight bytes in hexadecimal, enough to tell frames apart in a log.
func (h Hash) String() string { return hex.EncodeToString(h[:8]) }

// OpKind says what an [Op] does to its key.
type OpKind uint8

// The kinds of Op; the numbers are part of the format.
const (
	OpPut          OpKind = 1
	OpDelete       OpKind = 2
	OpSystemPut    OpKind = 3 // of an entry of the system table: Key is its name
	OpSystemDelete OpKind = 4

	lastOp = OpSystemDelete
)

// System says whether the operation is on the system table, and not on a key.
func (k OpKind) System() bool { return k == OpSystemPut || k == OpSystemDelete }

// Op is the effect of a transaction on one key, or on one entry of the system table.
type Op struct {
	Kind  OpKind
	Key   []byte
	Value []byte // of a put
	Lease int64  // of a put; 0 for none
}

// Txn is one transaction: its effects happen together or not at all in its origin, and key by key under
// the merge rule elsewhere.
type Txn struct {
	Revision int64 // the origin revision
	Stamp    Stamp
	Ops      []Op
	Request  *Request // nil when the client gave no id
	Home     *Home    // nil unless it is of a single-writer keyspace
}

// Request is the idempotency key of a transaction, and what its origin answered: enough to recognise a
// retry in another DC and to answer it. ID and Hash are opaque here, and so is Outcome.
type Request struct {
	ID      []byte
	Hash    []byte // of the request; another request with the same id is not a retry
	Outcome []byte // the answer, without revisions, keys and values
	Reduced bool   // the answer had more than Outcome can give
}

// Vector maps a DC's name to the highest origin revision of it that is applied with nothing missing below.
type Vector map[string]int64

// Clone copies the vector; a nil vector gives an empty one.
func (v Vector) Clone() Vector {
	c := make(Vector, len(v))
	for k, r := range v {
		c[k] = r
	}
	return c
}

// Covers says whether v is at or past w in every origin that w names.
func (v Vector) Covers(w Vector) bool {
	for origin, r := range w {
		if v[origin] < r {
			return false
		}
	}
	return true
}

// Position is a place in a chain: everything up to and including Revision has been seen, and Hash is the
// hash of the frame that ended there. The zero Revision and Hash stand before the first frame.
type Position struct {
	Origin      string
	Incarnation uint64
	Revision    int64
	Hash        Hash
}

func (p Position) String() string {
	return fmt.Sprintf("%s/%016x@%d#%s", p.Origin, p.Incarnation, p.Revision, p.Hash)
}

// Frame is the effects of one committed Raft entry of local writes.
type Frame struct {
	Origin       string
	Incarnation  uint64
	PrevRevision int64  // Last of the frame before; 0 for the first
	PrevHash     Hash   // hash of the frame before; zero for the first
	Seen         Vector // what the origin had applied of the other DCs when it committed this frame
	Txns         []Txn  // at least one, revisions ascending
}

// First is the origin revision of the first transaction.
func (f *Frame) First() int64 { return f.Txns[0].Revision }

// Last is the origin revision of the last transaction.
func (f *Frame) Last() int64 { return f.Txns[len(f.Txns)-1].Revision }

// Sealed is a frame as bytes with what a carrier must know of it. The bytes are never changed.
type Sealed struct {
	Bytes        []byte
	Hash         Hash
	Origin       string
	Incarnation  uint64
	PrevRevision int64
	PrevHash     Hash
	First, Last  int64
	Txns         int   // number of transactions
	Stamp        Stamp // of the first transaction: the origin's clock at commit
}

// Committed is the time, on the origin's clock, at which the frame's first transaction was ordered.
func (s *Sealed) Committed() time.Time { return s.Stamp.Time() }

// Seal encodes the frame. It fails when the frame has no transaction or its revisions do not ascend.
func Seal(f *Frame) (Sealed, error) {
	if err := f.check(); err != nil {
		return Sealed{}, err
	}
	b := appendFrame(make([]byte, 0, frameSize(f)), f)
	return sealed(b, f), nil
}

// Open decodes a frame; the frame's keys and values are slices of b. Every length is checked, so any bytes
// may be passed; the error wraps [ErrFrame].
func Open(b []byte) (*Frame, Sealed, error) {
	f, err := decodeFrame(b)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return nil, Sealed{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return f, sealed(b, f), nil
}

func sealed(b []byte, f *Frame) Sealed {
	return Sealed{
		Bytes: b, Hash: HashOf(b), Origin: f.Origin, Incarnation: f.Incarnation,
		PrevRevision: f.PrevRevision, PrevHash: f.PrevHash,
		First: f.First(), Last: f.Last(), Txns: len(f.Txns), Stamp: f.Txns[0].Stamp,
	}
}

func (f *Frame) check() error {
	if f.Origin == "" {
		return errors.New("no origin")
	}
	if len(f.Txns) == 0 {
		return errors.New("no transaction")
	}
	prev := f.PrevRevision
	for i := range f.Txns {
		t := &f.Txns[i]
		if t.Revision <= prev {
			return fmt.Errorf("transaction %d has revision %d, not above %d", i, t.Revision, prev)
		}
		prev = t.Revision
		for _, op := range t.Ops {
			if op.Kind < OpPut || op.Kind > lastOp {
				return fmt.Errorf("transaction %d has an operation of unknown kind %d", i, op.Kind)
			}
			if len(op.Key) == 0 {
				return fmt.Errorf("transaction %d has an operation without a key", i)
			}
		}
	}
	return nil
}

// version is the lowest one that can say what the frame holds.
func (f *Frame) version() uint64 {
	version := uint64(plainVersion)
	for i := range f.Txns {
		if f.Txns[i].Home != nil {
			return homeVersion
		}
		for j := range f.Txns[i].Ops {
			if f.Txns[i].Ops[j].Kind.System() {
				version = systemVersion
			}
		}
	}
	return version
}

// Step is what a chain reader at some position must do with a frame.
type Step int

// The steps of [Position.Next].
const (
	StepApply Step = iota // the frame is the next one
	StepSkip              // the frame has been applied already
)

// Next decides what to do with s at position p. A frame at or below the position is skipped; the frame that
// continues the chain is applied; anything else is [ErrGap] or [ErrIncarnation], and the reader must not
// move. A position with zero revision and incarnation takes any incarnation, from its first frame on.
func (p Position) Next(s *Sealed) (Step, error) {
	fresh := p.Revision == 0 && p.Incarnation == 0
	if s.Incarnation != p.Incarnation && !fresh {
		return 0, fmt.Errorf("%w: at %s, got incarnation %016x", ErrIncarnation, p, s.Incarnation)
	}
	if s.Last <= p.Revision && !fresh {
		return StepSkip, nil
	}
	if s.PrevRevision != p.Revision || s.PrevHash != p.Hash {
		return 0, fmt.Errorf("%w: at %s, got %d..%d after %d#%s", ErrGap, p, s.First, s.Last, s.PrevRevision, s.PrevHash)
	}
	return StepApply, nil
}
