package direct

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// readBytes is the size of a read; messages up to it are not copied.
const readBytes = 32 << 10

// ErrTooLarge is a message above the limit.
var ErrTooLarge = errors.New("message is too large")

// Receive passes each message of a connection to take, in order, until the connection ends, which is nil, or something
// fails. The bytes are take's until it returns.
func Receive(conn net.Conn, maxBytes int, take func(message []byte) error) error {
	in := bufio.NewReaderSize(conn, readBytes)
	var large []byte
	for {
		n, err := binary.ReadUvarint(in)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read length of message: %w", err)
		case n > uint64(maxBytes): //nolint:gosec // not negative
			return fmt.Errorf("%w: %d bytes, and the limit is %d", ErrTooLarge, n, maxBytes)
		}
		size := int(n) //nolint:gosec // at most maxBytes
		if size <= readBytes {
			b, err := in.Peek(size)
			if err != nil {
				return fmt.Errorf("read message of %d bytes: %w", size, err)
			}
			if err := take(b); err != nil {
				return err
			}
			_, _ = in.Discard(size) // they are there
			continue
		}
		if cap(large) < size || cap(large) > keptBytes {
			large = make([]byte, size)
		}
		if _, err := io.ReadFull(in, large[:size]); err != nil {
			return fmt.Errorf("read message of %d bytes: %w", size, err)
		}
		if err := take(large[:size]); err != nil {
			return err
		}
	}
}
