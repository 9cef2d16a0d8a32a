package gateway

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"geogate/replication/event"
)

type Commit struct {
	Revision int64
	Stamp    event.Stamp
}

type WatchOptions struct {
	Key, End                []byte
	Start                   int64
	PrevKV, NoPut, NoDelete bool
}

type WatchEvents struct {
	Events   []*mvccpb.Event
	Revision int64
}

type CompactedError struct{ Revision int64 }

func (e *CompactedError) Error() string { return fmt.Sprintf("compacted at %d", e.Revision) }

var (
	DCErrNotLeader      = errors.New("not leader")
	DCErrBusy           = errors.New("busy")
	DCErrTooLarge       = errors.New("too large")
	DCErrStopped        = errors.New("stopped")
	DCErrSuperseded     = errors.New("superseded")
	DCErrUnknownOutcome = errors.New("unknown outcome")
	DCErrKeyNotFound    = errors.New("key not found")
	DCErrLeaseNotFound  = errors.New("lease not found")
	StoreErrCompacted   = errors.New("compacted")
	StoreErrFutureRev   = errors.New("future")
	ErrNotLeading       = errors.New("not leading")
)
