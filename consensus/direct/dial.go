package direct

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Call is where and how to open a connection.
type Call struct {
	Addr    string        // host:port
	TLS     *tls.Config   // nil: plain text
	Ticket  []byte        // that the other side has issued
	Timeout time.Duration // for all of it

	// Unanswered is how long the kernel sends again what nobody confirms before it ends the connection, where it can be
	// told so. That a peer reads nothing counts as well, so 0, which leaves it to the kernel, where one may.
	Unanswered time.Duration
}

// Dial opens a connection for messages.
func Dial(ctx context.Context, call Call) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, call.Timeout)
	defer cancel()
	d := net.Dialer{Control: endAfter(call.Unanswered)}
	raw, err := d.DialContext(ctx, "tcp", call.Addr)
	if err != nil {
		return nil, err
	}
	c, err := open(ctx, raw, &call)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

func open(ctx context.Context, raw net.Conn, call *Call) (*Conn, error) {
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("connection to %s is a %T", call.Addr, raw)
	}
	sock, err := newSocket(tcp)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &Conn{conn: sock, sock: sock}
	if call.TLS != nil {
		secure, err := encrypt(ctx, sock, call)
		if err != nil {
			return nil, err
		}
		c.conn = secure
	}
	if _, err := c.conn.Write(append([]byte(opening), call.Ticket...)); err != nil {
		return nil, err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(c.conn, answer); err != nil {
		return nil, fmt.Errorf("%s does not answer the ticket: %w", call.Addr, err)
	}
	if !bytes.Equal(answer, []byte{admitted}) {
		return nil, fmt.Errorf("%s answers the ticket with %#x", call.Addr, answer)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	sock.opened()
	return c, nil
}

func encrypt(ctx context.Context, sock *socket, call *Call) (net.Conn, error) {
	cfg := call.TLS.Clone()
	cfg.NextProtos = []string{protocol}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(call.Addr)
		if err != nil {
			return nil, err
		}
		cfg.ServerName = host
	}
	secure := tls.Client(sock, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}
