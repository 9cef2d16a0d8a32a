package etcdbin

import "errors"

// Errors of building.
var (
	ErrNoSource = errors.New("not inside geogate's source tree") // the pinned modules can't be found
	ErrBuild    = errors.New("build failed")
)

// ErrConfig marks a cluster that can't be started as described.
var ErrConfig = errors.New("invalid etcd cluster")
