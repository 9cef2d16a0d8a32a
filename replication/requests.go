package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"geogate/replication/wire"
)

// requests keeps pull requests open at a consumer, for `bytes` in flight altogether: as soon as half of
// that is used up, another request makes it whole, so the origin never waits for one. It is the part of a
// JetStream client that a pull needs; the library's own allocates room for a million messages when it is
// limited by bytes.
type requests struct {
	nc        *nats.Conn
	sub       *nats.Subscription
	subject   string // of the consumer's next-message API
	inbox     string // + number of the request
	bytes     int
	expiry    time.Duration
	heartbeat time.Duration
	traffic   func() traffic // of the connection
	midway    func()         // told when a message takes long and is on its way

	number uint64
	open   map[string]int // bytes asked for, by the request's inbox
	credit int            // asked for, and neither received nor given back
}

func openRequests(k *link, reply *wire.SyncReply, midway func()) (*requests, error) {
	cfg := &k.r.cfg
	q := &requests{
		nc: k.nc, subject: reply.ApiPrefix + ".CONSUMER.MSG.NEXT." + reply.Stream + "." + reply.Consumer,
		inbox: k.nc.NewInbox() + ".", bytes: cfg.PullBytes, expiry: cfg.PullExpiry, heartbeat: cfg.PullHeartbeat,
		traffic: k.traffic, midway: midway, open: map[string]int{},
	}
	sub, err := q.nc.SubscribeSync(q.inbox + "*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDisconnect, err)
	}
	q.sub = sub
	// The requests bound what may come; the client's own limit must not drop any of it.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		q.close()
		return nil, err
	}
	if err := q.refill(); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func (q *requests) close() { q.sub.Unsubscribe() } //nolint:errcheck // the connection may be gone

// refill asks for more when half is used up.
func (q *requests) refill() error {
	if q.credit > q.bytes/2 {
		return nil
	}
	more := q.bytes - q.credit
	body, err := json.Marshal(struct {
		Expires   time.Duration `json:"expires"`
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{q.expiry, 1 << 20, more, q.heartbeat})
	if err != nil {
		return err
	}
	q.number++
	inbox := q.inbox + strconv.FormatUint(q.number, 10)
	if err := q.nc.PublishRequest(q.subject, inbox, body); err != nil {
		return fmt.Errorf("%w: %w", errDisconnect, err)
	}
	q.open[inbox] = more
	q.credit += more
	return nil
}

// next returns the next message with data. It fails when the server is silent for two heartbeats, when it
// ends the pull, or when ctx ends.
func (q *requests) next(ctx context.Context) (*nats.Msg, error) {
	for {
		m, err := q.receive(ctx)
		if err != nil {
			return nil, err
		}
		status, description := "", m.Header.Get("Description")
		if len(m.Data) == 0 {
			status = m.Header.Get("Status")
		}
		switch {
		case status == "": // data; its size as the server counts it
			q.credit -= len(m.Subject) + len(m.Reply) + len(m.Data)
			return m, q.refill()
		case status == "100": // heartbeat
		case status == "408", status == "409" && description == "Message Size Exceeds MaxBytes":
			if err := q.ended(m); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: %s %s", errEnded, status, description)
		}
	}
}

// ended takes back what a request that has expired, or is used up but for a rest, did not use.
func (q *requests) ended(m *nats.Msg) error {
	asked, ok := q.open[m.Subject]
	if !ok {
		return nil
	}
	delete(q.open, m.Subject)
	left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Bytes"))
	if err != nil || left < 0 || left > asked {
		return fmt.Errorf("%w: unused bytes %q of a request for %d", errEnded, m.Header.Get("Nats-Pending-Bytes"), asked)
	}
	if left == asked && m.Header.Get("Status") == "409" {
		return fmt.Errorf("%w: a message does not fit into a request for %d bytes", errEnded, asked)
	}
	q.credit -= left
	if len(q.open) == 0 {
		q.credit = 0
	}
	return q.refill()
}

// receive returns the next message. Heartbeats can't overtake a message that is on its way: while bytes of one
// arrive, none is missed.
func (q *requests) receive(ctx context.Context) (*nats.Msg, error) {
	for missed := 0; missed < 2; {
		before := q.traffic()
		m, err := q.wait(ctx)
		if !errors.Is(err, errHeartbeat) {
			return m, err
		}
		if q.traffic().midway(before) {
			q.midway()
			continue
		}
		missed++
	}
	return nil, errHeartbeat
}

// wait returns the next message, or errHeartbeat when none comes for the time of one heartbeat.
func (q *requests) wait(ctx context.Context) (*nats.Msg, error) {
	silence, cancel := context.WithTimeout(ctx, q.heartbeat)
	defer cancel()
	m, err := q.sub.NextMsgWithContext(silence)
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, errHeartbeat
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%w: the consumer is gone", errEnded)
	default:
		return nil, fmt.Errorf("%w: %w", errDisconnect, err)
	}
}
