package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// requests keeps pull requests open at a consumer: two, each for half of the bytes that may be in flight,
// and the next one as soon as one is used up. It is the part of a JetStream client that a pull needs. The
// library's own allocates room for a million messages when it is limited by bytes, and does not say which
// request has ended.
type requests struct {
	nc        *nats.Conn
	sub       *nats.Subscription
	subject   string // of the consumer's next-message API
	inbox     string // + number of the request
	half      int
	expiry    time.Duration
	heartbeat time.Duration

	number uint64
	open   map[string]int // bytes left, by the request's inbox
}

// overheadOfMessage is more than the server counts for a message besides its data, so that a request is
// thought to be used up a little before it is.
const overheadOfMessage = 256

func openRequests(nc *nats.Conn, apiPrefix, stream, consumer string, bytes int, expiry, heartbeat time.Duration) (*requests, error) {
	q := &requests{
		nc: nc, subject: apiPrefix + ".CONSUMER.MSG.NEXT." + stream + "." + consumer,
		inbox: nc.NewInbox() + ".", half: bytes / 2, expiry: expiry, heartbeat: heartbeat, open: map[string]int{},
	}
	sub, err := nc.SubscribeSync(q.inbox + "*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDisconnect, err)
	}
	q.sub = sub
	// The requests bound what may come; the client's own limit must not drop any of it.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		q.close()
		return nil, err
	}
	for range 2 {
		if err := q.ask(); err != nil {
			q.close()
			return nil, err
		}
	}
	return q, nil
}

func (q *requests) close() { q.sub.Unsubscribe() } //nolint:errcheck // the connection may be gone

func (q *requests) ask() error {
	body, err := json.Marshal(struct {
		Expires   time.Duration `json:"expires"`
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{q.expiry, 1 << 20, q.half, q.heartbeat})
	if err != nil {
		return err
	}
	q.number++
	inbox := q.inbox + strconv.FormatUint(q.number, 10)
	if err := q.nc.PublishRequest(q.subject, inbox, body); err != nil {
		return fmt.Errorf("%w: %w", errDisconnect, err)
	}
	q.open[inbox] = q.half
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
		status := ""
		if len(m.Data) == 0 {
			status = m.Header.Get("Status")
		}
		switch status {
		case "": // data
			if left, ok := q.open[m.Subject]; ok {
				if left -= len(m.Data) + overheadOfMessage; left > 0 {
					q.open[m.Subject] = left
				} else if err := q.replace(m.Subject); err != nil {
					return nil, err
				}
			}
			return m, nil
		case "100": // heartbeat
		case "408": // expired
			if err := q.replace(m.Subject); err != nil {
				return nil, err
			}
		case "409":
			if m.Header.Get("Description") != "Message Size Exceeds MaxBytes" {
				return nil, fmt.Errorf("%w: %s", errEnded, m.Header.Get("Description"))
			}
			if left := q.open[m.Subject]; left == q.half {
				return nil, fmt.Errorf("%w: a message does not fit into a request of %d bytes", errEnded, q.half)
			}
			if err := q.replace(m.Subject); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: %s %s", errEnded, status, m.Header.Get("Description"))
		}
	}
}

// replace forgets a request that has ended and opens another, unless that has happened already.
func (q *requests) replace(inbox string) error {
	if _, ok := q.open[inbox]; !ok {
		return nil
	}
	delete(q.open, inbox)
	return q.ask()
}

func (q *requests) receive(ctx context.Context) (*nats.Msg, error) {
	silence, cancel := context.WithTimeoutCause(ctx, 2*q.heartbeat, errHeartbeat)
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
