package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"geogate/dc"
)

// subjectsOf is what a read with these keys can lag behind: in multi-writer keyspaces every datacenter, in a single-writer
// one its home.
func (s *Server) subjectsOf(sc *scope) []subject {
	out := make([]subject, 0, len(sc.singles)+1+len(s.cfg.Peers))
	for _, k := range sc.sorted() {
		out = append(out, subject{single: k})
	}
	if len(sc.multi) > 0 || !s.keyspaces.anySingle {
		out = append(out, subject{dc: s.name})
		for _, name := range s.cfg.Peers {
			out = append(out, subject{dc: name})
		}
	}
	return out
}

// bound returns, at the leader, once what this node has applied is at most so old, and as of when it is. What a question
// that is sent now asks for must be here before the limit has passed, or its answer would be too old itself; so nothing is
// waited for longer.
func (s *Server) bound(ctx context.Context, subjects []subject, limit time.Duration) (asOf time.Duration, err error) {
	began := s.cfg.Uptime()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		changed := s.dc.Changed()
		answered := s.fresh.next()
		var worst *finding
		asOf = math.MaxInt64
		for _, x := range subjects {
			f, fresh := s.find(x, limit, began)
			switch {
			case f.failed != nil && retryable(f.failed):
				return 0, f.failed
			case !fresh && (worst == nil || f.worse(worst)):
				worst = &f
			}
			asOf = min(asOf, f.asOf)
		}
		if worst == nil {
			return asOf, nil
		}
		if worst.failed != nil {
			return 0, s.tooStale(worst, limit, nil)
		}
		select {
		case <-changed:
		case <-answered:
		case <-timer.C:
			return 0, s.tooStale(worst, limit, nil)
		case <-ctx.Done():
			return 0, s.tooStale(worst, limit, ctx.Err())
		case <-s.stopping:
			return 0, dc.ErrStopped
		}
	}
}

// worse says which of two findings is to be told of: what can't be asked, then what is known to be lacking, then what was
// never heard of, then the older one.
func (f *finding) worse(than *finding) bool {
	switch {
	case (f.failed != nil) != (than.failed != nil):
		return f.failed != nil
	case (f.short != nil) != (than.short != nil):
		return f.short != nil
	case f.known != than.known:
		return !f.known
	}
	return f.asOf < than.asOf
}

// next is closed when another question has ended.
func (f *freshness) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answered
}

// tooStaleError is the refusal of a read because the state here is too old, or of unknown age.
type tooStaleError struct {
	here, origin string
	keyspace     *string
	limit, age   time.Duration
	known        bool
	why          string
	endpoints    []string // of the origin
}

var errSlowQuestion = errors.New("it has not said yet how far it is")

func (s *Server) tooStale(f *finding, limit time.Duration, cause error) error {
	e := &tooStaleError{here: s.name, origin: f.dc, limit: limit, known: f.known}
	if e.known {
		e.age = (s.cfg.Uptime() - f.asOf).Round(time.Millisecond)
	}
	if f.single != nil {
		e.origin, e.keyspace = s.homeName(f.single), &f.single.prefix
	}
	e.endpoints = s.cfg.HomeEndpoints[e.origin]
	switch {
	case f.failed != nil:
		cause = f.failed
	case f.short != nil:
		cause = fmt.Errorf("it has applied %s up to %d, and needs %d", f.short.life.DC, s.cfg.Origins.AppliedOf(f.short.life), f.short.revision) //nolint:err113 // of this one message
	case cause == nil:
		cause = errSlowQuestion
	}
	e.why = cause.Error()
	return e
}

func (e *tooStaleError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nothing was read: %s: %s was asked for, and what %s has of ", metaMaxStaleness, e.limit, e.here)
	if e.keyspace != nil {
		fmt.Fprintf(&b, "keyspace %q, home %s,", *e.keyspace, e.origin)
	} else {
		b.WriteString(e.origin)
	}
	if e.known {
		fmt.Fprintf(&b, " is %s old: %s; read ", e.age, e.why)
	} else {
		fmt.Fprintf(&b, " is of unknown age: %s; read ", e.why)
	}
	if e.origin != e.here {
		b.WriteString("in " + e.origin)
		if len(e.endpoints) > 0 {
			b.WriteString(", at " + strings.Join(e.endpoints, ","))
		}
		b.WriteString(", or ")
	}
	fmt.Fprintf(&b, "with a greater bound, or %s: %s, which shows what is here; see `geogate lag`", metaRead, levelEventual)
	return b.String()
}

// status has a code that nobody repeats by himself: the wait was as long as it is of use.
func (e *tooStaleError) status() error {
	info := map[string]string{
		infoOrigin: e.origin, infoStaleness: "unknown", infoMaxStaleness: e.limit.String(), infoWhy: e.why, infoEndpoints: strings.Join(e.endpoints, ","),
	}
	if e.known {
		info[infoStaleness] = e.age.String()
	}
	if e.keyspace != nil {
		info[infoKeyspace], info[infoHome] = *e.keyspace, e.origin
	}
	return withInfo(codes.FailedPrecondition, e.Error(), reasonTooStale, info)
}
