package direct

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// opening is how a connection of this package begins, before its ticket. No other one of the port does: HTTP/2
	// begins with PRI (RFC 9113, section 3.4), TLS with a byte 22.
	opening = "GGM1"
	// protocol is its name in TLS (ALPN, RFC 7301).
	protocol = "geogate-messages/1"
	// admitted is the answer to a ticket that is known.
	admitted = 1

	ticketBytes = 16
)

// errTicket is a ticket that nobody has issued, or that was used or is void.
var errTicket = errors.New("ticket is not known, or not any more")

// Door is the receiving end of a port that gRPC shares with connections of this package.
type Door struct {
	patience time.Duration

	mu     sync.Mutex
	issued map[[ticketBytes]byte]*Ticket // that nobody has come with yet. guarded by mu
}

// NewDoor makes a door that gives a new connection so long for its first bytes.
func NewDoor(patience time.Duration) *Door {
	return &Door{patience: patience, issued: map[[ticketBytes]byte]*Ticket{}}
}

// Ticket admits one connection.
type Ticket struct {
	Secret []byte          // what the caller has to show
	Conn   <-chan net.Conn // receives the connection of who shows it; Close closes that as well

	door *Door
	key  [ticketBytes]byte
	put  chan net.Conn // Conn; capacity 1
	void bool          // guarded by door.mu
}

// Issue makes a ticket; close it in the end.
func (d *Door) Issue() *Ticket {
	t := &Ticket{door: d, put: make(chan net.Conn, 1)}
	_, _ = rand.Read(t.key[:]) // never fails
	t.Secret, t.Conn = t.key[:], t.put
	d.mu.Lock()
	d.issued[t.key] = t
	d.mu.Unlock()
	return t
}

// Close makes the ticket void. A connection that nobody has taken from Conn is closed.
func (t *Ticket) Close() {
	t.door.mu.Lock()
	defer t.door.mu.Unlock()
	delete(t.door.issued, t.key)
	t.void = true
	select {
	case c := <-t.put:
		_ = c.Close() // nobody has listened to it
	default:
	}
}

// admit reads a ticket and hands the connection to who has issued it.
func (d *Door) admit(c net.Conn) error {
	var key [ticketBytes]byte
	if _, err := io.ReadFull(c, key[:]); err != nil {
		return fmt.Errorf("read ticket: %w", err)
	}
	d.mu.Lock()
	t := d.issued[key]
	delete(d.issued, key)
	d.mu.Unlock()
	if t == nil {
		return fmt.Errorf("%w: shown by %s", errTicket, c.RemoteAddr())
	}
	if _, err := c.Write([]byte{admitted}); err != nil {
		return fmt.Errorf("answer ticket: %w", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.void {
		return fmt.Errorf("%w: shown by %s", errTicket, c.RemoteAddr())
	}
	t.put <- c
	return nil
}

// Credentials are those of the gRPC server of the port: its connections get to the server, and this package's don't.
// A nil config means plain text.
func (d *Door) Credentials(c *tls.Config) credentials.TransportCredentials {
	if c == nil {
		return &keeper{TransportCredentials: insecure.NewCredentials(), door: d}
	}
	c = c.Clone()
	c.NextProtos = append([]string{protocol}, c.NextProtos...) // gRPC adds its own
	return &keeper{TransportCredentials: credentials.NewTLS(c), door: d, secure: true}
}

// keeper looks at each new connection.
type keeper struct {
	credentials.TransportCredentials
	door   *Door
	secure bool
}

// ServerHandshake implements [credentials.TransportCredentials].
func (k *keeper) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := raw.SetDeadline(time.Now().Add(k.door.patience)); err != nil { // gRPC takes it away
		return nil, nil, err
	}
	conn, info := raw, credentials.AuthInfo(nil)
	if k.secure {
		var err error
		if conn, info, err = k.TransportCredentials.ServerHandshake(raw); err != nil {
			return nil, nil, err
		}
		if t, ok := info.(credentials.TLSInfo); ok && t.State.NegotiatedProtocol != protocol {
			return conn, info, nil
		}
	}
	head := make([]byte, len(opening))
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, nil, err
	}
	if string(head) == opening {
		if err := k.door.admit(conn); err != nil {
			return nil, nil, err
		}
		return nil, nil, credentials.ErrConnDispatched
	}
	if k.secure {
		return nil, nil, fmt.Errorf("%s speaks %s and begins with %q", raw.RemoteAddr(), protocol, head)
	}
	return k.TransportCredentials.ServerHandshake(&opened{Conn: conn, all: io.MultiReader(bytes.NewReader(head), conn)})
}

// Clone implements [credentials.TransportCredentials].
func (k *keeper) Clone() credentials.TransportCredentials {
	return &keeper{TransportCredentials: k.TransportCredentials.Clone(), door: k.door, secure: k.secure}
}

// opened is a connection whose first bytes were read.
type opened struct {
	net.Conn
	all io.Reader // these, and what follows
}

// Read implements [net.Conn].
func (c *opened) Read(p []byte) (int, error) { return c.all.Read(p) }
