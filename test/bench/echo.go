package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// echo measures the round trip time that the machine really gives. The relays take their turn on the cores that all servers
// share, so that a round trip over them takes longer than twice their delay. One small message at a time goes to and fro on
// a connection of its own, through a relay of its own.
type echo struct {
	listener net.Listener
	relay    *relay
	conn     net.Conn
	running  sync.WaitGroup

	mu    sync.Mutex
	trips []span // guarded by mu
}

// echoEvery is the least time from one message to the next, which also waits for the one before it.
const echoEvery = 20 * time.Millisecond

// startEcho goes to and fro over a WAN of this round trip time until Close.
func startEcho(rtt time.Duration) (*echo, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the echo: %w", err)
	}
	e := &echo{listener: l}
	e.running.Go(e.answer)
	if e.relay, err = openRelay(l.Addr().String()); err != nil {
		e.Close()
		return nil, err
	}
	e.relay.delay.Store(int64(rtt / 2))
	if e.conn, err = net.Dial("tcp", e.relay.Address()); err != nil {
		e.Close()
		return nil, fmt.Errorf("connect with the echo: %w", err)
	}
	e.running.Go(e.probe)
	return e, nil
}

// Close returns when nothing runs any more.
func (e *echo) Close() {
	if e.conn != nil {
		_ = e.conn.Close() // the end of probe
	}
	if e.relay != nil {
		e.relay.Close() // the end of the other connection, too
	}
	_ = e.listener.Close() // if nobody came
	e.running.Wait()
}

// answer sends back what comes on the one connection.
func (e *echo) answer() {
	c, err := e.listener.Accept()
	if err != nil {
		return
	}
	_, _ = io.Copy(c, c) // until the other end closes
	_ = c.Close()
}

func (e *echo) probe() {
	message := make([]byte, 8)
	for {
		t := span{began: time.Now()}
		if _, err := e.conn.Write(message); err != nil {
			return
		}
		if _, err := io.ReadFull(e.conn, message); err != nil {
			return
		}
		t.ended = time.Now()
		e.mu.Lock()
		e.trips = append(e.trips, t)
		e.mu.Unlock()
		time.Sleep(echoEvery - t.length())
	}
}

// during are percentiles of the round trips within a span, in ms; of none they are 0.
func (e *echo) during(s span) (p50, p99 float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var took []float64
	for _, t := range e.trips {
		if s.covers(t) {
			took = append(took, milliseconds(t.length()))
		}
	}
	slices.Sort(took)
	return quantile(took, 0.5), quantile(took, 0.99)
}
