package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrToken marks text that is no token.
var ErrToken = errors.New("not a token")

// Token names a committed transaction everywhere: its origin, the epoch of its keyspace there, and its
// origin revision. Epoch is 0 in a multi-writer keyspace.
type Token struct {
	Origin   string
	Epoch    uint64
	Revision int64
}

// String is the form that travels in metadata: origin:epoch:revision.
func (t Token) String() string {
	var room [64]byte
	b := append(append(room[:0], t.Origin...), ':')
	b = append(strconv.AppendUint(b, t.Epoch, 10), ':')
	return string(strconv.AppendInt(b, t.Revision, 10))
}

// ParseToken reads what String writes.
func ParseToken(s string) (Token, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 || parts[0] == "" {
		return Token{}, fmt.Errorf("%w: %q, want ORIGIN:EPOCH:REVISION", ErrToken, s)
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %q: epoch: %w", ErrToken, s, err)
	}
	revision, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || revision < 0 {
		return Token{}, fmt.Errorf("%w: %q: revision must be a whole number, 0 or more", ErrToken, s)
	}
	return Token{Origin: parts[0], Epoch: epoch, Revision: revision}, nil
}

// Receipt says what a write's answer is worth.
type Receipt struct {
	Token   Token
	Policy  Policy        // the one that was asked for
	AckedBy []string      // DCs known to have committed it when the answer was given, the local one first
	Elapsed time.Duration // from the local commit to the answer
}
