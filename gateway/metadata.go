package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"geogate/dc"
	"geogate/replication/policy"
)

// Keys of request metadata.
const (
	metaPolicy    = "geogate-policy"
	metaTimeout   = "geogate-timeout"
	metaRequestID = "geogate-request-id" // idempotency key of a write
	metaAfter     = "geogate-after"      // tokens of writes that must be applied here first
	metaRead      = "geogate-read"       // level of a read
	metaForwarded = "geogate-forwarded"  // id of the member that forwarded: such a request is not forwarded again

	metaMaxStaleness = "geogate-max-staleness" // how old a state a read may show
)

// Keys of response trailers. The policy has the request's key.
const (
	trailerToken   = "geogate-token"
	trailerAckedBy = "geogate-acked-by"
	trailerAckMS   = "geogate-ack-ms"
	// trailerDegraded is the weaker policy that took the place of geogate-policy.
	trailerDegraded = "geogate-degraded"
	trailerChanged  = "geogate-changed" // "false" when the write changed nothing

	// trailerHome is the datacenter that made a write of a single-writer keyspace.
	trailerHome = "geogate-home"

	// trailerStaleness is how old the state was at most that a read with metaMaxStaleness shows.
	trailerStaleness = "geogate-staleness"

	trailerReplayed = "geogate-replayed" // "true" when a write with this request id was made before
	trailerReduced  = "geogate-reduced"  // "true" when a replayed response lacks something of the first one

	// trailerServedBy marks the answers to forwarded calls, with the id of the member that answered. It does
	// not reach clients.
	trailerServedBy = "geogate-served-by"
)

// metaValue looks up one key without copying all of the metadata.
func metaValue(ctx context.Context, key string) (string, bool) {
	if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
		return v[0], true
	}
	return "", false
}

// override lets the request's own policy and timeout take the place of the keyspace's.
func (r *rule) override(ctx context.Context, maxTimeout time.Duration) error {
	return r.overrideBy(func(key string) (string, bool) { return metaValue(ctx, key) }, maxTimeout)
}

// overrideBy is override with metadata that is looked up by value.
func (r *rule) overrideBy(value func(key string) (string, bool), maxTimeout time.Duration) error {
	if s, ok := value(metaPolicy); ok {
		p, err := policy.Parse(s)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrMetadata, metaPolicy, err)
		}
		r.policy = p
	}
	if s, ok := value(metaTimeout); ok {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 || d > maxTimeout {
			return fmt.Errorf("%w: %s: %q is not a time above 0 and up to %s, such as 500ms or 2s",
				ErrMetadata, metaTimeout, s, maxTimeout)
		}
		r.timeout = d
	}
	return nil
}

// overrideFrom is override with metadata that came without a context: key, value, key, value.
func (r *rule) overrideFrom(pairs []string, maxTimeout time.Duration) error {
	if len(pairs) == 0 {
		return nil
	}
	return r.overrideBy(func(key string) (string, bool) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1], true
			}
		}
		return "", false
	}, maxTimeout)
}

// readRequestID makes the write idempotent if the client asks for that. Two ids would be a proxy's mistake;
// to choose one could apply a write twice.
func (r *rule) readRequestID(ctx context.Context) error {
	v := metadata.ValueFromIncomingContext(ctx, metaRequestID)
	switch {
	case len(v) == 0:
		return nil
	case len(v) > 1:
		return fmt.Errorf("%w: %s: %d values, want one", ErrMetadata, metaRequestID, len(v))
	case v[0] == "" || len(v[0]) > dc.MaxRequestID:
		return fmt.Errorf("%w: %s: %d bytes, want 1 to %d", ErrMetadata, metaRequestID, len(v[0]), dc.MaxRequestID)
	}
	r.request = v[0]
	return nil
}

func requiresLeader(ctx context.Context) bool {
	v, ok := metaValue(ctx, rpctypes.MetadataRequireLeaderKey)
	return ok && v == rpctypes.MetadataHasLeader
}

// awaitLeader waits for a leader if the caller does not want to be served without one. The signal of its loss is nil,
// and never comes, for others.
func (s *Server) awaitLeader(ctx context.Context) (lost <-chan struct{}, err error) {
	if !requiresLeader(ctx) {
		return nil, nil
	}
	return s.leaders.await(ctx)
}

func isForwarded(ctx context.Context) bool {
	_, ok := metaValue(ctx, metaForwarded)
	return ok
}

// forwardable is the metadata that goes along with a forwarded request: all that is the client's, and none
// that belongs to its connection or its library.
func forwardable(md metadata.MD) metadata.MD {
	out := make(metadata.MD, len(md)+1)
	for key, values := range md {
		switch {
		case strings.HasPrefix(key, ":"), strings.HasPrefix(key, "grpc-"):
		case key == "content-type", key == "user-agent", key == "te", key == rpctypes.MetadataClientAPIVersionKey:
		default:
			out[key] = values
		}
	}
	return out
}
