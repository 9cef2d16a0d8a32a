package gateway

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"geogate/replication"
	"geogate/replication/homes"
)

// Calls by which datacenters tell each other how far they are. The one that is asked first catches up with itself, so
// that the answer covers all that it had committed before it was asked.
const (
	callVector = "read.v1/vector" // all that it has applied
	callHead   = "read.v1/head"   // what it has written, and all that it has of lives that have ended
)

var errAlone = errors.New("this node has no way to ask other datacenters")

// serveMarks answers them.
func (s *Server) serveMarks(ctx context.Context, method string) error {
	if s.cfg.Origins == nil {
		return fmt.Errorf("%w: %s holds no data that can be asked for: the datacenters' configurations differ", ErrMetadata, s.name)
	}
	if err := s.linearize(ctx); err != nil {
		return err
	}
	marks, _, _ := s.cfg.Origins.Marks()
	var points []point
	for i := range marks {
		if m := &marks[i]; method == callVector || m.Past || m.Origin == s.name {
			points = append(points, point{homes.Life{DC: m.Origin, Incarnation: m.Incarnation}, m.Revision})
		}
	}
	return grpc.SetTrailer(ctx, metadata.Pairs(callPoints, formatPoints(points)))
}

// askMarks asks another datacenter.
func (s *Server) askMarks(ctx context.Context, dc, method string) (points []point, err error) {
	defer func() { s.metrics.readQuestion(method, err) }()
	if s.cfg.Calls == nil {
		return nil, errAlone
	}
	reply, err := s.cfg.Calls.Call(ctx, dc, replication.Request{Method: method})
	if err == nil {
		err = replyStatus(&reply)
	}
	if told, ok := reply.Header[callPoints]; err == nil && ok {
		points, err = parsePoints(first(told))
	} else if err == nil {
		err = errPoints
	}
	if err != nil {
		return nil, fmt.Errorf("%s did not say how far it is: %w", dc, err)
	}
	return points, nil
}

// notApplied is the first of several points that this node has not applied; nil when it has applied all.
func (s *Server) notApplied(points []point) *point {
	for i := range points {
		if s.cfg.Origins.AppliedOf(points[i].life) < points[i].revision {
			return &points[i]
		}
	}
	return nil
}
