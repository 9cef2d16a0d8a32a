package wan

import "errors"

var (
	// ErrUnavailable means that this machine or this user can't make namespaces and TUN devices.
	ErrUnavailable = errors.New("packet emulation is not available")
	// ErrUnknownSite is an address book's no.
	ErrUnknownSite = errors.New("no such site")
	// ErrClosed answers whoever uses a closed network.
	ErrClosed = errors.New("network is closed")
)
