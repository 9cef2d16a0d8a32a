package direct

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

// keptBytes bounds the memory that a connection keeps for the next messages; more at a time is rare.
const keptBytes = 1 << 20

// ErrEnded is that the other side has closed a connection.
var ErrEnded = errors.New("connection for messages was closed by the peer")

// Conn is the sending end of a connection.
type Conn struct {
	conn net.Conn // sock itself, or TLS on it
	sock *socket
	out  []byte // encoded
}

// Send takes messages and never waits. What it has to keep for itself makes the connection [Conn.Behind]. An error may
// be of an earlier call; the connection is of no use then.
func (c *Conn) Send(messages ...raftpb.Message) error {
	if cap(c.out) > keptBytes {
		c.out = nil
	}
	c.out = c.out[:0]
	for i := range messages {
		var err error
		if c.out, err = appendMessage(c.out, &messages[i]); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(c.out)
	return err
}

// appendMessage appends a message behind its length, a varint.
func appendMessage(b []byte, m *raftpb.Message) ([]byte, error) {
	size := m.Size()
	b = binary.AppendUvarint(b, uint64(size)) //nolint:gosec // not negative
	b = slices.Grow(b, size)
	n, err := m.MarshalTo(b[len(b) : len(b)+size])
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return b[:len(b)+n], nil
}

// Behind says whether the kernel has not taken everything yet.
func (c *Conn) Behind() bool { return c.sock.behind() }

// Flush waits until it has.
func (c *Conn) Flush() error { return c.sock.flush() }

// Wait returns when the connection is of no use any more, with the reason.
func (c *Conn) Wait() error {
	_, err := c.conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // TLS wants a goodbye
		return ErrEnded
	}
	return err
}

// Close ends Flush and Wait.
func (c *Conn) Close() error { return c.sock.Conn.Close() } // TLS would want to say goodbye first, and wait for it
