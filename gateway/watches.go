package gateway

import (
	"context"

	"geogate/gateway/watch"
)

// newWatches is the Watch service of this gateway.
func (s *Server) newWatches() (*watch.Server, error) {
	return watch.NewServer(watch.Config{
		Source: s.dc, Header: s.header, Admit: s.admitWatcher, Status: statusOf,
		Authorize: func(ctx context.Context, key, end []byte) error { return s.authorize(ctx, ActionRead, key, end) },

		MaxResponseBytes: s.cfg.MaxRequestBytes + grpcOverheadBytes, ProgressInterval: s.cfg.ProgressInterval,
		Stopping: s.stopping, Logger: s.log, Registerer: s.cfg.Registerer,
	})
}

// admitWatcher waits for what the caller has to see, and ends the stream with the leader when the caller wants that.
func (s *Server) admitWatcher(ctx context.Context) (lost <-chan struct{}, err error) {
	if lost, err = s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	return lost, s.catchUp(ctx)
}
